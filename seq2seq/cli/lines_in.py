"""The lines that are translated: where they come from, and how they are taken together."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from seq2seq.data.ahead import Ahead
from seq2seq.data.lines import read_lines, read_stream
from seq2seq.errors import DataError


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
    with closing(Ahead(lines, 4 * size)) as arrived:
        while (chunk := arrived.take(size)) is not None:
            if chunk:
                yield chunk
