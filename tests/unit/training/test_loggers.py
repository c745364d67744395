"""What every logger gets, from a stand-in; and Weights & Biases and MLflow, with stand-ins for their libraries."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from seq2seq.binding import options_of
from seq2seq.cli.compose import config_folder
from seq2seq.errors import ConfigError
from seq2seq.registry import Factory
from seq2seq.training import loggers as module
from seq2seq.training.loggers import Logger, LoggerReporter, Start, loggers
from seq2seq.training.mlflow import MLflow
from seq2seq.training.reporters import JsonLines, Sample
from seq2seq.training.wandb import WandB

ROWS: list[Sample] = [("a", "b", "c")]


class Service(Logger):
    """Keeps what it is told in a list that outlives it. faults: what to raise, by the name of a call."""

    def __init__(self, calls: list[Any], place: str = "here", faults: Mapping[str, Exception] | None = None) -> None:
        self.calls = calls
        self.faults = dict(faults or {})
        self._place = place
        self.known = True

    @property
    def place(self) -> str:
        return self._place

    def _call(self, name: str, *told: Any) -> None:
        if name in self.faults:
            raise self.faults[name]
        self.calls.append((name, *told))

    def open(self, start: Start, known: str | None) -> str:
        self._call("open", start.name, known)
        return (known or f"id{len(self.calls)}") if self.known else "another"

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._call("scalars", step, dict(values))

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        self._call("samples", step, list(rows))

    def image(self, step: int, name: str, pixels: Any) -> None:
        self._call("image", step, name, pixels.shape[-1])

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        self._call("summary", step, dict(values))

    def close(self, done: bool) -> None:
        self._call("close", done)


class Training:
    """A run in a folder, which is killed and goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = Start("mine", folder / "loggers", {"optimizer.lr": 0.1})
        self.metrics = folder / "metrics.jsonl"

    def train(self, logger: Logger | None, first: int, last: int, *, resumed: int = 0, done: bool = False) -> None:
        """Steps from first to last, each reported, and each second one validated."""
        lines = JsonLines(self.metrics, resume_step=resumed)
        reporters: list[Any] = [lines]
        if logger is not None:
            reporters.append(LoggerReporter("mine", logger, self.start, self.metrics))
        for step in range(first, last + 1):
            for reporter in reporters:
                reporter.scalars(step, 0.5 * step, {"train/loss": 1 / step, "train/epoch": float("nan")})
            if step % 2 == 0:
                for reporter in reporters:
                    reporter.scalars(step, 0.5 * step, {"validation/bleu": 10.0 * step, "validation/best": 1.0})
                    reporter.samples(step, ROWS)
        for reporter in reporters:
            if done:
                reporter.finish({}, {"best/bleu": 40.0, "best/ter": float("inf")})
            reporter.close()


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def points(calls: Sequence[Any], name: str) -> list[tuple[int, float]]:
    return [(call[1], call[2][name]) for call in calls if call[0] == "scalars" and name in call[2]]


def test_the_numbers_of_metrics_jsonl(training: Training) -> None:
    calls: list[Any] = []
    training.train(Service(calls), 1, 2, done=True)
    assert calls == [
        ("open", "mine", None),
        ("scalars", 1, {"seconds": 0.5, "train/loss": 1.0}),
        ("scalars", 2, {"seconds": 1.0, "train/loss": 0.5}),
        ("scalars", 2, {"validation/bleu": 20.0}),
        ("samples", 2, ROWS),
        ("summary", 2, {"best/bleu": 40.0}),
        ("close", True),
    ]


def test_a_killed_run_that_goes_on_has_every_number_once(training: Training) -> None:
    calls: list[Any] = []
    training.train(Service(calls), 1, 5)
    training.train(Service(calls), 4, 7, resumed=3, done=True)
    assert points(calls, "train/loss") == [(step, 1 / step) for step in range(1, 8)]
    assert points(calls, "validation/bleu") == [(2, 20.0), (4, 40.0), (6, 60.0)]
    assert points(calls, "seconds") == [(step, 0.5 * step) for step in range(1, 8)]
    assert [call[1] for call in calls if call[0] == "samples"] == [2, 4, 6]
    assert [call for call in calls if call[0] in ("open", "close")] == [
        ("open", "mine", None),
        ("close", False),
        ("open", "mine", "id1"),
        ("close", True),
    ]


