"""Test sets by name in the commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.dataset import DATASETS

from seq2seq.data import named_sets

Command = Callable[..., Any]

SIDES = {"src": ["the house", "the red house"], "ref": ["das Haus", "das rote Haus"]}
SMALL = (
    "model=lstm_tiny", "model.encoder.d_model=12", "model.decoder.d_model=12", "tokenizer=characters",
    "trainer.max_steps=2", "trainer.validate_every=1", "trainer.device=cpu", "data=text_files", "data.source=en",
    "data.target=de", "data.train=corpus",
)  # fmt: skip


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Path:
    """A folder such as sacrebleu makes, and a corpus in the working directory."""
    for name in ("wmt14/full", "wmt13"):
        folder = tmp_path / "sets" / name
        folder.mkdir(parents=True)
        for field in DATASETS[name].fieldnames("en-de"):
            text = "".join(f"{line}\n" for line in SIDES.get(field, ["", ""]))
            (folder / f"{name.replace('/', '_')}.en-de.{field}").write_text(text)
        monkeypatch.setattr(DATASETS[name], "_outdir", str(folder))
        monkeypatch.setattr(DATASETS[name], "_rawdir", str(folder / "raw"))
    named_sets._fetched.cache_clear()
    for language, line in (("en", "a green tree"), ("de", "ein gruener Baum")):
        Path(f"corpus.{language}").write_text(f"{line}\n" * 9)
    return tmp_path / "sets"


def test_training_evaluation_and_translation(command: Command, sets: Path) -> None:
    told = command("seq2seq-train", *SMALL, "data.validation=sacrebleu:wmt13", "run=run")
    assert told.status == 0, told.err
    assert "seq2seq-evaluate" not in told.err  # without a test set yet

    done = subprocess.run(
        [sys.executable, "-m", "seq2seq.cli.evaluate", "run=run", "split=test", "data.test=sacrebleu:wmt14/full"],
        env={**os.environ, "SACREBLEU": str(sets), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test: 2 sentences")
    assert json.loads(Path("run/evaluation/test/scores.json").read_text())["sentences"] == 2

    told = command(
        "seq2seq-translate", "run=run", "split=test", "data.test=[sacrebleu:wmt14/full,sacrebleu:wmt13]", "copy=copy"
    )
    assert told.status == 0, told.err
    assert Path("copy").read_text().splitlines() == SIDES["src"] * 2
    assert told.out.count("\n") == 4

    told = command("seq2seq-train", *SMALL, "data.validation=sacrebleu:wmt13", "data.test=sacrebleu:wmt13", "run=run")
    assert told.status == 0, told.err
    assert "seq2seq-evaluate run=run split=test" in told.err


def test_what_is_wrong_is_told_in_a_line(command: Command, sets: Path) -> None:
    told = command("seq2seq-train", *SMALL, "data.test=sacrebleu:wmt14/ful", "run=run")
    assert (told.status, told.out) == (2, "")
    assert told.err == (
        "seq2seq-train: data.test: sacrebleu knows no test set 'wmt14/ful'; did you mean 'wmt14/full'?\n"
    )
    told = command("seq2seq-train", *SMALL, "data.source=jam", "data.source_suffix=en", "run=run",
                   "data.test=sacrebleu:wmt13")  # fmt: skip
    assert told.status == 2
    assert "data.test: sacrebleu's wmt13 is not of jam-de, but of cs-en, de-en, en-cs, en-de, " in told.err
    assert not Path("run").exists()
