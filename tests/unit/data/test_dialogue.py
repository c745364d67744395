import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seq2seq.data.corpus import Corpus, Example, corpora
from seq2seq.data.dialogue import Dialogue, Turns
from seq2seq.errors import ConfigError, DataError
from seq2seq.plugins import load_components
from seq2seq.registry import Factory

load_components()

CHATS = [["hi", "hello", "how are you ?"], ["alone"], [], ["a", " ", "b"], ["x\ny", "z"]]
# What is read of the five; in the last one a turn has two lines, which are two turns.
ANSWERS = [
    ("hi", "hello"),
    ("hi <turn> hello", "how are you ?"),
    ("", "alone"),
    ("", ""),
    ("a", "b"),
    ("x", "y"),
    ("x <turn> y", "z"),
]


def as_json(folder: Path) -> Factory[Corpus]:
    rows = "".join(json.dumps({"chat": {"turns": chat}}) + "\n" for chat in CHATS)
    (folder / "a.jsonl").write_text(rows, encoding="utf-8")
    return part("jsonl", train=f"{folder}/a.jsonl", target_field="chat.turns")


def as_texts(folder: Path) -> Factory[Corpus]:
    rows = "".join(json.dumps({"en": "\r\n".join(chat)}) + "\n" for chat in CHATS)
    (folder / "a.jsonl").write_text(rows, encoding="utf-8")
    return part("jsonl", train=f"{folder}/a.jsonl")


def as_lines(folder: Path) -> Factory[Corpus]:
    lines = "".join(" <turn> ".join(chat).replace("\n", "<turn>") + "\n" for chat in CHATS)
    (folder / "a.en").write_text(lines, encoding="utf-8")
    return part("text_files", train=f"{folder}/a")


def as_csv(folder: Path) -> Factory[Corpus]:
    lines = "".join('"' + "\n".join(chat) + '",1\n' for chat in CHATS)
    (folder / "a.csv").write_text(f"en,id\n{lines}", encoding="utf-8")
    return part("csv", train=f"{folder}/a.csv")


def as_parquet(folder: Path) -> Factory[Corpus]:
    pq.write_table(pa.table({"en": pa.array(CHATS, pa.list_(pa.string()))}), folder / "train.parquet")
    return part("parquet", train=f"{folder}/train.parquet")


def as_hub(folder: Path) -> Factory[Corpus]:
    (folder / "hub").mkdir(exist_ok=True)
    as_parquet(folder / "hub")
    return part("huggingface", path=str(folder / "hub"), validation=None, test=None)


def part(name: str, **options: Any) -> Factory[Corpus]:
    return Factory(corpora.components[name], name, {"source": None, "target": "en", **options}, "data.turns")


WAYS = [as_json, as_texts, as_lines, as_csv, as_parquet, as_hub]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def read(corpus: Corpus, *place: Any) -> list[Example]:
    source = corpus.split("train")
    assert source is not None
    return list(source.read(*place))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_gives_the_same_answers(way: Any, tmp_path: Path) -> None:
    corpus = Dialogue(turns=way(tmp_path))
    assert [(e.source, e.target) for e in read(corpus)] == ANSWERS
    assert [e.number for e in read(corpus)] == list(range(7))
    assert (corpus.source, corpus.target, corpus.symbols) == ("en", "en", ("<turn>",))
    assert corpus.key("test") == "data.turns.test"


@pytest.mark.parametrize("start", range(9))
def test_shards_add_up_and_start_anywhere(start: int, tmp_path: Path) -> None:
    for corpus in (Dialogue(turns=as_json(tmp_path), before=1), Dialogue(turns=pairs(tmp_path))):
        whole = read(corpus)
        copy = pickle.loads(pickle.dumps(corpus))
        for shards in (1, 3):
            for shard in range(shards):
                expected = [e for e in whole[start:] if e.number % shards == shard]
                assert read(copy, (shard, shards), start) == expected


