"""check=true looks at the data and trains nothing; filters leave out what they find."""

import json
import sys
from pathlib import Path

import pytest
import torch

from seq2seq.data.demo import Demo

from .conftest import Command


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """300 pairs; of the first 5 a copy at the end, one of them with a control character, and a validation pair."""
    monkeypatch.chdir(tmp_path)
    source = Demo(source="en", target="de", train=300, validation=20, test=1).split("train")
    assert source is not None
    examples = list(source.read())
    train, validation = examples[:280], examples[280:]
    for name, part in (("train", [*train, *train[:5], validation[0]]), ("val", validation)):
        for side, language in (("source", "en"), ("target", "de")):
            lines = [getattr(example, side) for example in part]
            if name == "train" and side == "target":
                lines[3] += "\x07"
            Path(f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [
        "data=text_files", "data.source=en", "data.target=de", "data.train=train", "data.validation=val", "run=run",
        "tokenizer=characters", "model=lstm_tiny", "model.encoder.d_model=8", "model.decoder.d_model=8",
        "trainer.max_steps=2", "trainer.device=cpu",
    ]  # fmt: skip


def test_check_tells_and_does_not_train(command: Command, arguments: list[str]) -> None:
    found = command("seq2seq-train", *arguments, "check=true")
    assert found.status == 0
    assert found.out == ""
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert report["examples"]["read"] == report["examples"]["used"] == 286
    counts = {name: fault["count"] for name, fault in report["faults"].items() if fault["count"]}
    assert counts["held_out"] == 1
    assert counts["control_characters"] == 1
    assert counts["duplicates"] >= 4  # the one with the bell is no duplicate; the grammar may repeat itself
    assert "held_out: 1 in the validation or test data too, kept" in found.err
    assert "nothing was trained; without check=true the same command trains" in found.err
    assert not Path("run/checkpoints").exists()
    assert report["training"]["updates"] == 2
    assert report["training"]["batches in an epoch"] > 0
    for told in ("target tokens a second on cpu", "the run: up to 2 updates", "longest batch: ", "peak memory "):
        assert told in found.err
    assert command("seq2seq-train", *arguments).status == 0
    assert Path("run/checkpoints/step_00000002").is_dir()


def test_a_model_without_room_is_told_and_no_fault(
    command: Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("seq2seq.training.forecast.forecast", no_room)
    found = command("seq2seq-train", *arguments, "check=true")
    assert found.status == 0
    assert "an update was tried and failed: out of memory: lower trainer.max_tokens" in found.err
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert set(report["training"]) == {"failed"}


def test_strict_filters_leave_out(command: Command, arguments: list[str]) -> None:
    found = command("seq2seq-train", *arguments, "data/filters=strict", "data.filters.duplicates=null", "check=true")
    assert found.status == 0, found.err
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert "duplicates" not in report["faults"]
    assert report["examples"]["used"] <= 284
    assert report["faults"]["control_characters"]["action"] == "drop"
    assert command("seq2seq-train", *arguments).status == 0  # nothing was trained yet
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert report["faults"]["control_characters"]["action"] == "count"
    again = command("seq2seq-train", *arguments, "data/filters=strict", "data.filters.duplicates=null")
    assert again.status == 2
    assert "data.filters.control_characters.action: was count, but is drop" in again.err


def test_strict_filters_without_the_identifier_of_languages(
    command: Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    strict = [*arguments, "data/filters=strict", "check=true"]
    found = command("seq2seq-train", *strict)
    assert (found.status, found.out) == (2, "")
    for name in ("language", "swapped"):
        assert f"data.filters.{name}: the library `py3langid` is missing: pip install 'seq2seq[language]'" in found.err
    assert not Path("run").exists()
    assert command("seq2seq-train", *strict, "data.filters.language=null", "data.filters.swapped=null").status == 0
    assert command("seq2seq-train", *arguments, "run=usual").status == 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("check=yes_please", "check: should be true or false, but is 'yes_please'"),
        ("data.filters.script=7", "data.filters.script: should be a group of options, {} for the usual ones, or null"),
        (
            "data.filters.script=length_ratio",
            "null for none, but is 'length_ratio'; a key `name` in it tells what it is",
        ),
        (
            "+data.filters.zyx={}",
            "data.filters.zyx: no component is called 'zyx'; a key `name` in it tells what it is; there are: ",
        ),
        ("+data.filters.scripts={}", "data.filters.scripts: no component is called 'scripts'; did you mean"),
        ("data.filters.characters.limit=0", "data.filters.characters.limit: should be greater than 0, but is 0"),
        ("data/filters=strickt", "data/filters: no choice 'strickt'; did you mean 'strict'?"),
    ],
)  # fmt: skip
def test_mistakes(command: Command, arguments: list[str], argument: str, message: str) -> None:
    found = command("seq2seq-train", *arguments, argument)
    assert (found.status, found.out) == (2, "")
    assert message in found.err


def test_runs_share_the_tokenizer_and_the_encoded_data(command: Command, arguments: list[str]) -> None:
    shared = [*arguments, "cache=cache"]
    first = command("seq2seq-train", *shared, "run=first")
    assert "training the tokenizer" in first.err
    second = command("seq2seq-train", *shared, "run=second")
    assert second.status == 0
    assert "training the tokenizer" not in second.err
    weights = [Path(run, "checkpoints/step_00000002/model.safetensors").read_bytes() for run in ("first", "second")]
    assert weights[0] == weights[1]
    assert len([path for path in Path("cache/prepared").iterdir() if path.is_dir()]) == 1
    for path in Path("cache/tokenizers").glob("*/*/*"):
        path.write_text("x")
    third = command("seq2seq-train", *shared, "run=third")
    assert third.status == 0
    assert "the tokenizer is trained again" in third.err
    assert Path("third/checkpoints/step_00000002/model.safetensors").read_bytes() == weights[0]


def test_a_cache_that_cannot_be_written(command: Command, arguments: list[str]) -> None:
    Path("cache").write_text("a file")
    found = command("seq2seq-train", *arguments, "cache=cache")
    assert (found.status, found.out) == (1, "")
    assert found.err == "seq2seq-train: cache/tokenizers: Not a directory; cache=FOLDER chooses another place\n"


DENOISING = [
    "data=denoising", "data/noise=span_corruption", "data.text.train=train", "data.text.validation=val",
    "data.text.target=de", "data.text.source=null", "tokenizer=sentencepiece", "tokenizer.vocab_size=500",
]  # fmt: skip
DOCUMENTS = [
    "data=documents", "data.sides=both", "data.sentences.train=train", "data.sentences.validation=val",
    "data.sentences.source=en", "data.sentences.target=de",
]  # fmt: skip


@pytest.mark.parametrize("data", [DENOISING, DOCUMENTS], ids=["denoising", "documents"])
def test_leaks_are_found_under_noise_and_context(command: Command, arguments: list[str], data: list[str]) -> None:
    others = [argument for argument in arguments if not argument.startswith(("data", "tokenizer"))]
    found = command("seq2seq-train", *others, *data, "check=true")
    assert found.status == 0, found.err
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert report["faults"]["held_out"]["count"] == 1


def test_leaks_are_found_in_the_other_direction(command: Command, arguments: list[str]) -> None:
    others = [argument for argument in arguments if not argument.startswith("data")]
    parts = [
        "data=mixture", "data.parts.a.name=text_files", "data.parts.a.source=en", "data.parts.a.target=de",
        "data.parts.a.train=val", "data.parts.b.name=text_files", "data.parts.b.source=de", "data.parts.b.target=en",
        "data.parts.b.train=train", "data.parts.a.validation=val",
    ]  # fmt: skip
    found = command("seq2seq-train", *others, *parts, "check=true")
    assert found.status == 0, found.err
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert report["parts"]["a"]["faults"]["held_out"]["count"] == 20
    assert report["parts"]["b"]["faults"]["held_out"]["count"] == 1
