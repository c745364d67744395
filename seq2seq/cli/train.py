"""seq2seq-train: trains a model, or continues a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import train_help
from seq2seq.cli.launch import is_rank, launch
from seq2seq.cli.sweep import run_sweep
from seq2seq.errors import ConfigError, Problem, UserError

if TYPE_CHECKING:
    from seq2seq.training.parallel import Parallel
    from seq2seq.training_run import Judge


def main() -> None:
    """The entry point."""
    run_command("seq2seq-train", "train", train, train_help(), check, run_sweep)


def train(
    tree: dict[str, Any], command: list[str], again: Sequence[str] = (), judge: Judge | None = None, wait: float = 0
) -> None:
    """Of several ranks a fault that all meet is told by one.

    again: the module and arguments that do the same, for the ranks of a run on several devices; empty: this command's
    own. judge, wait: those of `training_run.train`.
    """
    devices = dict(tree.get("trainer") or {}).get("devices")
    if type(devices) is int and devices > 1 and not is_rank():
        raise SystemExit(launch(devices, again or ["seq2seq.cli.train", *command[1:]]))

    from seq2seq.training.console import silence
    from seq2seq.training.parallel import join

    parallel = join()
    if not parallel.first:
        silence()
    try:
        _train(tree, command, parallel, judge, wait)
    except UserError as error:
        if parallel.tells(error, tree["run"]):
            raise
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        if parallel.first:
            raise
        raise SystemExit(130) from None


def _train(tree: dict[str, Any], command: list[str], parallel: Parallel, judge: Judge | None, wait: float) -> None:
    from seq2seq.config import bind_run
    from seq2seq.training_run import train as train_run

    run = Path(tree["run"]).expanduser()
    try:
        train_run(bind_run(tree), run, command, parallel, _only_checks(tree), judge, wait)
    except BrokenPipeError:
        raise
    except OSError as error:  # a write that fails has no file's name, but is somewhere in the run
        raise UserError(f"{error.filename or run}: {error.strerror}") from error


def check(tree: dict[str, Any]) -> None:
    """Raises ConfigError where the run cannot be trained."""
    from seq2seq.config import bind_run
    from seq2seq.pipeline import check as check_run

    _only_checks(tree)
    check_run(bind_run(tree))


def _only_checks(tree: dict[str, Any]) -> bool:
    value = tree.get("check", False)
    if not isinstance(value, bool):
        raise ConfigError(Problem("check", f"should be true or false, but is {value!r}"))
    return value


if __name__ == "__main__":
    main()
