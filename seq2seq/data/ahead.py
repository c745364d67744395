"""Items that a thread makes before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 0.1  # seconds without a new item after which those so far are taken


def ahead(items: Iterator[T], room: int) -> Generator[T, None, None]:
    """The items, of which a thread makes up to `room` before they are asked for.

    A fault that ends them is raised after those before it.
    """
    with closing(Ahead(items, room)) as made:
        while (some := made.take(1)) is not None:
            yield from some


class Ahead:
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
