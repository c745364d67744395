import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seq2seq.data import huggingface
from seq2seq.data.corpus import Example, Split, corpora
from seq2seq.data.huggingface import HuggingFace
from seq2seq.errors import DataError

README = """---
configs:
- config_name: de-en
  data_files:
  - {split: train, path: de-en/train-*}
  - {split: validation, path: de-en/validation-*}
  - {split: test, path: de-en/test-*}
- config_name: fr-en
  data_files:
  - {split: train, path: fr-en/train-*}
---
"""


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(first: int, count: int, other: str = "de") -> pa.Table:
    kind = pa.struct([(other, pa.string()), ("en", pa.string())])
    rows = [{other: f"{other} {n}", "en": f"en {n}"} for n in range(first, first + count)]
    return pa.table({"translation": pa.array(rows, kind)})


def write_pair(folder: Path, other: str) -> None:
    folder.mkdir(parents=True)
    pq.write_table(table(0, 5, other), folder / "train-00000-of-00002.parquet")
    pq.write_table(table(5, 6, other), folder / "train-00001-of-00002.parquet")
    pq.write_table(table(100, 3, other), folder / "validation-00000-of-00001.parquet")
    pq.write_table(table(200, 2, other), folder / "test-00000-of-00001.parquet")


@pytest.fixture
def wmt(tmp_path: Path) -> Path:
    """The layout of wmt/wmt14 on the hub: a folder for each pair, and a card that names them."""
    folder = tmp_path / "wmt14"
    write_pair(folder / "de-en", "de")
    write_pair(folder / "fr-en", "fr")
    (folder / "README.md").write_text(README)
    return folder


def split(split_name: Split = "train", /, **options: Any) -> Any:
    source = HuggingFace(**{"source": "en", "target": "de", **options}).split(split_name)
    assert source is not None
    return source


def write_json(folder: Path, content: str) -> str:
    folder.mkdir()
    (folder / "train.jsonl").write_text(content)
    return str(folder)


@pytest.mark.parametrize("card", [True, False])
@pytest.mark.parametrize("subset", [None, "de-en"])
def test_both_directions_of_a_pair(wmt: Path, card: bool, subset: str | None) -> None:
    if not card:
        (wmt / "README.md").unlink()
    corpus = HuggingFace(path=str(wmt), subset=subset, source="en", target="de")
    train, validation, test = corpus.split("train"), corpus.split("validation"), corpus.split("test")
    assert train is not None
    assert validation is not None
    assert test is not None
    assert list(train.read()) == [Example(f"en {n}", f"de {n}", n) for n in range(11)]
    assert list(validation.read()) == [Example(f"en {100 + n}", f"de {100 + n}", n) for n in range(3)]
    assert len(test) == 2
    back = split(path=str(wmt), subset=subset, source="de", target="en")
    assert back[4] == Example("de 4", "en 4", 4)
    assert corpora.components["huggingface"] is HuggingFace


def test_without_configurations(wmt: Path) -> None:
    assert len(split(path=str(wmt / "de-en"))) == 11


def test_parts_of_splits(wmt: Path) -> None:
    def texts(spec: str) -> list[str]:
        return [example.target for example in split(path=str(wmt), train=spec).read()]

    assert texts("train[:3]") == ["de 0", "de 1", "de 2"]
    assert texts("train[-2:]") == ["de 9", "de 10"]
    assert texts("validation[1:]+train[:1]") == ["de 101", "de 102", "de 0"]
    assert texts("test[:50%]") == ["de 200"]
    assert len(texts("train[:1000]")) == 11
    assert HuggingFace(path=str(wmt), source="en", target="de", test=None).split("test") is None
    with pytest.raises(DataError, match=r"^data\.train: train\[4:2\] of .* holds no examples$"):
        texts("train[4:2]")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_shards_and_starts(wmt: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, streaming: bool) -> None:
    monkeypatch.setattr(huggingface, "CHUNK", chunk)
    source = split(path=str(wmt), streaming=streaming)
    assert list(source.read()) == [Example(f"en {n}", f"de {n}", n) for n in range(11)]
    for shards in (1, 3):
        for start in (0, 1, 5, 11, 20):
            for shard in range(shards):
                numbers = [example.number for example in source.read((shard, shards), start)]
                assert numbers == [n for n in range(start, 11) if n % shards == shard]
    if not streaming:
        with pytest.raises(IndexError):
            source[11]


def test_null_and_line_breaks(tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "json",
        '{"translation": {"en": "a\\nb\\r\\nc\\n", "de": null}}\n'
        '{"translation": null}\n'
        '{"translation": {"en": "x\\u2028y", "de": " z "}}\n',
    )
    assert list(split(path=path).read()) == [Example("a b c", "", 0), Example("", "", 1), Example("x\u2028y", " z ", 2)]


