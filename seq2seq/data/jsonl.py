"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from seq2seq.data.corpus import corpora
from seq2seq.data.files import TableCorpus, Texts, field_of
from seq2seq.data.lines import byte_lines, decode_line
from seq2seq.errors import DataError


@corpora.register("jsonl")
class JsonLines(TableCorpus):
    """Files of JSON objects, one a line, plain or `.gz`, with the texts in fields of any depth.

    Options:
        train: training file, a pattern such as `data/*.jsonl.gz`, or a list of them
        validation: validation file (or files), or a test set as in sacrebleu:wmt13; null for none
        test: test file (or files), or a test set as in sacrebleu:wmt14/full; null for none
        source: language of the source; null for text alone
        target: language of the target
        source_field: field of the source, nested ones as in `translation.en`; null takes the language's name
        target_field: field of the target; null takes the language's name
    """

    def __init__(
        self,
        *,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        source: str | None,
        target: str,
        source_field: str | None = None,
        target_field: str | None = None,
    ) -> None:
        files = {"train": train, "validation": validation, "test": test}
        super().__init__(files, source, target, source_field, target_field)

    def read_file(self, path: Path) -> Iterator[Texts]:
        """Lines of nothing but white space are passed over."""
        source_field, target_field = self.fields
        for number, line in enumerate(byte_lines(path), start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(decode_line(line, str(path), number))
            except json.JSONDecodeError as error:
                raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
            if not isinstance(row, dict):
                raise DataError(f'{where}: a JSON object is needed, as in {{"en": ..., "de": ...}}')
            source = field_of(row, source_field, where, self.line_break) if source_field is not None else ""
            target = field_of(row, target_field, where, self.line_break)
            if b"\\u" in line:
                _check_characters(source + target, where)
            yield source, target


def _check_characters(text: str, where: str) -> None:
    """Raises DataError for an escape that is one half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {text[error.start]!a} is half of a character") from error
