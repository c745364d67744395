"""A run that begins with the tokenizer and the weights of another."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from .conftest import Command, Told, train_quietly

QUICK = (
    "model=transformer_tiny", "model.encoder.d_model=16", "model.decoder.d_model=16", "model.encoder.num_layers=1",
    "model.decoder.num_layers=1", "data.train=60", "data.validation=4", "data.test=2", "trainer.device=cpu",
    "trainer.num_threads=1", "trainer.max_steps=2", "trainer.validate_every=2", "trainer.max_tokens=600",
)  # fmt: skip
SIZE = "tokenizer.vocab_size=400"
Train = Callable[..., Told]


def weights(run: Path) -> dict[str, np.ndarray]:
    (best,) = run.glob("checkpoints/step_00000002/model.safetensors")
    return dict(load_file(best))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    train_quietly(folder / "first", (*QUICK, SIZE, f"cache={folder}/cache"))
    return folder


@pytest.fixture
def train(first: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Beside the first run."""
    monkeypatch.chdir(first)
    return lambda *options: command("seq2seq-train", *QUICK, "cache=cache", *options)


def test_the_second_run_begins_where_the_first_has_ended(first: Path, train: Train) -> None:
    """With a learning rate of next to nothing the weights stay, on other data, of which it would make other pieces."""
    done = train("run=second", SIZE, "init_from=first", "optimizer.lr=1e-30", "data.train=90")
    assert done.status == 0, done.err
    assert "weights: those of first/checkpoints/step_00000002" in done.err
    assert "new:" not in done.err
    before, after = weights(first / "first"), weights(first / "second")
    assert before.keys() == after.keys()
    assert all(np.allclose(before[name], after[name], rtol=0, atol=1e-20) for name in before)
    tokenizer = Path("tokenizer") / "shared" / "tokenizer.model"
    assert (first / "first" / tokenizer).read_bytes() == (first / "second" / tokenizer).read_bytes()
    again = train("run=second", SIZE, "init_from=first", "optimizer.lr=1e-30", "data.train=90", "trainer.max_steps=3")
    assert "continuing at step 2" in again.err
    assert "weights: those of" not in again.err


def test_what_does_not_fit_is_told(train: Train) -> None:
    done = train("run=deeper", SIZE, "init_from=first", "model.decoder.num_layers=2")
    assert done.status == 0, done.err
    assert "of this model's are new: decoder.layers." in done.err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([SIZE, "init_from=nothing"], 4, "seq2seq-train: nothing: no such run directory"),
        (["init_from=first", "tokenizer=words"], 2, "tokenizer: is words, but that of first is sentencepiece"),
    ],
)
def test_faults(train: Train, options: list[str], status: int, message: str) -> None:
    done = train("run=faulty", *options)
    assert (done.status, "Traceback" in done.err) == (status, False), done.err
    assert message in done.err


def test_sampling_is_the_new_run_s_own(first: Path, train: Train) -> None:
    done = train("run=sampled", SIZE, "init_from=first", "tokenizer.sampling=0.1", "tokenizer.model_type=bpe")
    assert done.status == 0, done.err
    about = json.loads((first / "sampled" / "tokenizer" / "shared" / "tokenizer.json").read_text())
    assert about["sampling"] == 0.1
    assert 'tokenizer.model_type stays "unigram", as in first; "bpe" has no effect' in done.err
    assert "tokenizer.sampling stays" not in done.err


def test_one_run_begins_with_one_other(train: Train) -> None:
    checked = train("run=checked", SIZE, "init_from=first", "check=true")
    assert checked.status == 0, checked.err
    assert "weights: those of first/checkpoints/step_00000002" in checked.err
    other = train("run=checked", SIZE)
    assert other.status == 2
    assert "init_from: was first, but is null" in other.err
