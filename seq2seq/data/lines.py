"""Lines of text files. Both sides of a corpus must split alike, so only a line feed ends a line."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, cast

from seq2seq.errors import DataError

SAMPLE = 2**20  # bytes


def resolve(path: Path) -> Path:
    """FILE, or FILE.gz where only that exists. Raises DataError, with similar names, where neither does."""
    compressed = path.with_name(path.name + ".gz")
    for candidate in (path, compressed):
        if candidate.exists():
            return candidate
    message = f"there is neither {path} nor {compressed.name}"
    if not path.parent.is_dir():
        raise DataError(f"{message}: there is no folder {path.parent}")
    try:
        names = [entry.name for entry in os.scandir(path.parent) if entry.is_file()]
    except OSError as error:
        raise DataError(f"{path.parent}: {error.strerror}") from error
    similar = get_close_matches(path.name, sorted(names), n=3, cutoff=0.5)
    raise DataError(f"{message}; similar files there: {', '.join(similar)}" if similar else message)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or `.gz`, without their ends.

    Split at line feeds only (a carriage return right before one goes with it); other characters that some programs take
    for line ends stay inside the line. A byte order mark at the start is left out. Raises DataError, naming file and
    line, for what cannot be read.
    """
    return _decode(byte_lines(path), str(path))


def read_stream(stream: BinaryIO, name: str = "standard input") -> Iterator[str]:
    """The lines of an open stream, by the rules of `read_lines`; `name` stands in messages."""
    return _decode(_split(stream, name), name)


def byte_lines(path: Path) -> Iterator[bytes]:
    """As `read_lines`, not yet decoded: the quick way past lines that are not wanted."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            yield from _split(cast(BinaryIO, file), str(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def about_how_many_lines(paths: Iterable[Path]) -> int | None:
    """Of plain files together, from the beginning of each; None where one cannot be told."""
    total = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                beginning = file.read(SAMPLE)
                size = os.fstat(file.fileno()).st_size
        except OSError:
            return None
        if path.suffix == ".gz" or (size > SAMPLE and b"\n" not in beginning):
            return None
        total += beginning.count(b"\n") * max(size, 1) // max(len(beginning), 1)
    return total


def decode_line(line: bytes, name: str, number: int) -> str:
    """One line of `byte_lines` as text; name and number (from 1) stand in the message of the DataError."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        encoding = "utf-16" if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin1"
        raise DataError(
            f"{name}, line {number}: not valid UTF-8 (byte 0x{line[error.start]:02X} at column {column}); "
            f"convert it, for example: iconv -f {encoding} -t utf-8"
        ) from error


def one_line(text: str | Sequence[str] | None, line_break: str = " ") -> str:
    """Line breaks become spaces, or what is given, so that an example is one line of every file that it is written to;
    None is empty, and the texts of a list are lines.
    """
    if text is None:
        return ""
    if not isinstance(text, str):
        text = "\n".join(text)
    if "\n" not in text and "\r" not in text:
        return text
    return re.sub(r"[\r\n]+", lambda _: line_break, text.strip("\r\n"))


def _decode(lines: Iterator[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        yield decode_line(line, name, number)


def _split(stream: BinaryIO, name: str) -> Iterator[bytes]:
    mark = codecs.BOM_UTF8
    try:
        for line in stream:
            if mark:
                line, mark = line.removeprefix(mark), b""
            if line.endswith(b"\n"):
                line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: truncated or corrupt gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from error
