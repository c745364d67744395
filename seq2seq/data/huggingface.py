"""Data sets of the Hugging Face hub, and local folders of the same layout."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.data.corpus import Corpus, Example, IndexedSource, Split, corpora
from seq2seq.errors import DataError

if TYPE_CHECKING:
    import datasets

CHUNK = 4096  # rows that are fetched together: one by one takes minutes for a large corpus


class HuggingFaceSource(IndexedSource):
    """One split. The texts stay on disk, mapped into memory."""

    def __init__(self, dataset: datasets.Dataset, column: str | None, source: str | None, target: str) -> None:
        """Texts are in the fields `source` and `target` of `column`, or in columns of these names where it is None."""
        self._dataset = dataset.with_format("arrow")
        self._column = column
        self._source = source
        self._target = target

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> Example:
        if not 0 <= number < len(self):
            raise IndexError(f"example {number} of {len(self)}")
        return next(self._rows(number, number + 1))

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        for begin in range(start, len(self), CHUNK):
            for example in self._rows(begin, min(begin + CHUNK, len(self))):
                if example.number % shards == first:
                    yield example

    def _rows(self, begin: int, end: int) -> Iterator[Example]:
        table = self._dataset[begin:end]
        sources, targets = self._texts(table, self._source), self._texts(table, self._target)
        for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=begin):
            yield Example(_one_line(source), _one_line(target), number)

    def _texts(self, table: Any, language: str | None) -> list[str | None]:
        import pyarrow.compute

        if language is None:
            return [None] * len(table)
        if self._column is None:
            texts: list[str | None] = table[language].to_pylist()
        else:
            texts = pyarrow.compute.struct_field(table[self._column], language).to_pylist()
        return texts


@corpora.register("huggingface")
class HuggingFace(Corpus):
    """A data set of the Hugging Face hub, or a local folder: the hub's files, or what `save_to_disk` wrote.

    Options:
        path: name on the hub, for example wmt/wmt14, or a local folder
        subset: configuration of the data set; null finds <source>-<target> or <target>-<source>
        source: language of the source, as named in the data set; null for text alone
        target: language of the target, as named in the data set; of text alone also a column's name
        train: split to train on, a part of it as in train[:10000], null for none
        validation: split (or part) to validate on, null for none
        test: split (or part) to test on, null for none
        column: column with a text for each language; without it, columns named as the languages
    """

    test_is_apart = True

    def __init__(
        self,
        *,
        path: str,
        subset: str | None = None,
        source: str | None,
        target: str,
        train: str | None = "train",
        validation: str | None = "validation",
        test: str | None = "test",
        column: str = "translation",
    ) -> None:
        if source == target:
            raise ValueError(f"source and target are both {source!r}, but must be two languages")
        self.source = source
        self.target = target
        self._path = path
        self._subset = subset
        self._column = column
        self._specs: dict[Split, str | None] = {"train": train, "validation": validation, "test": test}
        self._opened: dict[str, datasets.Dataset] | None = None

    def split(self, name: Split) -> HuggingFaceSource | None:
        """The first call downloads what the cache does not hold."""
        spec = self._specs[name]
        if spec is None:
            return None
        if self._opened is None:
            self._opened = self._open()
        dataset = _part(self._opened, spec, self._path, f"{corpora.group}.{name}")
        return HuggingFaceSource(dataset, self._find_column(dataset), self.source, self.target)

    def _open(self) -> dict[str, datasets.Dataset]:
        """All splits by name."""
        try:
            import datasets
        except ImportError as error:
            raise DataError(f"{corpora.group}: the library `datasets` is missing: pip install datasets") from error

        folder = Path(self._path).expanduser()
        key = f"{corpora.group}.path"
        try:
            with _quiet():
                if not folder.is_dir():
                    return self._load(self._path)
                if (folder / "dataset_dict.json").exists():
                    return dict(datasets.load_from_disk(str(folder)))
                if (folder / "state.json").exists():
                    only = datasets.load_from_disk(str(folder))
                    return {str(only.split or "train"): only}
                return self._load(str(folder.resolve()))
        except DataError:
            raise
        except ConnectionError as error:
            raise DataError(
                f"{key}: there is no folder {self._path}, and the Hugging Face hub cannot be reached; "
                f"{key}=FOLDER reads a local copy"
            ) from error
        except Exception as error:  # whatever the library raises, from broken files to refused access
            raise DataError(f"{key}: cannot load {self._path}: {_first_line(error)}") from error

    def _load(self, path: str) -> dict[str, datasets.Dataset]:
        """From the hub or its layout. A folder of a subset's name counts as that subset."""
        import datasets

        pair = [f"{self.source}-{self.target}", f"{self.target}-{self.source}"] if self.source else [self.target]
        wanted = [self._subset] if self._subset is not None else pair
        known: list[str] = datasets.get_dataset_config_names(path)
        for name in wanted:
            if name in known:
                return dict(datasets.load_dataset(path, name))
            if Path(path, name).is_dir():
                return dict(datasets.load_dataset(str(Path(path, name))))
        if known == ["default"] and not Path(path).is_dir():
            # Out of reach of the hub, the names of the cached subsets are only found by trying.
            return dict(datasets.load_dataset(path, next((name for name in wanted if _has(path, name)), self._subset)))
        if self._subset is None and len(known) == 1:
            return dict(datasets.load_dataset(path))
        missing = repr(self._subset) if self._subset is not None else " or ".join(pair)
        raise DataError(
            f"{corpora.group}.subset: {self._path} has no subset {missing}; it has {', '.join(sorted(known))}"
        )

    def _find_column(self, dataset: datasets.Dataset) -> str | None:
        """The column that holds both languages, None where each has a column of its own."""
        import pyarrow

        column: str | None = self._column
        schema = dataset.features.arrow_schema
        if column in schema.names:
            field = schema.field(column).type
            where = f"column {column!r} of {self._path}"
            if not pyarrow.types.is_struct(field):
                raise DataError(f"{corpora.group}.column: {where} holds {field}, not a text for each language")
        elif self.source in schema.names or self.target in schema.names:
            column, field, where = None, schema, self._path
        else:
            raise DataError(
                f"{corpora.group}.column: {self._path} has no column {column!r}; it has {', '.join(schema.names)}"
            )
        fields = {member.name: member.type for member in field}
        for key, language in (("source", self.source), ("target", self.target)):
            if language is None:
                continue
            if language not in fields:
                raise DataError(f"{corpora.group}.{key}: {where} has no {language!r}; it has {', '.join(fields)}")
            if not _is_text(fields[language]):
                raise DataError(f"{corpora.group}.{key}: {where} holds {fields[language]} in {language!r}, not text")
        return column


