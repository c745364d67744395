"""seq2seq-train: trains a model, or continues a run."""

from pathlib import Path
from typing import Any

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import train_help
from seq2seq.cli.launch import is_rank, launch
from seq2seq.errors import UserError


def main() -> None:
    """The entry point."""
    run_command("seq2seq-train", "train", train, train_help())


def train(tree: dict[str, Any], command: list[str]) -> None:
    """Of several ranks a fault that all meet is told by one."""
    devices = dict(tree.get("trainer") or {}).get("devices")
    if type(devices) is int and devices > 1 and not is_rank():
        raise SystemExit(launch(devices, command[1:]))

    from seq2seq.config import bind_run
    from seq2seq.pipeline import train as train_run
    from seq2seq.training.console import silence
    from seq2seq.training.parallel import join

    run = tree.pop("run")
    parallel = join()
    if not parallel.first:
        silence()
    try:
        train_run(bind_run(tree), Path(run).expanduser(), command, parallel)
    except UserError as error:
        if parallel.tells(error, run):
            raise
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        if parallel.first:
            raise
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
