"""The lines that are translated: where they come from, and how they are taken together."""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from seq2seq.data.ahead import Ahead
from seq2seq.data.corpus import Context, Corpus, Example, Split
from seq2seq.data.lines import read_lines, read_stream
from seq2seq.errors import ConfigError, DataError, Problem

T = TypeVar("T")


class Line(NamedTuple):
    """plain: as it belongs to its translation. read: as the model reads it, but for a tag."""

    plain: str
    read: str


@dataclass(frozen=True)
class Input:
    """What is translated. following: whether lines may come slowly. files: where they lie, where that is known.

    corpus: the data that they are of; None for a file.
    """

    lines: Iterator[str]
    following: bool
    files: Sequence[os.stat_result]
    corpus: Corpus | None = None

    def with_context(self, context: Context | None) -> Iterator[Line]:
        """context: of the run, as in training; examples of data with context have it already."""
        own = None if self.corpus is None else self.corpus.context
        if own is not None:
            return (Line(own.last_sentence(line), line) for line in self.lines)
        if context is None:
            return (Line(line, line) for line in self.lines)
        return _in_context(self.lines, context)


def _in_context(lines: Iterator[str], context: Context) -> Iterator[Line]:
    taken: deque[str] = deque()

    def noted() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    for read in context.with_context(noted()):
        yield Line(taken.popleft(), read)


def open_input(name: str | None) -> Input:
    """The lines of a file, or of standard input."""
    if name is None:
        status = os.fstat(sys.stdin.fileno())
        return Input(read_stream(sys.stdin.buffer), not stat.S_ISREG(status.st_mode), [status])
    path = Path(name).expanduser()
    if not path.exists():
        raise DataError(f"input={name}: no such file")
    status = path.stat()
    return Input(read_lines(path), stat.S_ISFIFO(status.st_mode), [status])


def open_split(run: str, split: Split, changes: Mapping[str, Any], tag: str | None) -> Input:
    """The sources of a split, or text that is read alone. changes: `data` and `plugins`, laid over what the run stored.

    Raises ConfigError where there is no such split, or its sources have their tags.
    """
    from seq2seq.config import read_data
    from seq2seq.training.run_dir import RunDir

    corpus = read_data(RunDir(Path(run).expanduser()), changes)
    source = corpus.split(split)
    if source is None:
        raise ConfigError(Problem(f"data.{split}", "there is no such split; name what it holds, or a file with input="))
    texts = {name for name, part in corpus.parts.items() if _is_text(part, split)}
    if tag is not None and corpus.tags and texts != corpus.parts.keys():
        raise ConfigError(Problem("tag", "the sources of this data have their tags already"))

    def line(example: Example) -> str:
        return example.target if corpus.place_of(example.number)[0] in texts else example.source

    lines = map(line, source.read())
    return Input(lines, False, [path.stat() for path in source.paths()], corpus)


def _is_text(corpus: Corpus, split: Split) -> bool:
    """Whether its examples have no sources, or will have some when they are loaded."""
    return corpus.source is None or (corpus.noise is not None and split == "train")


def chunks(lines: Iterator[T], size: int) -> Iterator[list[T]]:
    """The lines in lists of `size`."""
    chunk: list[T] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def chunks_as_they_come(lines: Iterator[T], size: int) -> Iterator[list[T]]:
    """At most `size` lines together: what has come when nothing more comes for a moment."""
    with closing(Ahead(lines, 4 * size)) as arrived:
        while (chunk := arrived.take(size)) is not None:
            if chunk:
                yield chunk
