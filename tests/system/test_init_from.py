"""A run that begins with the tokenizer and the weights of another."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

COMMAND = [
    str(Path(sys.executable).parent / "seq2seq-train"),
    *["debug=quick", "data.train=60", "data.validation=4", "data.test=2", "tokenizer.vocab_size=400"],
    *["trainer.device=cpu", "trainer.num_threads=1", "trainer.max_steps=2", "trainer.validate_every=2", "cache=cache"],
]


def train(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, cwd=folder)


def weights(run: Path) -> dict[str, np.ndarray]:
    (best,) = run.glob("checkpoints/step_00000002/model.safetensors")
    return dict(load_file(best))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    done = train(folder, "run=first")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_second_run_begins_where_the_first_has_ended(first: Path) -> None:
    """With a learning rate of next to nothing the weights stay, on other data, of which it would make other pieces."""
    done = train(first, "run=second", "init_from=first", "optimizer.lr=1e-30", "data.train=90")
    assert done.returncode == 0, done.stderr
    assert "weights: those of first/checkpoints/step_00000002" in done.stderr
    assert "new:" not in done.stderr
    before, after = weights(first / "first"), weights(first / "second")
    assert before.keys() == after.keys()
    assert all(np.allclose(before[name], after[name], rtol=0, atol=1e-20) for name in before)
    tokenizer = Path("tokenizer") / "shared" / "tokenizer.model"
    assert (first / "first" / tokenizer).read_bytes() == (first / "second" / tokenizer).read_bytes()
    again = train(first, "run=second", "init_from=first", "optimizer.lr=1e-30", "data.train=90", "trainer.max_steps=3")
    assert "continuing at step 2" in again.stderr
    assert "weights: those of" not in again.stderr


def test_what_does_not_fit_is_told(first: Path) -> None:
    done = train(first, "run=deeper", "init_from=first", "model.decoder.num_layers=5")
    assert done.returncode == 0, done.stderr
    assert "of this model's are new: decoder.layers." in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["init_from=nothing"], 4, "seq2seq-train: nothing: no such run directory"),
        (["init_from=first", "tokenizer=words"], 2, "tokenizer: is words, but that of first is sentencepiece"),
    ],
)
def test_faults(first: Path, options: list[str], status: int, message: str) -> None:
    known = [option for option in COMMAND if option.startswith("tokenizer.")] if "tokenizer=words" in options else []
    command = [option for option in COMMAND if option not in known]
    done = subprocess.run([*command, "run=faulty", *options], capture_output=True, text=True, cwd=first)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert message in done.stderr


def test_sampling_is_the_new_run_s_own(first: Path) -> None:
    done = train(first, "run=sampled", "init_from=first", "tokenizer.sampling=0.1", "tokenizer.model_type=bpe")
    assert done.returncode == 0, done.stderr
    about = json.loads((first / "sampled" / "tokenizer" / "shared" / "tokenizer.json").read_text())
    assert about["sampling"] == 0.1
    assert 'tokenizer.model_type stays "unigram", as in first; "bpe" has no effect' in done.stderr
    assert "tokenizer.sampling stays" not in done.stderr


def test_one_run_begins_with_one_other(first: Path) -> None:
    checked = train(first, "run=checked", "init_from=first", "check=true")
    assert checked.returncode == 0, checked.stderr
    assert "weights: those of first/checkpoints/step_00000002" in checked.stderr
    other = train(first, "run=checked")
    assert other.returncode == 2
    assert "init_from: was first, but is null" in other.stderr
