"""Tables as text: tab-separated lines, and CSV with quotes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from seq2seq.data.corpus import corpora
from seq2seq.data.files import TableCorpus, Texts
from seq2seq.data.lines import byte_lines, decode_line, one_line
from seq2seq.errors import DataError

csv.field_size_limit(2**31 - 1)  # texts may be longer than Python's default of 131,072 characters


@corpora.register("tsv")
class Tsv(TableCorpus):
    """Files of lines with tabs between the columns, plain or `.gz`; quotes are text like any other.

    Options:
        train: training file, a pattern such as `data/*.tsv.gz`, or a list of them
        validation: validation file (or files), or a test set as in sacrebleu:wmt13; null for none
        test: test file (or files), or a test set as in sacrebleu:wmt14/full; null for none
        source: language of the source; null for text alone
        target: language of the target
        header: whether the first line of each file names the columns
        source_field: column of the source: its name, or its number from 1; null takes the language's name, or 1 without
            a header
        target_field: column of the target; null takes the language's name, or without a header 2 (of text alone 1)
    """

    def __init__(
        self,
        *,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        source: str | None,
        target: str,
        header: bool = False,
        source_field: str | int | None = None,
        target_field: str | int | None = None,
    ) -> None:
        files = {"train": train, "validation": validation, "test": test}
        super().__init__(files, source, target, *_columns(source, header, source_field, target_field))
        self.header = header

    def read_file(self, path: Path) -> Iterator[Texts]:
        rows = (decode_line(line, str(path), n).split("\t") for n, line in enumerate(byte_lines(path), start=1))
        return _texts(enumerate(rows, start=1), self.fields, self.header, path, self.line_break)


@corpora.register("csv")
class Csv(TableCorpus):
    """Files of comma-separated values with quotes (RFC 4180), plain or `.gz`; a quoted text may span lines.

    Options:
        train: training file, a pattern such as `data/*.csv`, or a list of them
        validation: validation file (or files), or a test set as in sacrebleu:wmt13; null for none
        test: test file (or files), or a test set as in sacrebleu:wmt14/full; null for none
        source: language of the source; null for text alone
        target: language of the target
        header: whether the first line of each file names the columns
        source_field: column of the source: its name, or its number from 1; null takes the language's name, or 1 without
            a header
        target_field: column of the target; null takes the language's name, or without a header 2 (of text alone 1)
        delimiter: character between the columns
    """

    def __init__(
        self,
        *,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        source: str | None,
        target: str,
        header: bool = True,
        source_field: str | int | None = None,
        target_field: str | int | None = None,
        delimiter: str = ",",
    ) -> None:
        if len(delimiter) != 1:
            raise ValueError(f"delimiter is {delimiter!r}, but must be one character")
        files = {"train": train, "validation": validation, "test": test}
        super().__init__(files, source, target, *_columns(source, header, source_field, target_field))
        self.header = header
        self.delimiter = delimiter

    def read_file(self, path: Path) -> Iterator[Texts]:
        return _texts(self._rows(path), self.fields, self.header, path, self.line_break)

    def _rows(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Each with the number of its first line."""
        lines = (decode_line(line, str(path), n) + "\n" for n, line in enumerate(byte_lines(path), start=1))
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        first = 1
        try:
            for row in reader:
                if row:
                    yield first, row
                first = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}, line {first}: not CSV: {error}") from error


def _columns(
    source: str | None, header: bool, source_field: str | int | None, target_field: str | int | None
) -> tuple[str | None, str | None]:
    """Numbers are kept as text: a name may look like one only where there is no header."""
    if not header:
        if source is not None and source_field is None:
            source_field = 1
        if target_field is None:
            target_field = 1 if source is None else 2
    for name, field in (("source_field", source_field), ("target_field", target_field)):
        if not header and field is not None and not (str(field).isdecimal() and int(field) > 0):
            raise ValueError(f"{name} is {field!r}: without header=true columns have numbers, the first is 1")
    return tuple(None if field is None else str(field) for field in (source_field, target_field))  # type: ignore[return-value]


def _texts(
    rows: Iterator[tuple[int, list[str]]], fields: tuple[str | None, str], header: bool, path: Path, line_break: str
) -> Iterator[Texts]:
    """rows: with the numbers of their lines, the header among them."""
    names: list[str] | None = None
    if header:
        number, names = next(rows, (1, []))
    columns = [None if field is None else _position(field, names, path) for field in fields]
    needed = 1 + max(column for column in columns if column is not None)
    for number, row in rows:
        if len(row) < needed:
            told = f"{len(row)} column{'s' if len(row) != 1 else ''}, but {needed} are needed"
            raise DataError(f"{path}, line {number}: {told}")
        source, target = ("" if column is None else one_line(row[column], line_break) for column in columns)
        yield source, target


def _position(field: str, names: Sequence[str] | None, path: Path) -> int:
    """The column's index, from 0."""
    if names is not None and field in names:
        return names.index(field)
    if field.isdecimal() and int(field) > 0:
        return int(field) - 1
    raise DataError(f"{path}, line 1: no column {field!r}; the header has {', '.join(names or ())}")
