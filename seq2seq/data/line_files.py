"""Files whose lines are examples, one after the other: line n of one file, and line n of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from seq2seq.data.corpus import Example, Source
from seq2seq.data.lines import about_how_many_lines, byte_lines, decode_line
from seq2seq.errors import DataError


class TextFileSource(Source):
    """The lines of pairs of files, one pair after the other; nothing is kept in memory. No source: None."""

    def __init__(self, files: list[tuple[Path | None, Path]]) -> None:
        self.files = files

    def about_how_many(self) -> int | None:
        return about_how_many_lines(target for _, target in self.files)

    def identity(self) -> str:
        return file_identity(self.paths())

    def paths(self) -> Iterable[Path]:
        return (path for pair in self.files for path in pair if path is not None)

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        number = 0
        for source_file, target_file in self.files:
            pairs = _pairs(source_file, target_file) if source_file else ((b"", x) for x in byte_lines(target_file))
            for line, (source, target) in enumerate(pairs, start=1):
                if number >= start and number % shards == first:
                    yield Example(
                        decode_line(source, str(source_file), line), decode_line(target, str(target_file), line), number
                    )
                number += 1


def file_identity(paths: Iterable[Path]) -> str:
    """Another one when a file is written anew."""
    found = [(str(path.resolve()), path.stat()) for path in paths]
    return str([(path, status.st_size, status.st_mtime_ns) for path, status in found])


def listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _pairs(source: Path, target: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        yield from zip(byte_lines(source), byte_lines(target), strict=True)
    except ValueError as error:
        counts = [sum(1 for _ in byte_lines(path)) for path in (source, target)]
        raise DataError(
            f"{source} has {counts[0]:,} lines, {target} has {counts[1]:,}: line n of one must translate line n of "
            "the other"
        ) from error