def pairs(folder: Path) -> Factory[Corpus]:
    rows = [{"chat": "A: hi\r\nB: hello\nA: bye", "summary": "They\nmeet."}, {"chat": ["x", "y"], "summary": "z"}]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fields = {"source_field": "chat", "target_field": "summary"}
    return part("jsonl", train=f"{folder}/p.jsonl", source="en", **fields)


def test_of_pairs_the_source_has_turns(tmp_path: Path) -> None:
    assert read(Dialogue(turns=pairs(tmp_path))) == [
        Example("A: hi <turn> B: hello <turn> A: bye", "They meet.", 0),
        Example("x <turn> y", "z", 1),
    ]
    two = read(Dialogue(turns=pairs(tmp_path), before=2, separator="|", speakers="<a> <b>"))
    assert [e.source for e in two] == ["<a> B: hello <b> A: bye", "<a> x <b> y"]


def test_the_last_speaker_stands_before_the_last_turn() -> None:
    turns = [str(number) for number in range(5)]
    assert Turns("|", None, ("<me>", "<you>")).joined(turns) == "<you> 0 <me> 1 <you> 2 <me> 3 <you> 4"
    assert Turns("|", 3, ("<a>", "<b>", "<c>")).joined(turns) == "<a> 2 <b> 3 <c> 4"
    assert Turns("|", 2, ()).joined(turns) == "3 | 4"


@pytest.mark.parametrize("options", [{}, {"before": 1}, {"speakers": "<me> <you>"}])
def test_lines_are_read_as_examples_are(options: dict[str, Any], tmp_path: Path) -> None:
    """What a person types, with the separator, and what the examples of a split hold."""
    corpus = Dialogue(turns=as_lines(tmp_path), **options)
    typed = ["hi", "hi<turn>hello", "", "  ", " a <turn> ", "x <turn> y"]
    expected = [read(corpus)[number].source for number in (0, 1, 2, 2, 4, 6)]
    assert [line.strip() for line in corpus.context.with_context(typed)] == expected
    assert corpus.context.last_sentence("a <turn> b") == "a <turn> b"  # nothing is taken away of what is written


def test_identity_follows_the_options(tmp_path: Path) -> None:
    def identity(way: Any = as_json, **options: Any) -> str | None:
        source = Dialogue(turns=way(tmp_path), **options).split("train")
        assert source is not None
        return source.identity()

    alone = as_texts(tmp_path)().split("train")
    assert alone is not None
    changed = [{}, {"before": 1}, {"separator": "|"}, {"speakers": "<me> <you>"}]
    assert len({identity(as_texts, **options) for options in changed} | {alone.identity()}) == len(changed) + 1
    assert len({identity(as_hub), identity(as_hub, separator="|")}) == 2


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    turns = as_json(tmp_path)
    for separator in ("", "a b"):
        with pytest.raises(ValueError, match=r"separator is '.*', but must be one word, without spaces"):
            Dialogue(turns=turns, separator=separator)
    for speakers in ("", "<me>", "<me> <me>", "<me> <turn>"):
        with pytest.raises(ValueError, match=f"speakers is '{speakers}', but must be two or more different words"):
            Dialogue(turns=turns, speakers=speakers)
    twice = Factory[Corpus](Dialogue, "dialogue", {"turns": turns}, "data.turns")
    with pytest.raises(ConfigError, match=r"data: turns=dialogue does not give dialogues as they are"):
        Factory(Dialogue, "dialogue", {"turns": twice}, "data")()


@pytest.mark.parametrize("way", [as_json, as_parquet])
def test_a_list_is_no_text_elsewhere(way: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(holds .*, not text)$"):
        read(way(tmp_path)())


def test_what_is_wrong_is_told_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"en": [1, 2]}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(Dialogue(turns=part("jsonl", train=f"{tmp_path}/a.jsonl")))
    assert str(caught.value) == f"data.turns.train: {tmp_path}/a.jsonl, line 1: 'en' holds '[1, 2]', not text"
