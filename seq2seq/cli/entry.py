"""What the commands share: a command line's jobs are done, mistakes become a few lines and an exit status."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from seq2seq import __version__
from seq2seq.cli.compose import Job, Sweep, compose_jobs
from seq2seq.errors import ConfigError, UserError
from seq2seq.plugins import plugin_traceback

Tree = dict[str, Any]


def run_command(
    command: str,
    config_name: str,
    do: Callable[[Tree, list[str]], None],
    help_text: str,
    check: Callable[[Tree], object] = lambda tree: None,
    sweep: Callable[[Sweep, list[str]], int] | None = None,
) -> None:
    """Calls `do` with the composed tree and the command line as typed, once for each job of a sweep; before the first
    of those, `check` with the tree of each, which raises a UserError for a job that cannot be done.

    sweep: does one in another way than its jobs one after the other, and returns the exit status.

    Never returns: exits with 0, with the status of the first fault, or with 130 after Ctrl-C.
    """
    for flags, answer in ((("-h", "--help"), help_text), (("--version",), f"seq2seq {__version__}")):
        if any(argument in flags for argument in sys.argv[1:]):
            sys.exit(guarded(command, partial(_answer, answer)))
    typed = [command, *sys.argv[1:]]

    def work() -> int:
        composed = compose_jobs(config_name)
        status = 0
        if isinstance(composed, Job):
            do(composed.tree, typed)
        elif composed is not None and sweep is not None:
            status = sweep(composed, typed)
        elif composed is not None:
            jobs = composed.grid()
            check_all(jobs, check)
            status = _one_by_one(command, jobs, lambda tree: do(tree, typed))
        sys.stdout.flush()
        return status

    sys.exit(guarded(command, work))


def _answer(answer: str) -> int:
    print(answer, flush=True)
    return 0


def check_all(jobs: Sequence[Job], check: Callable[[Tree], object]) -> None:
    """Raises UserError with the mistakes of all jobs, and which of them make each."""
    errors: dict[str, UserError] = {}
    found_in: dict[str, list[str]] = {}
    for job in jobs:
        try:
            check(job.tree)
        except UserError as error:
            errors.setdefault(str(error), error)
            found_in.setdefault(str(error), []).append(job.overrides)
    if not errors:
        return
    text, first = next(iter(errors.items()))
    if len(found_in[text]) == len(jobs):
        raise first
    number = len({overrides for some in found_in.values() for overrides in some})
    lines = [f"{number} of the sweep's {len(jobs)} jobs cannot be done, so none was begun"]
    for text, some in found_in.items():
        lines += [f"  {overrides}" for overrides in some]
        lines += [f"    {line}" for line in text.splitlines()]
    refusal = UserError("\n".join(lines))
    refusal.exit_status = first.exit_status
    raise refusal


def _one_by_one(command: str, jobs: Sequence[Job], do: Callable[[Tree], None]) -> int:
    """The status of the first that fails; a signal ends the sweep."""
    first = 0
    for job in jobs:
        print(f"{command}: {job.name}", file=sys.stderr)

        def work(job: Job = job) -> int:
            do(job.tree)
            return 0

        status = guarded(command, work)
        first = first or status
        if status > 128:
            break
    return first


def guarded(command: str, work: Callable[[], int]) -> int:
    """What `work` returns, or the status of the fault that ends it, which is told on stderr."""
    try:
        with _quiet_writers():
            return work()
    except UserError as error:
        return _tell(command, error)
    except KeyboardInterrupt:
        print(f"\n{command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except OSError as error:
        if error.filename is None:
            _silence_stdout()
        return _tell(command, UserError(f"{error.filename or 'standard output'}: {error.strerror}"))
    except Exception as error:
        if _is_out_of_memory(error):
            return _tell(command, ConfigError("out of memory: lower max_tokens (of training: trainer.max_tokens)"))
        trace = plugin_traceback(error)
        if trace is None:
            raise
        print(f"{command}: a fault in a plugin", file=sys.stderr)
        traceback.print_exception(error.with_traceback(trace))
        return 1


def _is_out_of_memory(error: Exception) -> bool:
    """Of a GPU or of the machine. By the names and words of torch, which may not be imported yet."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch)


@contextlib.contextmanager
def _quiet_writers() -> Iterator[None]:
    """An OSError of a thread that writes, as TensorBoard's, is raised again where its work is waited for."""
    before = threading.excepthook
    threading.excepthook = lambda fault: None if issubclass(fault.exc_type, OSError) else before(fault)
    try:
        yield
    finally:
        threading.excepthook = before


def _silence_stdout() -> None:
    """What is still buffered cannot be written and would fail again at exit."""
    with contextlib.suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(command: str, error: UserError) -> int:
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        if error.problems[0].path:  # otherwise the first is what all the others are about
            lines.insert(0, f"{len(error.problems)} mistakes in the config")
        lines[1:] = [f"  {line}" for line in lines[1:]]
    print("\n".join([f"{command}: {lines[0]}", *lines[1:]]), file=sys.stderr)
    return error.exit_status
