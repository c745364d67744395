"""The same examples from every format of rows, and what each says of rows that are wrong."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seq2seq.data.corpus import Corpus, Example, corpora
from seq2seq.errors import DataError
from seq2seq.plugins import load_components

load_components()

PAIRS = [
    ("A dog, and a cat.", 'Ein "Hund", und eine Katze.'),
    ("", "Nichts."),
    ('She said: "no"', "Sie sagte: \u201enein\u201c"),
    ("emoji \U0001f600 and \u2028 inside", "\u05d0\u05d1\u05d2"),
    ("last", "letzte"),
]
EXPECTED = [Example(source, target, number) for number, (source, target) in enumerate(PAIRS)]
PART = 3  # of the first of two files


def write_lines(path: Path, lines: list[str]) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_text(path: Path, pairs: list[tuple[str, str]]) -> None:
    for side, language in enumerate(("en", "de")):
        write_lines(path.with_suffix(f".{language}"), [pair[side] for pair in pairs])


def write_jsonl(path: Path, pairs: list[tuple[str, str]]) -> None:
    write_lines(path, [json.dumps({"id": 1, "translation": {"en": en, "de": de}}) for en, de in pairs])


def write_flat_jsonl(path: Path, pairs: list[tuple[str, str]]) -> None:
    write_lines(path, [json.dumps({"text": {"src": en}, "de": de}, ensure_ascii=False) for en, de in pairs])


def write_tsv(path: Path, pairs: list[tuple[str, str]]) -> None:
    write_lines(path, [f"{en}\t{de}\t0.9" for en, de in pairs])


def write_named_tsv(path: Path, pairs: list[tuple[str, str]]) -> None:
    write_lines(path, ["score\tde\ten", *(f"0.9\t{de}\t{en}" for en, de in pairs)])


def write_csv(path: Path, pairs: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("de", "note", "en"), *((de, "x\ny", en) for en, de in pairs)])


def write_parquet(path: Path, pairs: list[tuple[str, str]]) -> None:
    rows = [{"de": de, "en": en} for en, de in pairs]
    kind = pa.struct([("de", pa.string()), ("en", pa.string())])
    pq.write_table(pa.table({"translation": pa.array(rows, kind)}), path, row_group_size=2)


def write_flat_parquet(path: Path, pairs: list[tuple[str, str]]) -> None:
    pq.write_table(pa.table({"en": [en or None for en, _ in pairs], "german": [de for _, de in pairs]}), path)


FORMATS: dict[str, tuple[str, str, Callable[[Path, list[tuple[str, str]]], None], dict[str, Any]]] = {
    "text_files": ("text_files", "", write_text, {}),
    "jsonl": ("jsonl", ".jsonl", write_jsonl, {}),
    "jsonl.gz": ("jsonl", ".jsonl.gz", write_flat_jsonl, {"source_field": "text.src"}),
    "tsv": ("tsv", ".tsv.gz", write_tsv, {}),
    "named tsv": ("tsv", ".tsv", write_named_tsv, {"header": True}),
    "csv": ("csv", ".csv", write_csv, {}),
    "parquet": ("parquet", ".parquet", write_parquet, {}),
    "flat parquet": ("parquet", ".parquet", write_flat_parquet, {"target_field": "german"}),
}


@pytest.fixture(params=FORMATS)
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    name, ending, write, options = FORMATS[request.param]
    files = []
    for part, pairs in (("a", PAIRS[:PART]), ("b", PAIRS[PART:])):
        write(tmp_path / f"{part}{ending}", pairs)
        files.append(f"{tmp_path / part}{ending}")
    return corpora.components[name](train=files, validation=files[1], source="en", target="de", **options)


def test_every_format_gives_the_same_examples(corpus: Corpus) -> None:
    train, validation = corpus.split("train"), corpus.split("validation")
    assert train is not None
    assert validation is not None
    assert list(train.read()) == EXPECTED
    assert list(train.read()) == EXPECTED
    assert [(e.source, e.target) for e in validation.read()] == PAIRS[PART:]
    assert corpus.split("test") is None


@pytest.mark.parametrize("start", range(len(PAIRS) + 2))
def test_shards_add_up_and_start_anywhere(corpus: Corpus, start: int) -> None:
    train = corpus.split("train")
    assert train is not None
    for shards in (1, 2, 3):
        for shard in range(shards):
            expected = [example for example in EXPECTED[start:] if example.number % shards == shard]
            assert list(train.read((shard, shards), start)) == expected


def train_source(name: str, path: Path | str, **options: Any) -> list[Example]:
    source = corpora.components[name](train=str(path), **{"source": "en", "target": "de"} | options).split("train")
    assert source is not None
    return list(source.read())


def test_text_alone(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    write_tsv(tmp_path / "a.tsv", PAIRS)
    expected = [Example("", de, number) for number, (_, de) in enumerate(PAIRS)]
    assert train_source("jsonl", tmp_path / "a.jsonl", source=None) == expected
    assert train_source("tsv", tmp_path / "a.tsv", source=None, target_field=2) == expected
    assert train_source("tsv", tmp_path / "a.tsv", source=None, target="en")[0].target == PAIRS[0][0]


def test_patterns_take_all_files_in_order(tmp_path: Path) -> None:
    for part, pair in zip("bac", PAIRS, strict=False):
        write_tsv(tmp_path / f"{part}.tsv", [pair])
    assert [e.target for e in train_source("tsv", f"{tmp_path}/*.tsv")] == [PAIRS[i][1] for i in (1, 0, 2)]
    with pytest.raises(DataError, match=r"^data\.train: no file matches .*/x\*\.tsv$"):
        train_source("tsv", f"{tmp_path}/x*.tsv")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("jsonl", '{"en": "a", "de": "b"}\n{"en": "a"}\n', {}, "FILE, line 2: no field 'de'; there is en"),
        ("jsonl", '{"en": "a", "de": "b"}\n{"en" "a"}\n', {}, "FILE, line 2: not JSON: Expecting ':' delimiter at "),
        ("jsonl", '{"en": 7, "de": "b"}\n', {}, "data.train: FILE, line 1: 'en' holds '7', not text"),
        ("jsonl", "[1]\n", {}, "data.train: FILE, line 1: a JSON object is needed, as in {\"en\": ..., \"de\": ...}"),
        ("jsonl", "\n", {}, "data.train: FILE holds no examples"),
        ("jsonl", '{"en": "a", "de": "b"}\n{"en": "", "de": "\\ud83d"}\n', {}, "FILE, line 2: '\\ud83d' is half of "),
        ("tsv", "a\tb\nc\n", {}, "FILE, line 2: 1 column, but 2 are needed"),
        ("tsv", "en\tfr\n1\t2\n", {"header": True}, "data.train: FILE, line 1: no column 'de'; the header has en, fr"),
        ("csv", 'en,de\n"a,b\n', {}, "data.train: FILE, line 2: not CSV: unexpected end of data"),
        ("csv", 'en,de\n"a\nb",c\nd\n', {}, "FILE, line 4: 1 column, but 2 are needed"),
        ("parquet", "no", {}, "data.train: FILE: not readable as Parquet: "),
        ("tsv", "a\tb\n\xff\tc\n", {}, "FILE, line 2: not valid UTF-8 (byte 0xFF at column 1)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "data"
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(DataError) as caught:
        train_source(name, path, **options)
    assert str(caught.value).startswith(message.replace("FILE", str(path)))


def test_options_without_effect_or_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="both read from 'text'"):
        corpora.components["jsonl"](source="en", target="de", source_field="text", target_field="text")
    with pytest.raises(ValueError, match="source_field=x has no effect without a source"):
        corpora.components["jsonl"](source=None, target="de", source_field="x")
    with pytest.raises(ValueError, match="target_field is 'de': without header=true columns have numbers"):
        corpora.components["tsv"](source="en", target="de", target_field="de")
    with pytest.raises(ValueError, match="delimiter is '::', but must be one character"):
        corpora.components["csv"](source="en", target="de", delimiter="::")
