"""The files that translations are written to: kept whole line by line, and continued where a job was killed."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO

from seq2seq.errors import FULL, ConfigError, DataError, Problem, UserError

NUMBER = re.compile(rb"(\d+) \|\|\| ")


@dataclass
class OutputFile:
    """name: for messages. start: where writing begins, in bytes; None where the end is not known, as in a pipe.

    An earlier output stays as it is until there is something to write.
    """

    name: str
    file: IO[bytes] | BinaryIO
    start: int | None = None

    @property
    def size(self) -> int:
        """In bytes, of a file."""
        return os.fstat(self.file.fileno()).st_size

    def cut(self) -> None:
        """Takes away what is written anew, once."""
        if self.start is not None:
            self.file.truncate(self.start)
            self.start = None

    def write(self, text: str, done: int) -> None:
        """done: the input lines whose output is whole. Raises UserError."""
        try:
            self.file.write(text.encode())
            self.file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())  # what is buffered would fail again at exit
            raise UserError(f"{self.name}: cannot be written ({error.strerror}) after {done:,} lines") from error


def open_new(key: str, name: str, others: Sequence[tuple[str, os.stat_result]], stack: ExitStack) -> OutputFile:
    """Opens the file that a key names, until the stack ends. others: what they are, and files that it must not be.

    Raises ConfigError where it is one of them, or cannot be written, and UserError where the disk is full.
    """
    path = Path(name).expanduser()
    is_new = not path.exists()
    if not is_new:
        for what, other in others:
            if stat.S_ISREG(other.st_mode) and os.path.samestat(other, path.stat()):
                raise ConfigError(Problem(key, f"{path} is the {what}; name another file"))
    try:
        file = stack.enter_context(path.open("ab"))
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"{path}: {error.strerror}") from error
        raise ConfigError(Problem(key, f"{path}: cannot be written ({error.strerror})")) from error
    if is_new:  # a fault before the first line leaves no empty file
        stack.push(lambda kind, *_: path.unlink() if kind and not path.stat().st_size else None)
    return OutputFile(name, file, 0 if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None)


def keep_settings(output: OutputFile, settings: Mapping[str, Any]) -> None:
    """Beside an output while it is not whole, so that it is continued with the same. Left out where it cannot be."""
    with suppress(OSError):
        _settings_file(output).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def check_settings(output: OutputFile, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError where the output was begun with others."""
    try:
        begun = json.loads(_settings_file(output).read_bytes())
        keys = sorted(begun.keys() | settings.keys())
    except (OSError, ValueError, AttributeError):  # it is whole, or of an older version
        return
    given = json.loads(json.dumps(settings))
    problems = [
        Problem(key, f"was {_shown(begun.get(key))}, but is {_shown(given.get(key))}")
        for key in keys
        if begun.get(key) != given.get(key)
    ]
    if problems:
        told = f"{output.name} was begun with other settings: without resume=true it is written anew"
        raise ConfigError(told, *problems)


def forget_settings(output: OutputFile) -> None:
    with suppress(OSError):
        _settings_file(output).unlink(missing_ok=True)


def _settings_file(output: OutputFile) -> Path:
    path = Path(output.name).expanduser()
    return path.with_name(f".{path.name}.begun")


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)


def continue_after(output: OutputFile, attention: OutputFile | None, copy: OutputFile | None, nbest: bool) -> int:
    """Sets all to the end of the last input line that is whole in each, and returns how many such lines there are.

    attention has a line for each of output's, copy one for each input line. nbest: lines of output begin with the
    number of their input line; as the last one's may be incomplete, it is done again. Raises DataError for an output of
    another kind.
    """
    room, copied = (None if file is None else sum(1 for _ in _whole_lines(file)) for file in (attention, copy))
    done, num_lines, output.start = 0, 0, 0
    current = -1
    for num_before, (begin, line, end) in enumerate(_whole_lines(output)):
        if nbest:
            found = NUMBER.match(line)
            if found is None or int(found[1]) not in (current, current + 1):
                told = "does not fit an n-best list, so there is nothing to continue"
                raise DataError(f"{output.name}, line {num_before + 1}: {told}")
            if int(found[1]) == current:
                continue
            current = int(found[1])
            candidate = (current, num_before, begin)
        else:
            candidate = (num_before + 1, num_before + 1, end)
        if (room is None or candidate[1] <= room) and (copied is None or candidate[0] <= copied):
            done, num_lines, output.start = candidate
    for file, count in ((attention, num_lines), (copy, done)):
        if file is not None:
            file.start = max((end for _, _, end in islice(_whole_lines(file), count)), default=0)
    return done


def _whole_lines(output: OutputFile) -> Iterator[tuple[int, bytes, int]]:
    """The place where each begins, the line with its end, and the place behind it."""
    begin = 0
    with Path(output.name).expanduser().open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield begin, line, begin + len(line)
                begin += len(line)