def test_a_logger_that_comes_later_gets_what_was_before(training: Training) -> None:
    calls: list[Any] = []
    training.train(None, 1, 4)
    training.train(Service(calls), 5, 6, resumed=4)
    assert points(calls, "train/loss") == [(step, 1 / step) for step in range(1, 7)]
    assert points(calls, "validation/bleu") == [(2, 20.0), (4, 40.0), (6, 60.0)]


@pytest.mark.parametrize("change", ["place", "deleted"])
def test_in_another_place_it_is_a_new_run(training: Training, change: str) -> None:
    training.train(Service([]), 1, 4)
    calls: list[Any] = []
    logger = Service(calls, place="there" if change == "place" else "here")
    logger.known = change != "deleted"
    training.train(logger, 5, 5, resumed=4)
    assert calls[0] == ("open", "mine", "id1" if change == "deleted" else None)
    assert points(calls, "train/loss") == [(step, 1 / step) for step in range(1, 6)]


@pytest.mark.parametrize("call", ["open", "scalars", "samples"])
def test_a_logger_that_fails_is_told_once(training: Training, caplog: pytest.LogCaptureFixture, call: str) -> None:
    calls: list[Any] = []
    broken = Service(calls, faults={call: OSError(28, "No space left on device\nand more")})
    training.train(broken, 1, 4, done=True)
    told = "loggers.mine fails, and training goes on without it: [Errno 28] No space left on device"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, told)]
    assert len(training.metrics.read_text().splitlines()) == 6  # the others report all the same
    training.train(Service(calls), 5, 5, resumed=4)  # it gets what it has missed
    assert points(calls, "train/loss") == [(step, 1 / step) for step in range(1, 6)]


def test_a_kill_while_the_history_is_sent(training: Training) -> None:
    """The run that was begun goes on, and has no number twice."""
    training.train(None, 1, 4)

    class Killed(Service):
        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            super().scalars(step, values)
            if step == 3:
                raise KeyboardInterrupt

    calls: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        training.train(Killed(calls), 5, 5, resumed=4)
    assert json.loads((training.folder / "loggers" / "mine.json").read_text())["id"] == "id1"
    training.train(Service(calls), 5, 5, resumed=4)
    assert [call for call in calls if call[0] == "open"] == [("open", "mine", None), ("open", "mine", "id1")]
    assert points(calls, "train/loss") == [(step, 1 / step) for step in range(1, 6)]


def test_a_kill_before_the_first_number(training: Training) -> None:
    training.train(None, 1, 1)
    calls: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        training.train(Service(calls, faults={"scalars": KeyboardInterrupt()}), 2, 2, resumed=1)  # type: ignore[dict-item]
    training.train(Service(calls), 2, 2, resumed=1)
    assert [call for call in calls if call[0] == "open"] == [("open", "mine", None), ("open", "mine", "id1")]


@pytest.mark.parametrize("also", [{}, {"close": OSError(5, "gone")}])
def test_what_has_failed_is_closed(
    training: Training, caplog: pytest.LogCaptureFixture, also: dict[str, Exception]
) -> None:
    calls: list[Any] = []
    training.train(Service(calls, faults={"samples": OSError(5, "gone"), **also}), 1, 3, done=True)
    assert [call for call in calls if call[0] == "close"] == ([] if also else [("close", True)])
    assert len(caplog.records) == 1


