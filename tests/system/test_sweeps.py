"""Sweeps whose jobs are done by launchers, and searches; killed, and continued."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

Command = Callable[..., Any]


def ends(folder: str) -> dict[str, dict[str, Any]]:
    """What ended.json of each run holds, by the run's name up to a hash."""
    return {
        file.parent.name.rpartition("-")[0]: json.loads(file.read_bytes()) for file in Path(folder).glob("*/ended.json")
    }


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_joblib(command: Command, tiny: tuple[str, ...]) -> None:
    """Jobs side by side; one that cannot be done is told, and only it is tried again."""
    given = [*tiny, "trainer.seed=1,2", "optimizer.lr=1e-2,1e45", "trainer.max_steps=2", "run=sweep"]
    given += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    told = command("seq2seq-train", "-m", *given)
    assert (told.status, told.out) == (1, "")
    first, *lines = told.err.splitlines()
    assert first == "seq2seq-train: 4 jobs in sweep, 2 at a time, by joblib"
    heads = [line.partition("] ")[2].split("  ") for line in lines if line.startswith("[") and "] begun" not in line]
    assert sorted((head[0], head[-1]) for head in heads) == [
        ("done", "optimizer.lr=0.01 trainer.seed=1"),
        ("done", "optimizer.lr=0.01 trainer.seed=2"),
        ("failed", "optimizer.lr=1e+45 trainer.seed=1"),
        ("failed", "optimizer.lr=1e+45 trainer.seed=2"),
    ]
    assert all(re.fullmatch(r"\d:\d\d:\d\d  bleu [\d.]+", "  ".join(head[1:-1])) for head in heads if head[0] == "done")
    assert "  seq2seq-train: the loss is not finite at step 2; nothing was saved yet" in lines
    assert lines[-2:] == [
        "seq2seq-train: 2 done, 2 failed; the same command goes on with what is not finished",
        "  to compare them: seq2seq-evaluate 'run=sweep/*' split=validation",
    ]
    outputs = list(Path("sweep/.sweep").glob("*/jobs/*.txt"))
    assert [f"  all that it told: {output}" in lines for output in outputs] == [True, True]
    assert {name: (end["limit"], end["step"], end["pruned"]) for name, end in ends("sweep").items()} == {
        f"optimizer.lr=0.01,trainer.seed={seed}": ("trainer.max_steps", 2, False) for seed in (1, 2)
    }
    told = command("seq2seq-train", "-m", *given)
    assert told.status == 1
    assert told.err.count("] finished before  ") == 2
    assert "seq2seq-train: 2 finished before, 2 failed; " in told.err


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_no_place_for_the_runs(command: Command, tiny: tuple[str, ...], trained: Path, launcher: str) -> None:
    Path("notes").touch()
    for folder, told in ((Path("notes"), "is no folder"), (trained, "is a run")):
        given = [*tiny, "trainer.seed=1,2", f"run={folder}", f"hydra/launcher={launcher}"]
        found = command("seq2seq-train", "-m", *given)
        assert (found.status, found.out) == (4, "")
        assert re.fullmatch(rf"seq2seq-train: {folder}: {told}; run=\.\.\. names .+\n", found.err)


@pytest.mark.parametrize("launcher", ["submitit_local", pytest.param("ray", marks=pytest.mark.slow)])
def test_other_launchers(tmp_path: Path, tiny: tuple[str, ...], launcher: str) -> None:
    """In a process of its own: submitit and Ray keep the streams that they find, here those of another test."""
    given = ["-m", *tiny, "trainer.seed=1,2", "trainer.max_steps=2", "run=sweep", f"hydra/launcher={launcher}"]
    program = f"import sys; sys.argv = {['seq2seq-train', *given]!r}; from seq2seq.cli.train import main; main()"
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stderr.splitlines()[-2] == "seq2seq-train: 2 done"
    assert sorted(end["step"] for end in ends(str(tmp_path / "sweep")).values()) == [2, 2]


