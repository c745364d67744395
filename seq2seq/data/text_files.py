"""Parallel text files, where line n of one is the translation of line n of the other; or text files alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from seq2seq.data.corpus import Corpus, Example, Source, Split, corpora
from seq2seq.data.files import file_identity, listed
from seq2seq.data.lines import about_how_many_lines, byte_lines, decode_line, resolve
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


@corpora.register("text_files")
class TextFiles(Corpus):
    """Text files of the user: PREFIX.<source> and PREFIX.<target>, one example a line, plain or `.gz`.

    With source=null only PREFIX.<target> is read, for language models.

    Options:
        train: prefix of the training files, or a list of prefixes read one after the other
        validation: prefix (or prefixes) of the validation files, null for none
        test: prefix (or prefixes) of the test files, null for none
        source: language of the source, the file name ending after PREFIX and a dot; null for none
        target: language of the target, the file name ending after PREFIX and a dot
        source_suffix: another ending of the source's files than the language
        target_suffix: another ending of the target's files than the language, summary for example
    """

    test_is_apart = True

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
        self.source = source
        self.target = target
        self._suffixes = suffixes
        self._prefixes: dict[Split, list[str]] = {
            "train": listed(train or []),
            "validation": listed(validation or []),
            "test": listed(test or []),
        }

    def split(self, name: Split) -> TextFileSource | None:
        """Checks at once that every file is there, can be opened and is not empty."""
        prefixes = self._prefixes[name]
        if not prefixes:
            return None
        try:
            source, target = self._suffixes
            return TextFileSource([(_open(p, source) if source else None, _open(p, target)) for p in prefixes])
        except DataError as error:
            raise DataError(f"{corpora.group}.{name}: {error}") from error


def _open(prefix: str, suffix: str) -> Path:
    path = resolve(Path(f"{prefix}.{suffix}").expanduser())
    if next(byte_lines(path), None) is None:
        raise DataError(f"{path} is empty")
    return path


def _pairs(source: Path, target: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        yield from zip(byte_lines(source), byte_lines(target), strict=True)
    except ValueError as error:
        counts = [sum(1 for _ in byte_lines(path)) for path in (source, target)]
        raise DataError(
            f"{source} has {counts[0]:,} lines, {target} has {counts[1]:,}: line n of one must translate line n of "
            "the other"
        ) from error