def _has(path: str, name: str) -> bool:
    import datasets

    try:
        datasets.load_dataset_builder(path, name)
    except ValueError:
        return False
    return True


def _part(splits: dict[str, datasets.Dataset], spec: str, path: str, key: str) -> datasets.Dataset:
    """A split or a part of one, for example `train[:10%]+validation`."""
    import datasets

    sizes = {name: len(dataset) for name, dataset in splits.items()}
    try:
        parts = datasets.ReadInstruction.from_spec(spec).to_absolute(sizes)
    except (AssertionError, ValueError) as error:
        raise DataError(
            f"{key}: {spec!r} is neither a split of {path} nor a part of one; it has {', '.join(sizes)} "
            f"({key}=null does without)"
        ) from error
    dataset = datasets.concatenate_datasets(
        [splits[part.splitname].select(range(part.from_, max(part.from_, part.to))) for part in parts]
    )
    if not len(dataset):
        raise DataError(f"{key}: {spec} of {path} holds no examples")
    return dataset


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, and no progress bars unless stderr is a terminal: in a log file each move would be a line."""
    import datasets

    verbosity = datasets.logging.get_verbosity()
    hide_bars = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    if hide_bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if hide_bars:
            datasets.enable_progress_bars()


def _is_text(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_null(kind))


def _one_line(text: str | None) -> str:
    if text is None:
        return ""
    return re.sub(r"[\r\n]+", " ", text.strip("\r\n")) if "\n" in text or "\r" in text else text


def _first_line(error: BaseException) -> str:
    """What the library says; its general errors keep the reason in their cause."""
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return text.splitlines()[0]