def test_a_column_for_each_language(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "train.csv").write_text('number,de,en\n1,ja,yes\n2,"nein, danke",no\n')
    source = split(path=str(tmp_path / "csv"))
    assert list(source.read()) == [Example("yes", "ja", 0), Example("no", "nein, danke", 1)]
    assert split(path=str(tmp_path / "csv"), target="fr", target_field="de")[0] == Example("yes", "ja", 0)
    with pytest.raises(DataError, match=r"^data\.target_field: .*: no 'fr'; there is number, de, en$"):
        split(path=str(tmp_path / "csv"), target="fr")
    with pytest.raises(DataError, match=r"^data\.target_field: .*: 'number' holds int64, not text$"):
        split(path=str(tmp_path / "csv"), target="number")


def test_the_layout_of_a_parquet_export(tmp_path: Path) -> None:
    """refs/convert/parquet of a data set with code: SUBSET/SPLIT/0000.parquet, and no card."""
    for name, first in (("train", 0), ("validation", 100), ("test", 200)):
        folder = tmp_path / "iwslt" / "iwslt2017-en-de" / name
        folder.mkdir(parents=True)
        pq.write_table(table(first, 3), folder / "0000.parquet")
    for streaming in (False, True):
        options = {"path": str(tmp_path / "iwslt"), "folder": "iwslt2017-en-de", "streaming": streaming}
        assert [e.target for e in split("test", **options).read()] == ["de 200", "de 201", "de 202"]
        joined = split(**options, train="train+validation")
        assert [e.target for e in joined.read(start=2)] == ["de 2", "de 100", "de 101", "de 102"]


def test_saved_to_disk(tmp_path: Path) -> None:
    one = datasets.Dataset(table(0, 4))
    datasets.DatasetDict({"train": one, "dev": one.select(range(2))}).save_to_disk(tmp_path / "splits")
    one.save_to_disk(tmp_path / "one")
    assert len(split(path=str(tmp_path / "splits"))) == 4
    assert len(split("validation", path=str(tmp_path / "splits"), validation="dev[1:]")) == 1
    assert split(path=str(tmp_path / "one"))[3] == Example("en 3", "de 3", 3)
    streamed = split("validation", path=str(tmp_path / "splits"), validation="dev", streaming=True)
    assert list(streamed.read(start=1)) == [Example("en 1", "de 1", 1)]


def test_unreachable_hub_is_told_in_a_line() -> None:
    with pytest.raises(DataError) as caught:
        split(path="wmt/wmt14")
    assert str(caught.value) == (
        "data.path: there is no folder wmt/wmt14, and the Hugging Face hub cannot be reached; "
        "data.path=FOLDER reads a local copy"
    )


@pytest.mark.parametrize("subset", [None, "de-en"])
def test_the_cache_works_without_the_hub(wmt: Path, tmp_path: Path, subset: str | None) -> None:
    split(path=str(wmt), subset="fr-en", target="fr")
    split(path=str(wmt), subset="de-en")
    (tmp_path / "cache" / "wmt14").rename(tmp_path / "cache" / "wmt___wmt14")
    assert split(path="wmt/wmt14", subset=subset)[10] == Example("en 10", "de 10", 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "traim"}, "data.train: 'traim' is neither a split of PATH nor a part of one; it has "
            "train, validation, test (data.train=null does without)"),
        ({"train": "train[x]"}, "data.train: 'train[x]' is neither a split of PATH nor a part of one; it has "
            "train, validation, test (data.train=null does without)"),
        ({"target": "zh"}, "data.subset: PATH has no subset en-zh or zh-en; it has de-en, fr-en"),
        ({"subset": "en-de"}, "data.subset: PATH has no subset 'en-de'; it has de-en, fr-en"),
        ({"subset": "de-en", "target": "fr"}, "data.target_field: PATH: no 'fr' in translation; there is de, en"),
        ({"subset": "de-en", "source": "fr"}, "data.source_field: PATH: no 'fr' in translation; there is de, en"),
        ({"target_field": "pair.de"}, "data.target_field: PATH: no 'pair'; there is translation"),
        ({"train": "train[:3]", "streaming": True}, "data.train: 'train[:3]' is no split of PATH, which has "
            "train, validation, test; with streaming=true only whole splits can be read"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key_and_what_exists(wmt: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        split(path=str(wmt), **options)
    assert str(caught.value) == message.replace("PATH", str(wmt))


def test_a_column_that_holds_one_text(tmp_path: Path) -> None:
    path = write_json(tmp_path / "json", '{"translation": "x"}\n')
    with pytest.raises(DataError, match=r"data\.source_field: .*: no 'en' in translation; there is string"):
        split(path=path)


def test_what_cannot_be_loaded_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = write_json(tmp_path / "broken", '{"translation": {"en": 1}}\n{bad\n')
    for path in (str(tmp_path / "empty"), str(tmp_path / "missing"), broken):
        with pytest.raises(DataError) as caught:
            split(path=path)
        assert str(caught.value).startswith(f"data.path: cannot load {path}: ")
        assert "\n" not in str(caught.value)


def test_nothing_on_stdout_and_settings_restored(wmt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verbosity = datasets.logging.get_verbosity()
    hidden = datasets.are_progress_bars_disabled()
    list(split(path=str(wmt)).read())
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert datasets.logging.get_verbosity() == verbosity
    assert datasets.are_progress_bars_disabled() == hidden


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        split(path="wmt/wmt14")


def test_one_language_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="both read from 'en'"):
        HuggingFace(path="x", source="en", target="en")
