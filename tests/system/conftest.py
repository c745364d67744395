"""The commands as a user types them, but in this process; and a tiny run to use them on."""

import contextlib
import io
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from seq2seq.cli import evaluate, export, train, translate

COMMANDS = {
    "seq2seq-train": train,
    "seq2seq-evaluate": evaluate,
    "seq2seq-translate": translate,
    "seq2seq-export": export,
}
TINY = (
    "model=lstm_tiny", "model.encoder.d_model=12", "model.decoder.d_model=12", "tokenizer.vocab_size=400",
    "data.train=200", "data.validation=20", "data.test=20", "trainer.max_steps=4", "trainer.validate_every=2",
    "trainer.validation_examples=5", "trainer.max_tokens=600", "trainer.device=cpu", "optimizer.lr=1e-3",
)  # fmt: skip

TINY_TRANSFORMER = (
    "model=transformer_tiny", "model.encoder.d_model=16", "model.decoder.d_model=16", "model.encoder.num_layers=1",
    "model.decoder.num_layers=1", "tokenizer=characters", "data.train=300", "data.validation=20", "data.test=20",
    "trainer.max_steps=60", "trainer.validate_every=60", "trainer.validation_examples=5", "trainer.max_tokens=900",
    "trainer.device=cpu", "optimizer.lr=1e-2",
)  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Told]


def run_main(name: str, arguments: tuple[str, ...]) -> int:
    """The exit status."""
    logger = logging.getLogger("seq2seq")
    before = (sys.argv, logger.handlers[:], logger.propagate)
    sys.argv = [name, *arguments]
    try:
        with pytest.raises(SystemExit) as ended:
            COMMANDS[name].main()
    finally:
        sys.argv, logger.handlers, logger.propagate = before
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def _short_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of check=true: as few updates as there may be."""
    monkeypatch.setattr("seq2seq.training.forecast.SECONDS", 0.0)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """command("seq2seq-train", "key=value", ...), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> Told:
        capsys.readouterr()
        return Told(run_main(name, arguments), *capsys.readouterr())

    return run


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """What the run was trained with."""
    return TINY


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps with checkpoints at the steps 2 and 4; not to be changed."""
    return train_quietly(tmp_path_factory.mktemp("trained") / "run", TINY)


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer's run, whose outputs end by themselves; not to be changed."""
    return train_quietly(tmp_path_factory.mktemp("transformer") / "run", TINY_TRANSFORMER)


def train_quietly(folder: Path, options: tuple[str, ...]) -> Path:
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        status = run_main("seq2seq-train", (*options, f"run={folder}"))
    assert status == 0, told.getvalue()
    return folder


@pytest.fixture
def run(trained: Path, command: Command) -> Path:
    """A copy of the run, as `run` in the working directory."""
    return Path(shutil.copytree(trained, "run"))
