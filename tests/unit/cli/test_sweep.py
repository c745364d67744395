"""Sweeps composed: their jobs, what a search may try, and what is refused."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from seq2seq.cli import sweep as module
from seq2seq.cli.compose import Job, Sweep, compose_jobs
from seq2seq.cli.sweep import _dimension, _parts, run_sweep
from seq2seq.errors import ConfigError
from seq2seq.sweeps.launcher import Launcher, LauncherError, Outcome, Task
from seq2seq.sweeps.optuna import Dimension, Optuna, Study
from seq2seq.training.run_dir import RunDir

Compose = Callable[..., Sweep]


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compose:
    """The sweep of a command line."""
    monkeypatch.chdir(tmp_path)

    def composed(*arguments: str) -> Sweep:
        monkeypatch.setattr(sys, "argv", ["seq2seq-train", *arguments])
        sweep = compose_jobs("train")
        assert isinstance(sweep, Sweep)
        return sweep

    return composed


def test_every_combination(compose: Compose) -> None:
    fixed = ["trainer.max_steps=5", "trainer.num_threads=1"]  # which may change while a run goes on
    sweep = compose("-m", "model=lstm_tiny,gru_tiny", "optimizer.lr=1e-3,0.1", *fixed, "run=all")
    jobs = sweep.grid()
    expected = [(model, lr) for model in ("lstm", "gru") for lr in ("0.001", "0.1")]
    assert [job.overrides for job in jobs] == [f"model={model}_tiny optimizer.lr={lr}" for model, lr in expected]
    runs = [f"all/model={model}_tiny,optimizer.lr={lr}" for model, lr in expected]
    assert [job.tree["run"] for job in jobs] == runs
    assert [job.tree["model"]["encoder"]["name"] for job in jobs] == ["lstm", "lstm", "gru", "gru"]
    assert [job.tree["optimizer"]["lr"] for job in jobs] == [0.001, 0.1, 0.001, 0.1]
    assert {job.tree["trainer"]["max_steps"] for job in jobs} == {5}
    assert (sweep.launcher.get("name"), sweep.sweeper.get("name")) == (None, None)


def test_a_preset_is_a_sweep_without_a_flag_and_names_its_folder(compose: Compose) -> None:
    jobs = compose("sweep=architectures", "model=rnn_tiny,lstm_tiny").grid()
    assert [job.tree["run"] for job in jobs] == [
        f"runs/architectures/model={model}_tiny,trainer.seed={seed}" for model in ("rnn", "lstm") for seed in (1, 2)
    ]
    assert [job.tree["trainer"]["seed"] for job in jobs] == [1, 2, 1, 2]


@pytest.mark.parametrize("name", ["architectures", "learning_rate", "transformer_small_data"])
def test_presets_compose_and_bind(compose: Compose, name: str) -> None:
    from seq2seq.cli.train import check

    sweep = compose(f"sweep={name}", "trainer.device=cpu")
    launcher, optuna = _parts(sweep)
    assert launcher is None
    assert (optuna is None) == (name == "architectures")
    firsts = {x.get_key_element(): x for x in sweep.space}
    chosen = []
    for key, override in firsts.items():
        dimension = _dimension(override)
        chosen.append(f"{key}={dimension.choices[0] if dimension.choices else dimension.low}")
    check(sweep.make([*sweep.fixed, *chosen], 0).tree)


def test_yaml_files_of_the_users_own(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      optimizer:\n        lr: 1,2\n"
    (tmp_path / "mine" / "sweep" / "rates.yaml").write_text(text, encoding="utf-8")
    jobs = compose("--config-dir", "mine", "sweep=rates").grid()
    assert [job.tree["optimizer"]["lr"] for job in jobs] == [1, 2]

    (tmp_path / "mine" / "other.yaml").write_text("defaults: [train, _self_]\ntrainer:\n  max_steps: 7\n")
    jobs = compose("--config-dir", "mine", "--config-name", "other", "-m", "trainer.seed=1,2").grid()
    assert [(job.tree["trainer"]["max_steps"], job.tree["trainer"]["seed"]) for job in jobs] == [(7, 1), (7, 2)]


def test_what_hydra_sets_for_a_job_is_set(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOO", raising=False)
    environment = "++hydra.job.env_set={FOO: bar}"
    names = "run=all/${oc.env:FOO,nothing}-${hydra:job.num}-${hydra:job.id}"
    jobs = compose("-m", environment, "trainer.seed=5,6", names).grid()
    runs = [job.tree["run"] for job in jobs]
    assert runs == ["all/bar-0-0/trainer.seed=5", "all/bar-1-1/trainer.seed=6"]
    assert "FOO" not in os.environ


def test_a_limit_that_is_varied_is_part_of_the_names(compose: Compose) -> None:
    jobs = compose("-m", "trainer.max_steps=5,6", "trainer.max_epochs=2", "loss.label_smoothing=0.1").grid()
    names = [f"loss.label_smoothing=0.1,trainer.max_steps={steps}" for steps in (5, 6)]
    assert [job.tree["run"] for job in jobs] == [f"runs/{name}" for name in names]


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "hydra/sweeper=optuna", "hydra.launcher.n_jobs=4"])
def test_what_is_for_sweeps_alone(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(sys, "argv", ["seq2seq-train", "optimizer.lr=1", word])
    with pytest.raises(ConfigError, match=f"^{word.partition('=')[0]}: is for a sweep: add -m, or sweep=...$"):
        compose_jobs("train")


def test_one_job_is_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["seq2seq-train", "optimizer.lr=1"])
    assert isinstance(compose_jobs("train"), Job)


@pytest.mark.parametrize(
    ("typed", "dimension"),
    [
        ("model=lstm,gru", Dimension("model", choices=("lstm", "gru"))),
        ("++a.b=choice(1,x)", Dimension("++a.b", choices=("1", "x"))),
        ("++lr=interval(1e-4,0.1)", Dimension("++lr", low=1e-4, high=0.1)),
        ("++lr=tag(log,interval(1e-4,0.1))", Dimension("++lr", low=1e-4, high=0.1, logarithmic=True)),
        ("++n=int(interval(2,9))", Dimension("++n", low=2, high=9, whole=True)),
        ("++n=range(1,8,2)", Dimension("++n", low=1, high=7, step=2, whole=True)),
        ("++d=range(0.25,1,0.25)", Dimension("++d", low=0.25, high=0.75, step=0.25)),
    ],
)
def test_what_a_search_may_try(typed: str, dimension: Dimension) -> None:
    found = _dimension(OverridesParser.create().parse_overrides([typed])[0])
    assert found == dimension


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("++lr=interval(0.1,0.001)", "lr: should go from a smaller to a larger number"),
        (
            "++lr=tag(log,interval(0,0.1))",
            "lr: should go from a smaller to a larger number, both above 0, to be logarithmic",
        ),
        ("++n=range(1,2)", "n: the range has fewer than two values"),
        ("++n=tag(log,range(1,9))", "n: steps have no logarithmic scale: tag(log,interval(...)) has"),
    ],
)
def test_what_a_search_cannot_try(typed: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _dimension(OverridesParser.create().parse_overrides([typed])[0])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "optimizer.lr=interval(1e-3,1e-2)"],
            "optimizer.lr: a range without steps is for hydra/sweeper=optuna; otherwise list the values",
        ),
        (
            ["-m", "model=glob(lstm_x*)", "trainer.max_steps=range(1,1)", "trainer.seed=1,2"],
            "model: nothing to try: what is typed has no value\n"
            "trainer.max_steps: nothing to try: what is typed has no value",
        ),
        (["-m", "hydra/launcher=joblip"], "hydra/launcher: no choice 'joblip'; did you mean 'joblib'?"),
        (["sweep=learningrate"], "sweep: no choice 'learningrate'; did you mean 'learning_rate'?"),
    ],
)
def test_what_is_refused(compose: Compose, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(*arguments).grid()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs: should be greater than 0, but is 0",
        ),
        (
            ["hydra/launcher=ray", "hydra.launcher.num_cpu=2"],
            "hydra.launcher.num_cpu: unknown key; did you mean 'num_cpus'?",
        ),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.prune=medium"],
            "hydra.sweeper.prune: should be one of median, hyperband, none, but is 'medium'; did you mean 'median'?",
        ),
        (
            ["hydra.launcher.partition=gpu", "hydra.launcher.nonsense=3", "hydra.sweeper.n_trials=1"],
            "hydra.launcher.partition: has no effect without a launcher: choose one, as hydra/launcher=joblib or "
            "hydra/launcher=submitit_slurm\n"
            "hydra.launcher.nonsense: has no effect without a launcher: choose one, as hydra/launcher=joblib or "
            "hydra/launcher=submitit_slurm\n"
            "hydra.sweeper.n_trials: has no effect without a sweeper: choose hydra/sweeper=optuna",
        ),
        (
            ["hydra/launcher=joblib", "hydra.sweeper.max_batch_size=3"],
            "hydra.sweeper.max_batch_size: has no effect without a sweeper: choose hydra/sweeper=optuna",
        ),
    ],
)
def test_options_of_launchers_and_sweepers(compose: Compose, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parts(compose("-m", *arguments))
    assert str(caught.value) == message


class Fake(Launcher):
    """Ends the jobs at once, or two at a time, with the next of the given outcomes."""

    def __init__(self, *outcomes: Outcome, at_a_time: int = 1) -> None:
        self.outcomes = list(outcomes)
        self.at_a_time = at_a_time
        self.trees: list[dict[str, Any]] = []

    def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
        waiting: list[Task] = []
        for task in tasks:
            self.trees.append(json.loads(task.file.read_bytes())["tree"])
            task.output.write_text("one\nseq2seq-train: it is broken\n", encoding="utf-8")
            waiting.append(task)
            if len(waiting) == self.at_a_time:
                self._end(waiting, done)
        self._end(waiting, done)

    def _end(self, waiting: list[Task], done: Callable[[Task, Outcome], None]) -> None:
        while waiting:
            tree, outcome = self.trees[-len(waiting)], self.outcomes.pop(0)
            if outcome.status == 0:
                run = RunDir(Path(tree["run"]))
                run.path.mkdir(parents=True, exist_ok=True)
                end = {"limit": "x", "pruned": False, "seconds": 61, "metric": "bleu", "metrics": {"bleu": 3.0}}
                run.store_end(end)
            done(waiting.pop(0), outcome)


@pytest.fixture
def swept(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    """The status and the lines of a sweep by a launcher."""

    def run(launcher: Launcher | None, *arguments: str, search: Optuna | None = None) -> tuple[int, list[str]]:
        monkeypatch.setattr(module, "_parts", lambda sweep: (launcher, search))
        status = run_sweep(compose("-m", "trainer.device=cpu", *arguments), ["seq2seq-train"])
        return status, capsys.readouterr().err.splitlines()

    return run


GOOD, KILLED, BAD = Outcome(0), Outcome(137), Outcome(3)


def test_a_job_that_is_killed_does_not_stop_the_others(swept: Callable[..., tuple[int, list[str]]]) -> None:
    status, lines = swept(Fake(GOOD, KILLED, BAD, GOOD), "trainer.seed=1,2,3,4", "run=x")
    assert status == 137
    assert lines == [
        "seq2seq-train: 4 jobs in x, by test_sweep",
        "[0/4] begun  trainer.seed=1",
        "[1/4] done  0:01:01  bleu 3  trainer.seed=1",
        "[1/4] begun  trainer.seed=2",
        "[2/4] failed  trainer.seed=2",
        "  seq2seq-train: it is broken",
        "  was killed by SIGKILL: was memory not enough?",
        lines[7],
        "[2/4] begun  trainer.seed=3",
        "[3/4] failed  trainer.seed=3",
        "  seq2seq-train: it is broken",
        lines[11],
        "[3/4] begun  trainer.seed=4",
        "[4/4] done  0:01:01  bleu 3  trainer.seed=4",
        "seq2seq-train: 2 done, 2 failed; the same command goes on with what is not finished",
        "  to compare them: seq2seq-evaluate 'run=x/*' split=validation",
    ]
    outputs = {f"  all that it told: {file}" for file in Path("x/.sweep").glob("*/jobs/*.txt")}
    assert {lines[7], lines[11]} == outputs


def test_a_fault_of_our_own_ends_one_job_alone(
    swept: Callable[..., tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(job: Mapping[str, Any], again: list[str]) -> None:
        match job["tree"]["trainer"]["seed"]:
            case 1:
                raise AssertionError("a riddle")
            case 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            case 3:
                raise MemoryError

    monkeypatch.setattr("seq2seq.cli.job.do_job", work)
    status, lines = swept(None, "trainer.seed=1,2,3,4", "run=x")
    assert status == 1
    assert [line for line in lines if "Traceback" in line or line == "AssertionError: a riddle"] == [
        "Traceback (most recent call last):",
        "AssertionError: a riddle",
    ]
    assert lines.count("seq2seq-train: out of memory: lower max_tokens (of training: trainer.max_tokens)") == 2
    told = "seq2seq-train: 1 done, 3 failed; the same command goes on with what is not finished"
    assert lines[-2] == told


def test_a_stopped_sweep_begins_nothing_more(swept: Callable[..., tuple[int, list[str]]]) -> None:
    class Stopped(Fake):
        def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
            waiting = iter(tasks)
            task = next(waiting)
            signal.raise_signal(signal.SIGTERM)
            assert task.stop.exists()
            done(task, Outcome(143, stopped=True))
            assert list(waiting) == []

    status, lines = swept(Stopped(), "trainer.seed=1,2,3", "run=x")
    assert status == 143
    told = "seq2seq-train: 1 stopped, 2 not begun; the same command goes on with what is not finished"
    assert lines[-2:] == ["[0/3] stopped  trainer.seed=1", told]
    assert not list(Path("x/.sweep").glob("*/stop*"))


def test_jobs_that_are_stopped_without_a_signal_are_no_success(swept: Callable[..., tuple[int, list[str]]]) -> None:
    """As where a machine of the cluster is shut down."""
    status, lines = swept(Fake(GOOD, Outcome(143, stopped=True)), "trainer.seed=1,2", "run=x")
    assert status == 1
    assert "seq2seq-train: 1 done, 1 stopped; the same command goes on with what is not finished" in lines


class Ended(Launcher):
    """Gives jobs away, and is ended itself."""

    def __init__(self, how: BaseException) -> None:
        self.how = how
        self.stops: list[Path] = []

    def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
        self.stops.append(next(iter(tasks)).stop)
        raise self.how


@pytest.mark.parametrize("how", [LauncherError("the queue is full"), SystemExit(137)])
def test_jobs_that_live_on_are_stopped_by_the_next_start(
    swept: Callable[..., tuple[int, list[str]]], capsys: pytest.CaptureFixture[str], how: BaseException
) -> None:
    """At once where the launcher itself sees its end. No later start takes the request away, or hears it."""
    first = Ended(how)
    with pytest.raises(type(how)):
        swept(first, "trainer.seed=1,2", "run=x")
    (stop,) = first.stops
    assert stop.exists() == isinstance(how, LauncherError)
    told = "seq2seq-train: jobs of an earlier start that are still at work save and end first"
    assert told not in capsys.readouterr().err

    class Next(Fake):
        def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
            for task in tasks:
                assert (stop.exists(), task.stop.exists()) == (True, False)
                self.trees.append({"run": json.loads(task.file.read_bytes())["tree"]["run"]})
                self._end([task], done)

    assert swept(Next(GOOD, GOOD), "trainer.seed=1,2", "run=x")[1][0] == told
    assert stop.exists()
    assert told not in swept(Fake(GOOD, GOOD), "trainer.seed=1,2", "run=x")[1]


def test_a_search_that_cannot_go_on_lets_its_jobs_save(swept: Callable[..., tuple[int, list[str]]]) -> None:
    """Threads of a launcher would lose the fault, or wait for ever."""
    seen: list[bool] = []

    class Parallel(Fake):
        def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
            waiting = iter(tasks)
            first, second = next(waiting), next(waiting)
            done(first, Outcome(0))
            seen.append(second.stop.exists())
            done(second, Outcome(143, stopped=True))
            assert list(waiting) == []

    def broken(study: Study, number: int, end: object) -> None:
        raise ConfigError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "tell", broken)
        with pytest.raises(ConfigError, match="the disk is full"):
            swept(Parallel(), "trainer.seed=int(interval(1,999))", "run=x", search=Optuna(n_trials=5))
    assert seen == [True]
    assert not list(Path("x/.sweep").glob("*/stop*"))


def test_a_search_whose_trials_have_the_same_values(swept: Callable[..., tuple[int, list[str]]]) -> None:
    """They share a run, whether it is at work or over."""
    fake = Fake(*[GOOD] * 8, at_a_time=2)
    status, lines = swept(fake, "trainer.seed=1,2,3", "run=x", search=Optuna(n_trials=8, prune="none"))
    assert status == 0
    assert lines[-3].startswith("seq2seq-train: best: trainer.seed=")
    assert len({tree["run"] for tree in fake.trees}) <= 3
    (name,) = optuna.get_all_study_names("sqlite:///x/optuna.db")
    trials = optuna.load_study(study_name=name, storage="sqlite:///x/optuna.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 8


def test_a_search_of_whole_numbers_among_others(swept: Callable[..., tuple[int, list[str]]]) -> None:
    with pytest.raises(ConfigError) as caught:
        swept(Fake(), "model.encoder.num_layers=interval(1,4)", "run=x", search=Optuna(n_trials=8))
    told = (
        "model.encoder.num_layers: should be a whole number, but is 2.146; int(interval(...)) has whole numbers alone"
    )
    assert str(caught.value) == told


def test_a_search_without_validation_data(swept: Callable[..., tuple[int, list[str]]]) -> None:
    """Nothing is trained for scores that no run would have; other goals need none."""
    for language in ("en", "de"):
        Path(f"corpus.{language}").write_text("a b\n" * 9, encoding="utf-8")
    data = ["data=text_files", "data.train=corpus", "data.source=en", "data.target=de", "trainer.seed=1,2", "run=x"]
    with pytest.raises(ConfigError) as caught:
        swept(Fake(), *data, search=Optuna(n_trials=1))
    told = "data.validation: is missing; the search looks for the best bleu, which is measured on it"
    assert str(caught.value) == told
    assert swept(Fake(BAD), *data, search=Optuna(n_trials=1, objectives=["seconds"]))[0] == 3


def test_a_search_among_files_that_are_not_there(compose: Compose) -> None:
    (override,) = compose("-m", "model=glob(lstm_x*)", "hydra/sweeper=optuna").space
    with pytest.raises(ConfigError, match=r"^model: nothing to try: what is typed has no value$"):
        _dimension(override)


def test_the_same_job_twice(compose: Compose) -> None:
    assert len(compose("-m", "trainer.seed=1,2,1").grid()) == 2
    with pytest.raises(ConfigError, match=r"^run: two jobs of the sweep would be runs/data\.train=_a: their"):
        compose("-m", "data.train='#a','!a'").grid()
