"""Sweeps, and what the flags print."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2seq import __version__

Command = Callable[..., Any]


def test_a_sweep(command: Command, tiny: tuple[str, ...]) -> None:
    """Each job has a run of its own, named after what differs; one that fails does not stop the others."""
    Path("sweep").mkdir()
    given = [*tiny, "trainer.max_steps=1", "run=sweep", "optimizer.lr=1e-2,1e45,0.02"]
    told = command("seq2seq-train", "-m", *given)
    assert (told.status, told.out) == (1, "")  # of the one whose weights are no longer numbers
    assert os.listdir() == ["sweep"]
    jobs = sorted(path.name for path in Path("sweep").iterdir())
    lrs = ["optimizer.lr=0.01", "optimizer.lr=0.02", "optimizer.lr=1e+45"]
    assert [job.rpartition("-")[0] for job in jobs] == lrs
    for job, lr in zip(jobs[:2], [0.01, 0.02], strict=True):
        config = yaml.safe_load(Path("sweep", job, "config.yaml").read_text(encoding="utf-8"))
        assert config["optimizer"]["lr"] == lr
        assert f"\nseq2seq-train: run=sweep/{job}\n" in "\n" + told.err
        assert f"  seq2seq-translate run=sweep/{job} input=FILE output=FILE\n" in told.err
    assert "seq2seq-train: the validation loss is not finite at step 1" in told.err

    # The line to type next works as it stands.
    Path("in.txt").write_text("one\n", encoding="utf-8")
    told = command("seq2seq-translate", f"run=sweep/{jobs[0]}", "input=in.txt", "output=\u00fcbersetzt.txt")
    assert (told.status, told.out) == (0, "")
    assert told.err.startswith("backend: torch (")  # an LSTM
    assert Path("\u00fcbersetzt.txt").read_text(encoding="utf-8").count("\n") == 1


def test_a_sweep_with_mistakes_does_not_start(command: Command) -> None:
    given = ["model=lstm_tiny,transformer_tiny", "optimizer.lr=1e-3,-1", "model.encoder.d_model=64", "data.seed=2"]
    told = command("seq2seq-train", "-m", *given)
    assert (told.status, told.out) == (2, "")
    assert told.err == (
        "seq2seq-train: 3 of the sweep's 4 jobs cannot be done, so none was begun\n"
        "  model=lstm_tiny optimizer.lr=-1\n"
        "  model=transformer_tiny optimizer.lr=-1\n"
        "    optimizer.lr: should be greater than 0, but is -1\n"
        "  model=transformer_tiny optimizer.lr=0.001\n"
        "    model: tie_embeddings=all needs source and target embeddings of one width (embedding_dim, or else "
        "d_model), not 64 and 128: set tie_embeddings=target\n"
    )
    assert os.listdir() == []


def test_a_mistake_of_all_jobs_of_a_sweep_is_told_once(command: Command) -> None:
    """Flags may stand between the overrides."""
    told = command("seq2seq-train", "model=lstm_tiny,transformer_tiny", "-m", "trainer.max_steps=no")
    assert (told.status, told.out) == (2, "")
    assert told.err == "seq2seq-train: trainer.max_steps: should be a whole number, but is 'no'\n"
    told = command("seq2seq-train", "-m", "model=lstm_tiny,transformer_tiny", "optimizer.lr=${nothing}")
    assert (told.status, told.out) == (2, "")
    assert told.err == "seq2seq-train: optimizer.lr: Interpolation key 'nothing' not found\n"
    assert os.listdir() == []


def test_a_sweep_of_another_command(command: Command, run: Path) -> None:
    told = command("seq2seq-evaluate", "-m", "run=run", "checkpoint=last,step_00000002", "split=tset,test")
    assert (told.status, told.out) == (2, "")
    assert told.err == (
        "seq2seq-evaluate: 2 of the sweep's 4 jobs cannot be done, so none was begun\n"
        "  checkpoint=last split=tset\n"
        "  checkpoint=step_00000002 split=tset\n"
        "    split: should be one of train, validation, test, but is 'tset'; did you mean 'test'?\n"
    )
    told = command("seq2seq-evaluate", "-m", "run=run", "checkpoint=last,step_00000002")
    assert told.status == 0
    assert told.out.count("test: 20 sentences, checkpoint") == 2
    assert told.err.startswith("seq2seq-evaluate: checkpoint=last\n")
    assert os.listdir() == ["run"]
    assert sorted(os.listdir("run/evaluation")) == ["test-last", "test-step_00000002"]


def test_each_evaluation_has_a_folder_of_its_own(command: Command, run: Path) -> None:
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "text.en").write_text(f"a house {folder}\n", encoding="utf-8")
        Path(folder, "text.de").write_text(f"ein Haus {folder}\n", encoding="utf-8")
    for name in ("one", "two", "one"):
        assert command("seq2seq-evaluate", "run=run", f"source={name}/text.en", f"target={name}/text.de").status == 0
    for given in ([], ["checkpoint=average"], ["checkpoint=run/checkpoints/step_00000002"]):
        assert command("seq2seq-evaluate", "run=run", *given).status == 0
    found = {
        folder.name: json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        for folder in (run / "evaluation").iterdir()
    }
    assert {name: (scores["checkpoint"], scores["files"]) for name, scores in found.items()} == {
        "test": ("best", []),
        "test-average": ("average", []),
        "test-step_00000002": ("run/checkpoints/step_00000002", []),
        "text.en-text.de": ("best", [str(Path("one", file).absolute()) for file in ("text.en", "text.de")]),
        "text.en-text.de-2": ("best", [str(Path("two", file).absolute()) for file in ("text.en", "text.de")]),
    }


def test_a_sweep_with_a_wrong_choice_does_not_start(command: Command) -> None:
    told = command("seq2seq-train", "-m", "model=lstm_tiny,lstmm")
    assert (told.status, told.err) == (2, "seq2seq-train: model: no choice 'lstmm'; did you mean 'lstm'?\n")
    assert os.listdir() == []


def test_the_run_alone_continues_it(command: Command, run: Path) -> None:
    before = (run / "config.yaml").read_text(encoding="utf-8")
    told = command("seq2seq-train", "run=run")
    assert (told.status, told.out) == (0, "")
    assert told.err.startswith("run=run: what is not typed is as in its config.yaml\n")
    assert "already done: trainer.max_steps is reached; a larger one continues this run\n" in told.err
    assert (run / "config.yaml").read_text(encoding="utf-8") == before
    told = command("seq2seq-train", "trainer.max_steps=5", "run=run")
    assert told.status == 0
    assert "continuing at step 4\n" in told.err
    after = (run / "config.yaml").read_text(encoding="utf-8")
    assert after == before.replace("max_steps: 4\n", "max_steps: 5\n")


def test_without_a_checkpoint_the_run_alone_begins_anew(command: Command, run: Path, tiny: tuple[str, ...]) -> None:
    """Whatever was wrong with the first start is forgotten."""
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "tokenizer")
    given = [value for value in tiny if value.startswith(("trainer", "data", "tokenizer"))]
    assert command("seq2seq-train", *given, "run=run").status == 0
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert config["model"]["encoder"]["name"] == "transformer"


def test_an_experiment_takes_a_model_without_one_of_its_parts(command: Command) -> None:
    for language in ("en", "de"):
        Path(f"text.{language}").write_text("one two\nthree\n" * 9, encoding="utf-8")
    given = ["experiment=multi30k", "model=decoder_only_tiny", "data.train=text", "tokenizer=characters", "run=run"]
    told = command("seq2seq-train", *given, "model.encoder.dropout=0.1")
    assert (told.status, told.err) == (2, "seq2seq-train: model.encoder: unknown key; did you mean 'decoder'?\n")
    told = command("seq2seq-train", *given, "trainer.max_steps=2", "schedule.warmup=1", "model.decoder.d_model=24")
    assert told.status == 0
    assert told.err.startswith(
        "experiment=multi30k: without its model.encoder, which model=decoder_only_tiny does not have\n"
    )
    model = yaml.safe_load(Path("run", "config.yaml").read_text(encoding="utf-8"))["model"]
    assert (set(model), model["decoder"]["dropout"]) == ({"name", "decoder", "tie_embeddings", "loss_on"}, 0.2)


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
