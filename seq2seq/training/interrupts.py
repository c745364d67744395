"""Ctrl-C and SIGTERM: finish the step, save, exit; the second Ctrl-C exits at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Self

from seq2seq.errors import UserError


class Stopped(UserError):
    """Training was stopped by a signal after saving. exit_status: 128 + the signal's number, as shells count."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class Interrupts:
    """Within `with`, SIGINT and SIGTERM only set `received`; a second one ends the process at once.

    shared: the process is one of several ranks. A signal is `pending` then until all ranks have agreed on it, which is
    when it counts as received; a second SIGTERM is ignored, since torchrun repeats what a cluster has sent to all.
    """

    def __init__(self, *, shared: bool = False, quiet: bool = False) -> None:
        self.shared = shared
        self.quiet = quiet
        self.pending: int | None = None
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return self.received is not None

    def counts(self) -> tuple[int, int]:
        """SIGINT and SIGTERM that this rank has got."""
        return int(self.pending == signal.SIGINT), int(self.pending == signal.SIGTERM)

    def agree(self, sigint: int, sigterm: int) -> None:
        """The counts of all ranks."""
        if sigint or sigterm:
            self.received = signal.SIGTERM if sigterm else signal.SIGINT

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.pending is not None:
            if self.shared and number == signal.SIGTERM:
                return
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # shows the cursor again, which a progress bar hides
            os._exit(128 + number)
        self.pending = number
        if not self.shared:
            self.received = number
        if self.quiet:
            return
        # os.write is safe where print may not be: the signal can arrive in the middle of a write to stderr.
        os.write(2, b"\nstopping: finishing this step and saving (again to exit at once without saving)\n")