def test_a_cluster_that_is_not_there(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    given = ["-m", *tiny, "trainer.seed=1,2", "run=sweep", "hydra/launcher=submitit_slurm"]
    program = f"import sys; sys.argv = {['seq2seq-train', *given]!r}; from seq2seq.cli.train import main; main()"
    nothing = {**os.environ, "PATH": "/nonexistent"}
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=nothing, capture_output=True, text=True, check=False
    )
    assert (told.returncode, "Traceback" in told.stderr) == (2, False), told.stderr
    assert told.stderr.splitlines()[-1].startswith("seq2seq-train: hydra/launcher: submitit cannot submit (")


def test_a_search_that_is_killed_goes_on(command: Command, tiny: tuple[str, ...]) -> None:
    given = [*tiny, "optimizer.lr=tag(log,interval(1e-4,1e-1))", "trainer.max_steps=4", "run=search"]
    given += ["-m", "hydra/sweeper=optuna", "hydra.sweeper.startup_trials=1", "hydra.sweeper.n_trials=3"]
    program = (
        f"import sys; sys.argv = {['seq2seq-train', *given, 'hydra/launcher=joblib', 'hydra.launcher.n_jobs=1']!r}"
    )
    program += "; from seq2seq.cli.train import main; main()"
    killed = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        while not list(Path().glob("search/*/checkpoints/step_*")):  # the first of three trials is at work
            assert killed.poll() is None
            time.sleep(0.05)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    told = command("seq2seq-train", *given)
    assert told.status == 0, told.err
    assert told.err.splitlines()[-3].startswith("seq2seq-train: best: optimizer.lr=")
    (name,) = optuna.get_all_study_names("sqlite:///search/optuna.db")
    trials = optuna.load_study(study_name=name, storage="sqlite:///search/optuna.db").trials
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    found = ends("search")
    assert len(found) == 3
    for trial in trials:
        rate = f"optimizer.lr={trial.params['++optimizer.lr']:.4g}"
        assert found[rate]["pruned"] == (trial.state.name == "PRUNED")
        if not found[rate]["pruned"]:
            assert trial.values == [found[rate]["metrics"]["bleu"]]


def test_a_stopped_sweep_saves_and_goes_on(command: Command, tiny: tuple[str, ...]) -> None:
    """A signal to the command reaches the jobs, which end with checkpoints."""
    given = ["-m", *tiny, "trainer.seed=1,2", "trainer.max_steps=100000", "run=sweep"]
    given += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    program = f"import sys; sys.argv = {['seq2seq-train', *given]!r}; from seq2seq.cli.train import main; main()"
    stopped = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    while len(list(Path().glob("sweep/*/metrics.jsonl"))) < 2:
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    _, told = stopped.communicate()
    assert stopped.returncode == 130
    assert told.splitlines()[-1] == "seq2seq-train: 2 stopped; the same command goes on with what is not finished"
    assert len(list(Path().glob("sweep/*/checkpoints/last"))) == 2
    assert [sorted(os.listdir(folder)) for folder in Path("sweep/.sweep").iterdir()] == [["jobs", "lock"]]


@pytest.mark.slow
def test_a_job_on_several_devices(command: Command, tiny: tuple[str, ...]) -> None:
    """The ranks of a job do that job alone."""
    given = [*tiny, "trainer.seed=1,2", "trainer.devices=2", "trainer.max_steps=2", "run=sweep"]
    told = command("seq2seq-train", "-m", *given)
    assert told.status == 0, told.err
    assert sorted(end["step"] for end in ends("sweep").values()) == [2, 2]
    assert list(Path("sweep/.sweep").glob("*/jobs/*")) == []
    log = next(Path("sweep").glob("*seed=1*/train.log")).read_text(encoding="utf-8")
    assert "2 ranks (ddp)" in log
    assert "already done" not in log
