"""The lines that are translated: where they come from, and how they are taken together."""

from __future__ import annotations

import os
import queue
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from seq2seq.data.lines import read_lines, read_stream
from seq2seq.errors import DataError

T = TypeVar("T")

PATIENCE = 0.1  # seconds without a new line after which the lines so far are translated


def open_input(name: str | None) -> tuple[Iterator[str], bool]:
    """The lines of a file, or of standard input, and whether they may come slowly."""
    if name is None:
        return read_stream(sys.stdin.buffer), not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    path = Path(name).expanduser()
    if not path.exists():
        raise DataError(f"input={name}: no such file")
    return read_lines(path), stat.S_ISFIFO(path.stat().st_mode)


def chunks(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """The lines in lists of `size`."""
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def chunks_as_they_come(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """At most `size` lines together: what has come when nothing more comes for a moment."""
    with closing(_Ahead(lines, 4 * size)) as arrived:
        while (chunk := arrived.take(size)) is not None:
            if chunk:
                yield chunk


def ahead(items: Iterator[T], room: int) -> Iterator[T]:
    """The items, of which a thread makes up to `room` before they are asked for.

    A fault that ends them is raised after those before it.
    """
    with closing(_Ahead(items, room)) as made:
        while (some := made.take(1)) is not None:
            yield from some


class _Ahead:
    """What a thread takes from an iterator, until it ends, in a fault perhaps, or is closed."""

    def __init__(self, items: Iterator[Any], room: int) -> None:
        self._made: queue.Queue[object] = queue.Queue(maxsize=room)
        self._closed = threading.Event()
        self._end: _End | None = None
        threading.Thread(target=self._make, args=(items,), daemon=True).start()

    def _make(self, items: Iterator[Any]) -> None:
        try:
            for item in items:
                self._put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:  # told by the thread that takes, after the items before it
            self._put(_End(error))
        else:
            self._put(_End(None))

    def _put(self, item: object) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._made.put(item, timeout=PATIENCE)
                break

    def take(self, count: int) -> list[Any] | None:
        """Waits for one item, and for each of the others a moment only; None at the end."""
        taken: list[Any] = []
        while self._end is None and len(taken) < count:
            try:
                item = self._made.get(timeout=PATIENCE if taken else None)
            except queue.Empty:
                return taken
            if isinstance(item, _End):
                self._end = item
            else:
                taken.append(item)
        if taken or self._end is None:
            return taken
        if self._end.error is not None:
            raise self._end.error
        return None

    def close(self) -> None:
        self._closed.set()


class _End:
    """error: None where there was nothing wrong."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
