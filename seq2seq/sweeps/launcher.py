"""Where the jobs of a sweep are done: what a launcher is, and what it does with each job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seq2seq.errors import UserError
from seq2seq.registry import Family

PARENT = "SEQ2SEQ_PARENT"  # the variable that tells a job which process has started it
POLL = 0.2  # seconds


@dataclass(frozen=True)
class Task:
    """A job for `python -m seq2seq.cli.job FILE`, here or on another machine that sees the same disk.

    output: what the job writes on its screen.  stop: as soon as this file is there, the job saves and ends.
    environment: variables of its own.  devices: how many processes train in it.
    """

    name: str
    file: Path
    output: Path
    stop: Path
    folder: Path  # the working directory
    environment: Mapping[str, str] = field(default_factory=dict)
    devices: int = 1


@dataclass(frozen=True)
class Outcome:
    """status: the exit status; of a signal, as shells count. stopped: whether the sweep asked for the end.

    why: of a job that its launcher lost.
    """

    status: int
    stopped: bool = False
    why: str = ""


class LauncherError(UserError):
    """What does the jobs cannot be used."""

    exit_status = 2


class Launcher(ABC):
    """Does jobs somewhere, several at a time."""

    @abstractmethod
    def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
        """Does each task by `Work`, wherever jobs are done, and after each of them, in this process, `done`.

        tasks: taken one by one, when there is room for it and `done` has been told of those before that have ended.
        Raises LauncherError.
        """


launchers: Family[Launcher] = Family("hydra/launcher", Launcher)


class Work:
    """Does one job in a process of its own, so that whatever happens to it touches no other; can be sent anywhere.

    in_worker: whether where it is sent is a process whose parent is part of the launcher, so that the job is stopped
    when that is gone. The parent of the command itself is the user's shell, which may go.
    """

    def __init__(self, *, in_worker: bool) -> None:
        self.in_worker = in_worker
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, task: Task) -> Outcome:
        if task.stop.exists():  # before the job began: the queue of a cluster may be long
            return Outcome(128 + signal.SIGTERM, stopped=True)
        parent = os.getppid()
        command = [sys.executable, "-P", "-m", "seq2seq.cli.job", str(task.file)]
        stopped = False
        with task.output.open("ab") as output:
            # A process group of its own: a terminal's Ctrl-C reaches the command, which asks for the stop.
            process = self.process = subprocess.Popen(
                command,
                cwd=task.folder,
                env={**os.environ, **task.environment, PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            try:
                while process.poll() is None:
                    time.sleep(POLL)
                    if not stopped and (task.stop.exists() or (self.in_worker and os.getppid() != parent)):
                        process.send_signal(signal.SIGTERM)  # training saves; Ray's workers would ignore SIGINT
                        stopped = True
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait()
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Outcome(status, stopped and status != 0)