def test_a_full_disk_is_told_once(
    training: Training, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_replaced", refuse)
    training.train(Service([]), 1, 3, done=True)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_state_that_is_broken_begins_a_new_run(training: Training) -> None:
    for broken in ("", "[]", '{"place": "here"}', '{"place": "here", "id": "x", "steps": [1]}'):
        training.start.folder.mkdir(exist_ok=True)
        (training.start.folder / "mine.json").write_text(broken)
        calls: list[Any] = []
        training.train(Service(calls), 1, 1)
        assert calls[0] == ("open", "mine", None)


def test_pictures_of_attention(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "draw", lambda attention: np.zeros((4, 5, 3), np.uint8))
    calls: list[Any] = []
    reporter = LoggerReporter("mine", Service(calls), training.start, training.metrics)
    maps = [SimpleNamespace(target=target) for target in (["x"], [], ["y"])]
    reporter.attention(3, maps)  # type: ignore[arg-type]
    reporter.attention(3, maps)  # type: ignore[arg-type]
    assert calls[1:] == [("image", 3, "attention/1", 3), ("image", 3, "attention/3", 3)]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = SimpleNamespace(origin=None)  # of what W&B has written to the working directory
    for found in (None, folder):
        monkeypatch.setattr(module, "find_spec", lambda asked, found=found: found)
        with pytest.raises(ConfigError) as caught:
            Factory(loggers.components[name], name, {}, f"loggers.{name}")()
        told = f"the library `{name}` is missing: pip install 'seq2seq[{name}]', or set null to do without"
        assert str(caught.value) == f"loggers.{name}: {told}"


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    made = ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setattr(module, "find_spec", lambda asked: SimpleNamespace(origin="here"))


@pytest.mark.parametrize("reachable", [True, False])
def test_weights_and_biases(
    training: Training, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reachable: bool
) -> None:
    calls: list[Any] = []

    def init(mode: str, **options: Any) -> Any:
        if mode == "online" and not reachable:
            raise RuntimeError("no such host\nat all")
        calls.append((mode, options))
        return SimpleNamespace(
            id=options["id"], url="url", dir="dir", offline=mode == "offline",
            config=SimpleNamespace(update=lambda values, allow_val_change: calls.append(("config", values))),
            define_metric=lambda name, step_metric=None: calls.append(("metric", name, step_metric)),
            log=lambda values: calls.append(("log", values)),
            summary=SimpleNamespace(update=lambda values: calls.append(("summary", values))),
            finish=lambda exit_code: calls.append(("finish", exit_code)),
        )  # fmt: skip

    stand_in(
        monkeypatch,
        "wandb",
        init=init,
        teardown=lambda: None,
        Settings=lambda **given: given,
        Table=lambda columns, data: (columns, data),
    )
    training.train(WandB(project="mt", tags=["x"], group="g"), 1, 2)
    mode, options = calls[0]
    assert mode == ("online" if reachable else "offline")
    assert {key: options[key] for key in ("project", "entity", "group", "tags", "name", "dir", "resume")} == {
        "project": "mt", "entity": None, "group": "g", "tags": ["x"], "name": "mine",
        "dir": str(training.folder / "loggers"), "resume": "allow",
    }  # fmt: skip
    assert calls[1:] == [
        ("config", {"optimizer.lr": 0.1}),
        ("metric", "step", None),
        ("metric", "*", "step"),
        ("log", {"step": 1, "seconds": 0.5, "train/loss": 1.0}),
        ("log", {"step": 2, "seconds": 1.0, "train/loss": 0.5}),
        ("log", {"step": 2, "validation/bleu": 20.0}),
        ("log", {"step": 2, "samples": (["source", "reference", "hypothesis"], [["a", "b", "c"]])}),
        ("finish", 1),
    ]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    told = "loggers.wandb: nothing is sent (no such host); `wandb sync` sends what is kept in the run"
    assert warned == ([] if reachable else [told])
    calls.clear()
    training.train(WandB(project="mt"), 3, 3, resumed=2, done=True)
    assert calls[0][1]["id"] == options["id"]
    assert calls[-2:] == [("summary", {"best/bleu": 40.0}), ("finish", 0)]


class Store:
    """Of MLflow, as far as it is used here. Parameters cannot be changed."""

    def __init__(self) -> None:
        self.experiments: list[str] = []
        self.runs: list[Any] = []

    def client(self, tracking_uri: str | None) -> "Store":
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        found = name in self.experiments
        return SimpleNamespace(experiment_id=str(self.experiments.index(name))) if found else None

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return str(len(self.experiments) - 1)

    def create_run(self, experiment_id: str, run_name: str, tags: Mapping[str, str]) -> Any:
        info = SimpleNamespace(run_id=str(len(self.runs)), status="RUNNING", name=run_name)
        data = SimpleNamespace(params={}, metrics=[], tags=dict(tags), texts={})
        self.runs.append(SimpleNamespace(info=info, data=data))
        return self.runs[-1]

    def get_run(self, run_id: str) -> Any:
        return self.runs[int(run_id)]

    def update_run(self, run_id: str, status: str) -> None:
        self.get_run(run_id).info.status = status

    set_terminated = update_run

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.get_run(run_id).data.tags[key] = value

    def log_text(self, run_id: str, text: str, file: str) -> None:
        self.get_run(run_id).data.texts[file] = text

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        data = self.get_run(run_id).data
        assert len(params) <= 100
        data.metrics += [(name, value, step) for name, value, _, step in metrics]
        for key, value in params:
            assert data.params.setdefault(key, value) == value


def test_mlflow(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    stand_in(monkeypatch, "mlflow")
    stand_in(monkeypatch, "mlflow.tracking", MlflowClient=store.client)
    stand_in(monkeypatch, "mlflow.entities", Metric=lambda *told: told, Param=lambda *told: told)
    stand_in(monkeypatch, "mlflow.exceptions", MlflowException=KeyError)
    many = {f"option{n}": n for n in range(150)}
    training.start = Start("mine", training.folder / "loggers", {"data.tags.<2de>": "x" * 7000, "steps": 5, **many})
    training.train(MLflow(experiment="mt", tags={"a": "b"}), 1, 3)
    [run] = store.runs
    assert (run.info.name, run.info.status, store.experiments) == ("mine", "KILLED", ["mt"])
    assert len(run.data.params) == 152
    assert run.data.params["data.tags._2de_"] == "x" * 6000
    assert run.data.texts == {"samples/step_00000002.txt": "source:     a\nreference:  b\nhypothesis: c\n"}

    training.start = Start("mine", training.folder / "loggers", {"data.tags.<2de>": "x" * 7000, "steps": 9, **many})
    training.train(MLflow(experiment="mt"), 3, 4, resumed=2, done=True)
    assert store.runs == [run]
    assert run.info.status == "FINISHED"
    assert (run.data.params["steps"], run.data.tags) == ("5", {"a": "b", "steps": "9"})
    losses = [(step, value) for name, value, step in run.data.metrics if name == "train/loss"]
    assert losses == [(step, 1 / step) for step in range(1, 5)]
    assert run.data.metrics[-1] == ("best/bleu", 40.0, 4)


def test_a_password_is_not_stored(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "mlflow")
    given = {"tracking_uri": "https://me:secret@host:5000/x"}
    with pytest.raises(ConfigError) as caught:
        Factory(loggers.components["mlflow"], "mlflow", given, "loggers.mlflow")()
    told = "holds a password, which the run would store: set the variable MLFLOW_TRACKING_URI instead"
    assert str(caught.value) == f"loggers.mlflow: tracking_uri: {told}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:se@cret@host/x")
    assert MLflow(experiment="mt").place == "postgresql://host/x mt"
    for uri in ("http://host:5000/a@b", "sqlite:///mlflow.db", "databricks://profile"):
        assert MLflow(tracking_uri=uri).place == f"{uri} seq2seq"


@pytest.mark.parametrize("name", loggers.components)
def test_the_presets_show_every_option(name: str) -> None:
    shown = yaml.safe_load((config_folder() / "loggers" / f"{name}.yaml").read_text())
    bound = {option: details.default for option, details in options_of(loggers.components[name]).items()}
    assert shown == dict.fromkeys(loggers.components) | {name: bound}
    nothing = yaml.safe_load((config_folder() / "loggers" / "none.yaml").read_text())
    assert nothing == dict.fromkeys(loggers.components)


def test_the_state_is_plain(training: Training) -> None:
    training.train(Service([]), 1, 2)
    assert json.loads((training.folder / "loggers" / "mine.json").read_text()) == {
        "place": "here",
        "id": "id1",
        "steps": {"seconds": 2, "train/loss": 2, "validation/bleu": 2, "samples": 2},
    }
