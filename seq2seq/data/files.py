"""What corpora of one table a file share: which files a split has, and where in a row its texts are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from seq2seq.data.corpus import LINE_BREAK, Example, Source, Split, corpora
from seq2seq.data.line_files import file_identity
from seq2seq.data.lines import about_how_many_lines, one_line, resolve
from seq2seq.data.named_sets import NamingCorpus
from seq2seq.errors import DataError

Texts = tuple[str, str]  # source (empty where there is only a target), target


class FilesSource(Source):
    """The examples of some files, one file after the other; nothing is kept in memory."""

    def __init__(
        self,
        files: Sequence[Path],
        read_file: Callable[[Path], Iterator[Texts]],
        about: str,
        count: Callable[[Iterable[Path]], int | None] = about_how_many_lines,
    ) -> None:
        """about: all that the texts depend on beside the files.  count: about how many texts there are."""
        self.files = files
        self.read_file = read_file
        self.about = about
        self.count = count

    def about_how_many(self) -> int | None:
        return self.count(self.files)

    def identity(self) -> str:
        return f"{self.about} {file_identity(self.files)}"

    def paths(self) -> Iterable[Path]:
        return self.files

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        texts = (texts for file in self.files for texts in self.read_file(file))
        for number, (source, target) in enumerate(texts):
            if number >= start and number % shards == first:
                yield Example(source, target, number)


class TableCorpus(NamingCorpus):
    """Files of rows; each row holds the text of both languages, or of one alone.

    The constructors of its components only name their options; `read_file` is what they differ in.
    """

    def __init__(
        self,
        files: Mapping[str, str | list[str] | None],
        source: str | None,
        target: str,
        source_field: str | None,
        target_field: str | None,
    ) -> None:
        super().__init__(source, target, files)
        self.fields = both_fields(source, target, source_field, target_field)

    def count(self, paths: Iterable[Path]) -> int | None:
        """About how many rows there are, where that can be told at once."""
        return about_how_many_lines(paths)

    @abstractmethod
    def read_file(self, path: Path) -> Iterator[Texts]:
        """The texts of each row, without line breaks. Raises DataError with the file and the line or row."""

    def open_names(self, name: Split, names: list[str]) -> FilesSource | None:
        """Checks at once that every file is there, and that the first row of each can be read."""
        try:
            files = [path for pattern in names for path in matching(pattern)]
            for path in files:
                if next(self.read_file(path), None) is None:
                    raise DataError(f"{path} holds no examples")
        except DataError as error:
            raise DataError(f"{corpora.group}.{name}: {error}") from error
        options = {name: value for name, value in sorted(vars(self).items()) if not name.startswith("_")}
        return FilesSource(files, self.read_file, f"{type(self).__name__} {options}", self.count) if files else None


def both_fields(
    source: str | None, target: str, source_field: str | None, target_field: str | None
) -> tuple[str | None, str]:
    """Where to read the source, if there is one, and the target. Raises ValueError."""
    if source is None and source_field is not None:
        raise ValueError(f"source_field={source_field} has no effect without a source")
    fields = (source_field or source, target_field or target)
    if fields[0] == fields[1]:
        raise ValueError(f"source and target are both read from {fields[0]!r}")
    return fields


def matching(pattern: str) -> list[Path]:
    """The files of a name, or of a pattern such as `part-*.jsonl`, in the order of their names. Raises DataError."""
    path = Path(pattern).expanduser()
    if not has_magic(pattern) or path.exists():
        return [resolve(path)]
    found = sorted(file for name in glob(str(path), recursive=True) if (file := Path(name)).is_file())
    if not found:
        raise DataError(f"no file matches {pattern}")
    return found


def field_of(row: Mapping[str, Any], field: str, where: str, line_break: str = LINE_BREAK) -> str:
    """The text in a row's field, as one line; a dot leads into a nested row, and `translation.` may be left out.

    line_break: of the corpus. null is an empty text. Raises DataError, beginning with `where`, for a row that lacks it
    or holds no text there.
    """
    value: Any = row
    path = field.split(".") if field not in row else [field]
    if len(path) == 1 and field not in row and isinstance(row.get("translation"), Mapping):
        value = row["translation"]
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            names = ", ".join(sorted(value)) if isinstance(value, Mapping) else type(value).__name__
            raise DataError(f"{where}: no field {field!r}; there is {names or 'nothing'}")
        value = value[name]
    is_list = line_break != LINE_BREAK and isinstance(value, list) and all(isinstance(text, str) for text in value)
    if value is not None and not isinstance(value, str) and not is_list:
        raise DataError(f"{where}: {field!r} holds {str(value)[:40]!r}, not text")
    return one_line(value, line_break)
