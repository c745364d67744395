"""The presets of tasks, and of the data for them: read from small folders in the hub's shape."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from seq2seq.cli.overrides import config_folder
from seq2seq.config import RunConfig, bind_run
from seq2seq.data.corpus import Example, Split
from seq2seq.pipeline import check

ARTICLES = {"article": ["One.\nTwo.", "x"], "highlights": ["One .\nTwo .", "y"], "id": ["1", "2"]}
DOCUMENTS = {"document": ["One.\nTwo.", "x"], "summary": ["They count.", "y"], "id": ["1", "2"]}
CHATS = {"id": ["1", "2"], "dialogue": ["A: hi\r\nB: hello\r\nA: bye", "A: x"], "summary": ["They meet.", "y"]}
TURNS = pa.table(
    {
        "id": ["1", "2"],
        "utterances": pa.array([["a", "b", "c", "d", "e", "f", "g"], ["hi", " hello "]], pa.list_(pa.string())),
        "acts": pa.array([[1] * 7, [1, 2]], pa.list_(pa.int64())),
    }
)
ROWS = {"text": ["", " = Title = \n", " Text of it . \n", ""]}


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def config(*overrides: str) -> RunConfig:
    tree = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    assert isinstance(tree, dict)
    return bind_run({str(key): value for key, value in tree.items()})


def write(folder: Path, table: Any, *, ending: str = "-00000-of-00001.parquet") -> None:
    """Three splits, as the hub's own files or its copies in Parquet have them."""
    for split in ("train", "validation", "test"):
        path = folder / f"{split}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)


def read(bound: RunConfig, name: Split) -> list[tuple[str, str]]:
    source = bound.data().split(name)
    assert source is not None
    examples: list[Example] = list(source.read())
    assert [example.number for example in examples] == list(range(len(examples)))
    return [(example.source, example.target) for example in examples]


COPY = "/0000.parquet"
PRESETS: dict[str, tuple[str, str, str, Any, str, list[tuple[str, str]]]] = {  # task, key of the path, folder, ...
    "cnn_dailymail": (
        *("summarization", "data.path", "3.0.0", ARTICLES, "-00000-of-00001.parquet"),
        [("One. Two.", "One . Two ."), ("x", "y")],
    ),
    "xsum": ("summarization", "data.path", "default", DOCUMENTS, COPY, [("One. Two.", "They count."), ("x", "y")]),
    "samsum": (
        *("summarization", "data.turns.path", "", CHATS, "-00000-of-00001.parquet"),
        [("A: hi <turn> B: hello <turn> A: bye", "They meet."), ("A: x", "y")],
    ),
    "daily_dialog": (
        *("dialogue", "data.turns.path", "full", TURNS, COPY),
        [
            ("a", "b"),
            ("a <turn> b", "c"),
            ("a <turn> b <turn> c", "d"),
            ("a <turn> b <turn> c <turn> d", "e"),
            ("a <turn> b <turn> c <turn> d <turn> e", "f"),
            ("b <turn> c <turn> d <turn> e <turn> f", "g"),
            ("hi", "hello"),
        ],
    ),
    "wikitext": (
        *("generation", "data.path", "wikitext-103-raw-v1", ROWS, "-00000-of-00001.parquet"),
        [("", ""), ("", " = Title = "), ("", " Text of it . "), ("", "")],
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_data_in_the_shape_of_the_hub(name: str, tmp_path: Path) -> None:
    task, key, folder, table, ending, expected = PRESETS[name]
    write(tmp_path / "copy" / folder, table, ending=ending)
    bound = config(f"task={task}", f"data={name}", f"{key}={tmp_path / 'copy'}")
    check(bound)
    for split in ("train", "validation", "test"):
        assert read(bound, split) == expected
    assert bound.data().target == "en"
    assert bound.has_source == (task != "generation")


def test_translation_changes_nothing() -> None:
    bound = config()
    assert bound == config("task=translation")
    assert (bound.reading.template, bound.reading.truncate) == (None, "right")
    assert (bound.max_source_tokens, bound.max_target_tokens) == (None, None)


def test_what_a_task_sets() -> None:
    files = ("data=jsonl", "data.source=en", "data.target=en", "data.source_field=text", "data.target_field=summary")
    bound = config("task=summarization", *files)
    assert bound.template == "summarize: {source}"
    assert (bound.truncate, bound.max_source_tokens, bound.max_target_tokens) == ("right", 512, 128)
    assert bound.search.options["max_length"] == 128
    assert config("task=summarization", *files, "data.max_target_tokens=null").search.options["max_length"] is None
    assert bound.filters["length_ratio"] is None
    assert bound.filters["characters"] is not None
    bound = config("task=dialogue", "data=daily_dialog")
    assert (bound.template, bound.truncate, bound.max_source_tokens) == (None, "left", 256)
    assert config("task=generation", "data=wikitext").model.name == "decoder_only"


@pytest.mark.parametrize("before", [True, False])
def test_what_is_typed_wins(before: bool) -> None:
    """Wherever it stands on the command line."""
    typed = ["data.max_source_tokens=99", "data.template=null", "data/filters=strict", "data.filters.language=null"]
    task = ["task=summarization", "data=cnn_dailymail"]
    bound = config(*(typed + task if before else task + typed))
    assert (bound.max_source_tokens, bound.max_target_tokens, bound.template) == (99, 128, None)
    assert bound.filters["length_ratio"] is not None
    assert (
        config("task=generation", "data=c4", "model=decoder_only_base").model.options["decoder"].options["d_model"]
        > 128
    )
