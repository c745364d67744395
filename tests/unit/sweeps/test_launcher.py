"""What is done with one job, wherever it is."""

import itertools
import os
import sys
from pathlib import Path

import pytest

from seq2seq.sweeps.launcher import Outcome, Task, Work


def task(folder: Path) -> Task:
    return Task("x", folder / "x.json", folder / "x.txt", folder / "stop", folder)


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of Python's, so that a job is what it says."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho begun\nsleep 0.5\nexit 3\n", encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    return program


@pytest.mark.parametrize(("in_worker", "outcome"), [(False, Outcome(3)), (True, Outcome(143, stopped=True))])
def test_a_shell_may_go_but_not_the_parent_of_a_worker(
    tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch, in_worker: bool, outcome: Outcome
) -> None:
    monkeypatch.setattr(os, "getppid", itertools.count(5).__next__)
    assert Work(in_worker=in_worker)(task(tmp_path)) == outcome


def test_a_job_that_is_stopped_in_the_queue_does_not_begin(tmp_path: Path, python: Path) -> None:
    given = task(tmp_path)
    given.stop.touch()
    assert Work(in_worker=True)(given) == Outcome(143, stopped=True)
    assert not given.output.exists()
