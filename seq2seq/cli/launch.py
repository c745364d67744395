"""Starts the ranks of a run on this machine, and stays until all of them have ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

GRACE = 20  # seconds that the other ranks have to end by themselves when one has failed
POLL = 0.1  # seconds


def is_rank() -> bool:
    """Whether torchrun, or `launch`, has started this process."""
    return "RANK" in os.environ


def launch(number: int, arguments: Sequence[str]) -> int:
    """Starts as many processes of a module, with its arguments, and returns the exit status for all of them.

    They have torchrun's environment variables. Signals are passed on; when a rank fails, the others follow: they notice
    it at their next message, or are killed after some seconds.
    """
    ranks: list[subprocess.Popen[bytes]] = []
    passed: set[int] = set()

    def pass_on(received: int, frame: FrameType | None) -> None:
        passed.add(received)
        for rank in ranks:
            rank.send_signal(received)

    before = {}
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) != signal.SIG_IGN:  # as nohup does with SIGHUP
            before[each] = signal.signal(each, pass_on)
    port = _free_port()
    try:
        for rank in range(number):
            ranks.append(_start(rank, number, port, arguments))
        return _status(_wait(ranks), passed)
    finally:
        for process in ranks:
            process.kill()
            process.wait()
        for each, handler in before.items():
            signal.signal(each, handler)


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """The ranks' statuses; 0 for one that still lives after another one has failed and GRACE has passed."""
    failed_at: float | None = None
    while any(rank.poll() is None for rank in ranks):
        time.sleep(POLL)
        if failed_at is None and any(rank.poll() for rank in ranks):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > GRACE:
            break
    return [rank.poll() or 0 for rank in ranks]


def _start(rank: int, number: int, port: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    threads = max(1, (os.cpu_count() or 1) // number)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "SEQ2SEQ_LAUNCHED": "1",
    }
    command = [sys.executable, "-P", "-m", *arguments]
    # In a process group of its own, so that a terminal sends its Ctrl-C to this process alone, which passes it on.
    return subprocess.Popen(command, env=environment, process_group=0)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _status(statuses: Sequence[int], passed: set[int]) -> int:
    """A rank that a signal has killed is told; one that has a reason of its own for its status has told it."""
    for rank, status in enumerate(statuses):
        if status < 0 and -status not in passed:
            print(
                f"seq2seq-train: rank {rank} was killed by {signal.Signals(-status).name}, so the others were stopped; "
                "the same command continues from the newest checkpoint",
                file=sys.stderr,
            )
            return 1
    shown = [128 - status if status < 0 else status for status in statuses]
    return next((status for status in shown if status not in (0, 1)), max(shown))  # 1: lost another rank
