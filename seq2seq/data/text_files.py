"""Parallel text files, where line n of one is the translation of line n of the other; or text files alone."""

from __future__ import annotations

from pathlib import Path

from seq2seq.data.corpus import Split, corpora
from seq2seq.data.line_files import TextFileSource
from seq2seq.data.lines import byte_lines, resolve
from seq2seq.data.named_sets import NamingCorpus
from seq2seq.errors import DataError


@corpora.register("text_files")
class TextFiles(NamingCorpus):
    """Text files of the user: PREFIX.<source> and PREFIX.<target>, one example a line, plain or `.gz`.

    With source=null only PREFIX.<target> is read, for language models.

    Options:
        train: prefix of the training files, or a list of prefixes read one after the other
        validation: prefix (or prefixes) of the validation files, or a test set as in sacrebleu:wmt13; null for none
        test: prefix (or prefixes) of the test files, or a test set as in sacrebleu:wmt14/full; null for none
        source: language of the source, the file name ending after PREFIX and a dot; null for none
        target: language of the target, the file name ending after PREFIX and a dot
        source_suffix: another ending of the source's files than the language
        target_suffix: another ending of the target's files than the language, summary for example
    """

    def __init__(
        self,
        *,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        source: str | None,
        target: str,
        source_suffix: str | None = None,
        target_suffix: str | None = None,
    ) -> None:
        if source is None and source_suffix is not None:
            raise ValueError(f"source_suffix={source_suffix} has no effect without a source")
        suffixes = source_suffix or source, target_suffix or target
        if suffixes[0] == suffixes[1]:
            told = f"source and target are both {suffixes[0]!r}: they name the two files of each prefix"
            raise ValueError(f"{told}; within one language give target_suffix, as in target_suffix=summary")
        names = {"train": train or None, "validation": validation or None, "test": test or None}
        super().__init__(source, target, names)
        self._suffixes = suffixes

    def open_names(self, name: Split, names: list[str]) -> TextFileSource:
        """Checks at once that every file is there, can be opened and is not empty."""
        try:
            source, target = self._suffixes
            return TextFileSource([(_open(p, source) if source else None, _open(p, target)) for p in names])
        except DataError as error:
            raise DataError(f"{corpora.group}.{name}: {error}") from error


def _open(prefix: str, suffix: str) -> Path:
    path = resolve(Path(f"{prefix}.{suffix}").expanduser())
    if next(byte_lines(path), None) is None:
        raise DataError(f"{path} is empty")
    return path
