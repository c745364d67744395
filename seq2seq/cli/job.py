"""python -m seq2seq.cli.job FILE: one job of a sweep, in a process of its own, wherever a launcher starts it.

The file is JSON: the composed tree, the command line of the sweep, and for a trial of Optuna what judges it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2seq.cli.entry import guarded
from seq2seq.cli.launch import is_rank
from seq2seq.errors import UserError
from seq2seq.sweeps.launcher import PARENT

POLL = 1.0  # seconds


def main() -> None:
    """The entry point. The exit status is that of seq2seq-train."""
    file = Path(sys.argv[1])
    if not is_rank():  # ranks are told by the process that has started them
        parent = int(os.environ.get(PARENT, os.getppid()))
        threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()

    def work() -> int:
        do_job(_read(file), ["seq2seq.cli.job", str(file)])
        return 0

    sys.exit(guarded("seq2seq-train", work))


def do_job(job: Mapping[str, Any], again: list[str]) -> None:
    """Trains. again: the module and arguments that do the same."""
    from seq2seq.cli.train import train

    judge = None
    if job["judge"] is not None:
        from seq2seq.sweeps.optuna import make_judge

        judge = make_judge(job["judge"])
    train(job["tree"], job["command"], again, judge, wait=math.inf)  # for the job of a sweep that was killed


def _read(file: Path) -> dict[str, Any]:
    try:
        job = json.loads(file.read_bytes())
        return {"tree": job["tree"], "command": job["command"], "judge": job["judge"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is not the job of a sweep ({error})") from error


def _follow_parent(parent: int) -> None:
    """Ends this process, which saves first, when the one that has started it is gone."""
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
