"""The jobs of a sweep as it goes on: given to the launcher, and told as each of them ends."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from seq2seq.cli.compose import Job, Sweep
from seq2seq.cli.entry import guarded
from seq2seq.errors import CheckpointError, UserError

if TYPE_CHECKING:
    from seq2seq.sweeps.launcher import Launcher, Outcome, Task
    from seq2seq.training.run_dir import RunDir

COMMAND = "seq2seq-train"
LAST_LINES = 3  # of the screen of a job that failed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

End = Mapping[str, Any] | None  # what ended.json holds; None where a job has come to no end
Judged = Iterable[tuple[Job, Mapping[str, Any] | None]]  # jobs, each with what judges it
Trained = Callable[[Job, End], None]


class SweepJobs:
    """A sweep as it goes on: its jobs are given to the launcher, and how each of them ends is told.

    job: any of them; their runs lie in one folder. total: the number of jobs.
    """

    def __init__(self, sweep: Sweep, job: Job, command: list[str], launcher: Launcher | None, total: int) -> None:
        self.folder = Path(job.tree["run"]).expanduser().parent
        self.command = command
        self.launcher = launcher
        self.total = total
        self.over = 0  # jobs
        self.counts = dict.fromkeys(("done", "ended early", "finished before", "failed", "stopped"), 0)
        self.status = 0  # of the first job that failed
        self.received: int | None = None  # a signal
        self.lock = threading.Lock()
        about = repr([sorted(sweep.fixed), sorted(str(override.input_line) for override in sweep.space)])
        self.hidden = self.folder / ".sweep" / hashlib.sha256(about.encode()).hexdigest()[:8]
        self.start = uuid.uuid4().hex[:8]
        self.stop = self.hidden / f"stop-{self.start}"  # of this start alone: jobs of an earlier one may live
        self.leaves_jobs = False  # that may be at work when this process is gone
        self.fault: Exception | None = None  # of what chooses the jobs or is told of them

    @contextlib.contextmanager
    def alone(self, locked: bool) -> Iterator[None]:
        """Keeps a second process away from the same sweep, and lets a signal stop jobs of a launcher, which save first.

        locked: False where each run's own lock is enough. Raises UserError where there is no place for its runs.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"{self.folder}: is no folder; run=... names one for the runs of the sweep")
        if (self.folder / "config.yaml").exists():
            raise CheckpointError(f"{self.folder}: is a run; run=... names a folder for the runs of the sweep")
        if not locked:
            yield
            return
        self.hidden.mkdir(parents=True, exist_ok=True)
        with (self.hidden / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"{self.folder}: another process is at work on this sweep") from error
            except OSError:  # a file system without locks
                pass
            self._stop_earlier(lock)
            if self.launcher is None:  # what runs in this process hears signals itself
                yield
                return
            number = getattr(self.launcher, "num_jobs", None)
            at_a_time = f"{number} at a time, " if number else ""
            tell(f"{self.total} jobs in {self.folder}, {at_a_time}by {type(self.launcher).__module__.split('.')[-1]}")
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup does
            lock.write(self.start)
            lock.flush()
            before = {number: signal.signal(number, self._receive) for number in heard}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                if not self.leaves_jobs:
                    self.stop.unlink(missing_ok=True)
                    lock.truncate(0)

    def _stop_earlier(self, lock: IO[str]) -> None:
        """Asks the jobs of a start that did not wait for their end to save. lock: names that start."""
        lock.seek(0)
        if earlier := lock.read():
            tell("jobs of an earlier start that are still at work save and end first")
            self.stop.with_name(f"stop-{earlier}").touch()
            lock.truncate(0)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if number == signal.SIGHUP:  # kernel and shell both send one
                return
            os._exit(128 + number)  # the jobs notice, and save
        self.received = number
        self.stop.touch()
        try:
            os.write(2, b"\nstopping: the jobs finish a step and save (again to leave without waiting for them)\n")
        except OSError:  # the terminal is gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def do(self, jobs: Judged, trained: Trained = lambda job, end: None) -> None:
        """trained: told of each job that has ended, but not of one that a signal stopped."""
        if self.launcher is None:
            self._do_here(jobs, trained)
            return
        given: dict[str, Job] = {}

        def tasks() -> Iterator[Task]:
            with self._stopping():
                for job, judge in jobs:
                    if self.received is not None or self.fault is not None:
                        return
                    if not self._passed_over(job, trained):
                        task = self._task(job, judge)
                        given[task.name] = job
                        with self.lock:
                            self._tell_job("begun", job, None)
                        yield task

        def done(task: Task, outcome: Outcome) -> None:
            with self._stopping():
                end = self._ended(given[task.name], outcome, task.output)
                if not outcome.stopped and self.fault is None:
                    trained(given[task.name], end)

        self.leaves_jobs = True
        try:
            self.launcher.run(tasks(), done)
        except Exception:
            self.stop.touch()
            raise
        self.leaves_jobs = False
        if self.fault is not None:
            raise self.fault

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Keeps a fault until the jobs at work have saved and ended: threads of a launcher would lose it."""
        try:
            yield
        except Exception as error:
            self.fault = self.fault or error
            self.stop.touch()

    def _do_here(self, jobs: Judged, trained: Trained) -> None:
        from seq2seq.cli.job import do_job

        for job, judge in jobs:
            if self._passed_over(job, trained):
                continue
            self._tell_job("begun", job, None)
            print(f"{COMMAND}: {job.name}", file=sys.stderr)
            task = self._task(job, judge) if _devices(job) > 1 else None  # each rank reads what the job is
            again = ["seq2seq.cli.job", str(task.file)] if task is not None else []
            content = self._content(job, judge)

            def work(content: Mapping[str, Any] = content, again: list[str] = again) -> int:
                try:
                    do_job(content, again)
                except SystemExit as ended:  # of ranks that were launched
                    return int(ended.code or 0)
                return 0

            try:
                status = guarded(COMMAND, work)
            except Exception:  # of our own; the other jobs may not meet it
                traceback.print_exc()
                status = 1
            if task is not None:
                _remove(task.output)
            stopped = status > 128
            end = self._count(job, status, stopped)
            self._tell_job(_kind(status, stopped, end), job, end)
            if stopped:
                self.received = status - 128
                return
            trained(job, end)

    def _content(self, job: Job, judge: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"tree": job.tree, "command": self.command, "judge": judge}

    def _task(self, job: Job, judge: Mapping[str, Any] | None) -> Task:
        from seq2seq.sweeps.launcher import Task

        name = hashlib.sha256(str(job.tree["run"]).encode()).hexdigest()[:16]
        file = self.hidden.absolute() / "jobs" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # the address of a storage may hold a password
        file.write_text(json.dumps(self._content(job, judge)), encoding="utf-8")
        output = file.with_suffix(".txt")
        output.write_bytes(b"")
        return Task(name, file, output, self.stop.absolute(), Path.cwd(), devices=_devices(job))

    def _passed_over(self, job: Job, trained: Trained) -> bool:
        """Whether the run is finished already."""
        from seq2seq.config import bind_run, stored_form

        run = _run_of(job)
        if (job.tree.get("check") or False) is not False or run.read_end() is None:
            return False
        config = bind_run(job.tree)
        corpus = config.data()
        if not run.is_finished(stored_form(config), [corpus.key("test")] if corpus.test_is_apart else []):
            return False
        with self.lock:
            self.over += 1
            self.counts["finished before"] += 1
            self._tell_job("finished before", job, run.read_end())
        trained(job, run.read_end())
        return True

    def _ended(self, job: Job, outcome: Outcome, output: Path) -> End:
        """Tells how a job has ended that did so somewhere else."""
        with self.lock:
            end = self._count(job, outcome.status, outcome.stopped)
            kind = _kind(outcome.status, outcome.stopped, end)
            self._tell_job(kind, job, end)
            if kind == "failed":
                killed = f"was killed by {_signal_name(outcome.status - 128)}" if outcome.status > 128 else ""
                for line in filter(None, [*([outcome.why] if outcome.why else _last_lines(output)), killed]):
                    print(f"  {line}", file=sys.stderr)
                told = output if not output.is_relative_to(Path.cwd()) else output.relative_to(Path.cwd())
                print(f"  all that it told: {told}", file=sys.stderr, flush=True)
            else:
                _remove(output)
        return end

    def _tell_job(self, kind: str, job: Job, end: End) -> None:
        parts = [f"[{self.over}/{self.total}] {kind}", *_result(end), job.overrides]
        print("  ".join(parts), file=sys.stderr, flush=True)

    def _count(self, job: Job, status: int, stopped: bool) -> End:
        if stopped:
            self.counts["stopped"] += 1
            return None
        end = _run_of(job).read_end() if status == 0 else None
        self.over += 1
        self.counts[_kind(status, stopped, end)] += 1
        self.status = self.status or status
        return end

    def told(self) -> int:
        """Tells what has become of all. The exit status."""
        left = self.total - self.over - self.counts["stopped"]
        counts = [f"{count} {kind}" for kind, count in self.counts.items() if count]
        counts += [f"{left} not begun"] if left > 0 else []
        again = "the same command goes on with what is not finished"
        more = left > 0 or self.counts["failed"] or self.counts["stopped"]
        tell("; ".join([", ".join(counts) or "nothing was left to do", *([again] if more else [])]))
        if self.counts["done"] or self.counts["finished before"]:
            print(f"  to compare them: seq2seq-evaluate 'run={self.folder}/*' split=validation", file=sys.stderr)
        if self.received is not None:
            return 128 + self.received
        return self.status or (1 if self.counts["stopped"] else 0)


def _kind(status: int, stopped: bool, end: End) -> str:
    """What has become of a job. end: what its run came to."""
    if stopped or status:
        return "stopped" if stopped else "failed"
    return "ended early" if end is not None and end["pruned"] else "done"


def _devices(job: Job) -> int:
    """How many processes train in it."""
    devices = (job.tree.get("trainer") or {}).get("devices")
    return devices if type(devices) is int else 1


def _remove(output: Path) -> None:
    for file in (output, output.with_suffix(".json")):
        file.unlink(missing_ok=True)


def _signal_name(number: int) -> str:
    """SIGKILL: often since memory was not enough."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}: was memory not enough?" if number == signal.SIGKILL else name


def tell(text: str) -> None:
    print(f"{COMMAND}: {text}", file=sys.stderr, flush=True)


def _run_of(job: Job) -> RunDir:
    from seq2seq.training.run_dir import RunDir

    return RunDir(Path(job.tree["run"]).expanduser())


def _result(end: End) -> list[str]:
    """The time, and the score that tells the best checkpoint."""
    if end is None:
        return []
    minutes, seconds = divmod(int(end["seconds"]), 60)
    value = end["metrics"].get(end["metric"])
    score = [] if value is None else [f"{end['metric']} {value:.4g}"]
    return [f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", *score]


def _last_lines(output: Path) -> list[str]:
    """The error, where the command has told one, and otherwise the last lines."""
    try:
        lines = [line for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return []
    for place, line in enumerate(lines):
        if line.startswith(f"{COMMAND}: "):
            return lines[place:][:LAST_LINES]
    return lines[-LAST_LINES:]
