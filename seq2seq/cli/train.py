"""seq2seq-train: trains a model, or continues a run."""

from pathlib import Path
from typing import Any

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import train_help


def main() -> None:
    """The entry point."""
    run_command("seq2seq-train", "train", train, train_help())


def train(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.config import bind_run
    from seq2seq.pipeline import train as train_run

    run = tree.pop("run")
    train_run(bind_run(tree), Path(run).expanduser(), command)


if __name__ == "__main__":
    main()
