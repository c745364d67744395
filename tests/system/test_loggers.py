"""Loggers in a run that goes on: a stand-in, and the real ones where they are installed."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from seq2seq.training import loggers as module
from seq2seq.training.loggers import Logger, Start, loggers

Command = Callable[..., Any]
Points = list[tuple[str, int, float]]


def reported(run: Path) -> Points:
    """What metrics.jsonl holds, but for the seconds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return sorted(
        (name, line["step"], value)
        for line in lines
        for name, value in line.items()
        if name not in ("step", "seconds", "validation/best") and value is not None
    )


def but_for_times(points: Points) -> Points:
    """Of steps that are trained twice, everything else is the same."""
    return [(name, step, 0.0 if name == "train/tokens_per_second" else value) for name, step, value in points]


def train_on(command: Command, tiny: Sequence[str], *given: str) -> None:
    """To step 4, then back to the checkpoint of step 2, as after a kill, and to step 6."""
    told = command("seq2seq-train", *tiny, "trainer.log_every=1", "run=mine", *given)
    assert told.status == 0, told.err
    shutil.rmtree("mine/checkpoints/step_00000004")
    told = command("seq2seq-train", "trainer.max_steps=6", "run=mine")
    assert told.status == 0, told.err
    assert "fails" not in told.err
    assert "nothing is sent" not in told.err


def test_loggers_may_change_between_starts(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, tiny: Sequence[str]
) -> None:
    calls: list[Any] = []

    class Kept(Logger):
        place = "here"

        def __init__(self, *, colour: str = "red") -> None:
            self.colour = colour

        def open(self, start: Start, known: str | None) -> str:
            calls.append((start.name, self.colour, known, start.options))
            return "id"

        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            calls.append((step, dict(values)))

        samples = image = lambda self, *told: None

        def summary(self, step: int, values: Mapping[str, float]) -> None:
            calls.append(("summary", step, dict(values)))

        def close(self, done: bool) -> None:
            calls.append(done)

    monkeypatch.setitem(loggers.components, "kept", Kept)
    told = command("seq2seq-train", "run=run", "trainer.max_steps=5", "+loggers.kept={}")
    assert told.status == 0, told.err
    name, colour, known, options = calls.pop(0)
    assert (name, colour, known) == ("run", "red", None)
    assert (options["optimizer.lr"], options["trainer.max_steps"]) == (1e-3, 5)
    assert not [key for key in options if key.startswith("loggers")]
    assert calls.pop() is True
    summary = calls.pop()
    assert summary[:2] == ("summary", 5)
    assert "best/bleu" in summary[2]
    found = [(name, step, value) for step, values in calls for name, value in values.items() if name != "seconds"]
    assert sorted(found) == reported(run)
    calls.clear()
    told = command("seq2seq-train", "run=run", "trainer.max_steps=6", "loggers.kept.colour=blue")
    assert told.status == 0, told.err
    assert calls[0][:3] == ("run", "blue", "id")


def test_what_is_wrong_with_loggers_is_told_at_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    told = command("seq2seq-train", "loggers.wandb.project=mt", "run=mine")
    assert (told.status, told.err) == (
        2,
        "seq2seq-train: loggers.wandb: the library `wandb` is missing: pip install 'seq2seq[wandb]', or set null to do "
        "without\n",
    )
    told = command("seq2seq-train", "loggers.wandb.projekt=mt", "run=mine")
    assert told.err == "seq2seq-train: loggers.wandb.projekt: unknown key; did you mean 'project'?\n"
    assert not Path("mine").exists()


def wandb_records(file: Path) -> Iterator[Any]:
    """Of what an offline run keeps: records in the frames of LevelDB's log, after a head of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_weights_and_biases(command: Command, tiny: Sequence[str]) -> None:
    pytest.importorskip("wandb")
    train_on(command, tiny, "loggers.wandb={mode:offline,project:mt}")
    files = sorted(Path("mine/loggers/wandb").glob("offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime)
    records = [record for file in files for record in wandb_records(file)]
    runs = [record.run for record in records if record.HasField("run")]
    assert {(run.display_name, run.project) for run in runs} == {("mine", "mt")}
    assert len(files) == 2
    assert len({run.run_id for run in runs}) == 1
    points, tables = [], []
    for record in records:
        if record.HasField("history"):
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            points += [(name, row["step"], value) for name, value in row.items() if name.startswith(("train", "valid"))]
            tables += [row["step"]] if "samples.path" in row else []
    assert but_for_times(sorted(points)) == but_for_times(reported(Path("mine")))
    assert tables == [2, 4, 6]
    config = {item.key: item.value_json for record in records for item in record.config.update}
    assert (config["optimizer.lr"], config["trainer.max_steps"]) == ("0.001", "6")
    summary = {item.key for record in records for item in record.summary.update}
    assert "best/bleu" in summary


def test_mlflow(command: Command, tiny: Sequence[str]) -> None:
    pytest.importorskip("mlflow")
    train_on(command, tiny, "loggers.mlflow={tracking_uri:'sqlite:///kept.db',experiment:mt}")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri="sqlite:///kept.db")
    experiment = client.get_experiment_by_name("mt")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert (run.data.params["optimizer.lr"], run.data.params["trainer.max_steps"]) == ("0.001", "4")
    assert run.data.tags["trainer.max_steps"] == "6"
    points = [
        (name, metric.step, metric.value)
        for name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
        if name.startswith(("train", "valid"))
    ]
    assert but_for_times(sorted(points)) == but_for_times(reported(Path("mine")))
    assert "best/bleu" in run.data.metrics
    assert [file.path for file in client.list_artifacts(run.info.run_id, "samples")] == [
        f"samples/step_0000000{step}.txt" for step in (2, 4, 6)
    ]
