"""Sweeps, and what the flags print."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2seq import __version__

Command = Callable[..., Any]


def test_a_sweep(command: Command, tiny: tuple[str, ...]) -> None:
    """Each job has a run of its own, named after what differs; one that fails does not stop the others."""
    told = command("seq2seq-train", "-m", *tiny, "trainer.max_steps=1", "run=sweep", "optimizer.lr=1e-2,-1,0.02")
    assert (told.status, told.out) == (2, "")
    jobs = sorted(path.name for path in Path("sweep").iterdir())
    assert [job.rpartition("-")[0] for job in jobs] == ["optimizer.lr=0.01", "optimizer.lr=0.02"]
    for job, lr in zip(jobs, [0.01, 0.02], strict=True):
        config = yaml.safe_load(Path("sweep", job, "config.yaml").read_text(encoding="utf-8"))
        assert config["optimizer"]["lr"] == lr
        assert f"\nseq2seq-train: run=sweep/{job}\n" in "\n" + told.err
        assert f"  seq2seq-translate run=sweep/{job} input=FILE output=FILE\n" in told.err
    assert "seq2seq-train: optimizer.lr: should be greater than 0, but is -1\n" in told.err

    # The line to type next works as it stands.
    Path("in.txt").write_text("one\n", encoding="utf-8")
    told = command("seq2seq-translate", f"run=sweep/{jobs[0]}", "input=in.txt", "output=\u00fcbersetzt.txt")
    assert (told.status, told.out) == (0, "")
    assert told.err.startswith("backend: torch (")  # an LSTM
    assert Path("\u00fcbersetzt.txt").read_text(encoding="utf-8").count("\n") == 1


def test_the_names_of_a_sweep(command: Command) -> None:
    """As long as that is short, all overrides are in it. Flags may stand between them."""
    told = command("seq2seq-train", "data.train=7", "model=lstm_tiny,transformer_tiny", "-m", "trainer.max_steps=no")
    assert told.status == 2
    assert told.err == (
        "seq2seq-train: run=runs/data.train=7,model=lstm_tiny,trainer.max_steps=no\n"
        "seq2seq-train: trainer.max_steps: should be a whole number, but is 'no'\n"
        "seq2seq-train: run=runs/data.train=7,model=transformer_tiny,trainer.max_steps=no\n"
        "seq2seq-train: trainer.max_steps: should be a whole number, but is 'no'\n"
    )


def test_a_sweep_with_a_wrong_choice_does_not_start(command: Command) -> None:
    told = command("seq2seq-train", "-m", "model=lstm_tiny,lstmm")
    assert (told.status, told.err) == (2, "seq2seq-train: model: no choice 'lstmm'; did you mean 'lstm'?\n")
    assert os.listdir() == []


def test_the_run_is_named_after_model_and_data(command: Command, tiny: tuple[str, ...]) -> None:
    assert command("seq2seq-train", *tiny, "trainer.max_steps=1").status == 0
    assert os.listdir("runs") == ["lstm_tiny-demo"]


@pytest.mark.parametrize("name", ["seq2seq-train", "seq2seq-evaluate", "seq2seq-translate", "seq2seq-export"])
def test_help_and_version(command: Command, name: str) -> None:
    for flag in ("--help", "-h"):
        told = command(name, flag, "no=matter")
        assert (told.status, told.err) == (0, "")
        assert told.out.startswith(f"{name}: ")
        assert all(len(line) <= 80 for line in told.out.splitlines())
    told = command(name, "--version")
    assert (told.status, told.out, told.err) == (0, f"seq2seq {__version__}\n", "")


def test_the_config_can_be_looked_at(command: Command) -> None:
    told = command("seq2seq-train", "--cfg", "job", "optimizer.lr=0.5", "model=lstm", "trainer.max_steps=7")
    assert (told.status, told.err) == (0, "")
    shown = yaml.safe_load(told.out)
    assert (shown["optimizer"]["lr"], shown["model"]["encoder"]["name"]) == (0.5, "lstm")
    assert "hydra" not in shown
    told = command("seq2seq-train", "--cfg", "job", "-p", "trainer", "trainer.max_steps=7")
    assert (told.status, told.err) == (0, "")
    assert yaml.safe_load(told.out)["max_steps"] == 7
    told = command("seq2seq-train", "--info", "defaults")
    assert (told.status, told.err) == (0, "")
    assert "transformer_tiny" in told.out
    assert os.listdir() == []
