"""seq2seq-train: trains a model, or continues a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import train_help
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.config import RunConfig


def main() -> None:
    """The entry point."""
    run_command("seq2seq-train", "train", train, train_help(), check)


def train(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.pipeline import train as train_run

    run = Path(tree["run"]).expanduser()
    try:
        train_run(_bind(tree), run, command)
    except BrokenPipeError:
        raise
    except OSError as error:  # a write that fails has no file's name, but is somewhere in the run
        raise UserError(f"{error.filename or run}: {error.strerror}") from error


def check(tree: dict[str, Any]) -> None:
    """Raises ConfigError where the run cannot be trained."""
    from seq2seq.pipeline import check as check_run

    check_run(_bind(tree))


def _bind(tree: dict[str, Any]) -> RunConfig:
    from seq2seq.config import bind_run

    return bind_run({key: value for key, value in tree.items() if key != "run"})


if __name__ == "__main__":
    main()
