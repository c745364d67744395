"""Data sets of the Hugging Face hub, and local folders of the same layout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.data.corpus import LINE_BREAK, Example, IndexedSource, Source, Split, corpora
from seq2seq.data.fields import FieldError, find_field, texts_of
from seq2seq.data.files import both_fields
from seq2seq.data.named_sets import NamingCorpus
from seq2seq.errors import DataError

if TYPE_CHECKING:
    import datasets

CHUNK = 4096  # rows that are fetched together: one by one takes minutes for a large corpus


@dataclass(frozen=True)
class Fields:
    """paths: to the texts of the source, if there is one, and of the target.  line_break: the corpus's."""

    paths: tuple[list[str] | None, list[str]]
    line_break: str

    def __str__(self) -> str:
        return str(self.paths) if self.line_break == LINE_BREAK else f"{self.paths} {self.line_break}"


class HuggingFaceSource(IndexedSource):
    """One split. The texts stay on disk, mapped into memory."""

    def __init__(self, dataset: datasets.Dataset, fields: Fields) -> None:
        self._dataset = dataset.with_format("arrow")
        self._fields = fields

    def identity(self) -> str:
        return f"{self._dataset._fingerprint} {self._fields}"

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> Example:
        if not 0 <= number < len(self):
            raise IndexError(f"example {number} of {len(self)}")
        return next(_examples(self._dataset[number : number + 1], self._fields, number))

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        for begin in range(start, len(self), CHUNK):
            for example in _examples(self._dataset[begin : begin + CHUNK], self._fields, begin):
                if example.number % shards == first:
                    yield example


class StreamedSource(Source):
    """One split that is fetched while it is read, and never kept as a whole."""

    def __init__(self, dataset: datasets.IterableDataset, fields: Fields) -> None:
        self._dataset = dataset
        self._fields = fields

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        number = start
        with _told(f"{corpora.group}.path"):
            for table in self._dataset.skip(start).with_format("arrow").iter(CHUNK):
                for example in _examples(table, self._fields, number):
                    if example.number % shards == first:
                        yield example
                number += table.num_rows


def _examples(table: Any, fields: Fields, number: int) -> Iterator[Example]:
    """number: of the first row."""
    sources, targets = (texts_of(table, path, fields.line_break) for path in fields.paths)
    for offset, (source, target) in enumerate(zip(sources, targets, strict=True)):
        yield Example(source, target, number + offset)


@corpora.register("huggingface")
class HuggingFace(NamingCorpus):
    """A data set of the Hugging Face hub, or a local folder: the hub's files, or what `save_to_disk` wrote.

    Options:
        path: name on the hub, for example wmt/wmt14, or a local folder
        subset: configuration of the data set; null finds <source>-<target> or <target>-<source>
        revision: branch, tag or commit on the hub; refs/convert/parquet holds the files of data sets that need code to
            load, each subset in a folder
        folder: only the files in this folder of the data set, in the place of a subset
        source: language of the source; null for text alone
        target: language of the target
        source_field: column of the source, nested ones as in `translation.en`; null takes the language's name, there or
            in a column `translation`
        target_field: column of the target; null takes the language's name
        train: split to train on, a part of it as in train[:10000], null for none
        validation: split (or part) to validate on, or a test set as in sacrebleu:wmt13; null for none
        test: split (or part) to test on, or a test set as in sacrebleu:wmt14/full; null for none
        streaming: fetch while reading, and keep no copy; parts of splits are not possible
    """

    def __init__(
        self,
        *,
        path: str,
        subset: str | None = None,
        revision: str | None = None,
        folder: str | None = None,
        source: str | None,
        target: str,
        source_field: str | None = None,
        target_field: str | None = None,
        train: str | None = "train",
        validation: str | list[str] | None = "validation",
        test: str | list[str] | None = "test",
        streaming: bool = False,
    ) -> None:
        if subset is not None and folder is not None:
            raise ValueError(f"subset={subset} and folder={folder} are both given, but one of them says what is meant")
        super().__init__(source, target, {"train": train, "validation": validation, "test": test})
        self._fields = both_fields(source, target, source_field, target_field)
        self._path = path
        self._subset = subset
        self._options: dict[str, Any] = {"revision": revision, "data_dir": folder, "streaming": streaming}
        self._opened: dict[str, Any] | None = None

    def open_names(self, name: Split, names: list[str]) -> HuggingFaceSource | StreamedSource:
        """The first call downloads what the cache does not hold."""
        spec = "+".join(names)
        if self._opened is None:
            self._opened = self._open()
        key = f"{corpora.group}.{name}"
        if self._options["streaming"]:
            streamed = _streamed(self._opened, spec, self._path, key)
            return StreamedSource(streamed, self._find_fields(streamed))
        dataset = _part(self._opened, spec, self._path, key)
        return HuggingFaceSource(dataset, self._find_fields(dataset))

    def _open(self) -> dict[str, Any]:
        """All splits by name."""
        try:
            import datasets
        except ImportError as error:
            raise DataError(f"{corpora.group}: the library `datasets` is missing: pip install datasets") from error

        folder = Path(self._path).expanduser()
        with _told(f"{corpora.group}.path", self._path), _quiet():
            if not folder.is_dir():
                return self._load(self._path)
            if (folder / "dataset_dict.json").exists():
                return self._kept_whole(dict(datasets.load_from_disk(str(folder))))
            if (folder / "state.json").exists():
                only = datasets.load_from_disk(str(folder))
                return self._kept_whole({str(only.split or "train"): only})
            return self._load(str(folder.resolve()))

    def _kept_whole(self, splits: dict[str, datasets.Dataset]) -> dict[str, Any]:
        """What save_to_disk wrote lies there as it is."""
        if not self._options["streaming"]:
            return splits
        return {name: dataset.to_iterable_dataset() for name, dataset in splits.items()}

    def _load(self, path: str) -> dict[str, Any]:
        """From the hub or its layout. A folder of a subset's name counts as that subset."""
        import datasets

        if self._options["data_dir"] is not None:
            return dict(datasets.load_dataset(path, **self._options))
        pair = [f"{self.source}-{self.target}", f"{self.target}-{self.source}"] if self.source else [self.target]
        wanted = [self._subset] if self._subset is not None else pair
        options = {name: value for name, value in self._options.items() if value}
        known: list[str] = datasets.get_dataset_config_names(path, revision=self._options["revision"])
        for name in wanted:
            if name in known:
                return dict(datasets.load_dataset(path, name, **options))
            if Path(path, name).is_dir():
                return dict(datasets.load_dataset(str(Path(path, name)), **options))
        if known == ["default"] and not Path(path).is_dir():
            # Out of reach of the hub, the names of the cached subsets are only found by trying.
            cached = next((name for name in wanted if _has(path, name)), self._subset)
            return dict(datasets.load_dataset(path, cached, **options))
        if self._subset is None and len(known) == 1:
            return dict(datasets.load_dataset(path, **options))
        missing = repr(self._subset) if self._subset is not None else " or ".join(pair)
        raise DataError(
            f"{corpora.group}.subset: {self._path} has no subset {missing}; it has {', '.join(sorted(known))}"
        )

    def _find_fields(self, dataset: Any) -> Fields:
        if dataset.features is not None:
            schema = dataset.features.arrow_schema
        else:  # of a stream they may not be known before the first row
            schema = next(iter(dataset.with_format("arrow").iter(1))).schema
        found: list[list[str] | None] = []
        for side, field in zip(("source", "target"), self._fields, strict=True):
            try:
                found.append(None if field is None else find_field(schema, field, self.line_break))
            except FieldError as error:
                raise DataError(f"{corpora.group}.{side}_field: {self._path}: {error}") from error
        source, target = found
        assert target is not None
        return Fields((source, target), self.line_break)


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


def _streamed(splits: dict[str, datasets.IterableDataset], spec: str, path: str, key: str) -> datasets.IterableDataset:
    import datasets

    names = spec.split("+")
    unknown = [name for name in names if name not in splits]
    if unknown:
        raise DataError(
            f"{key}: {unknown[0]!r} is no split of {path}, which has {', '.join(splits)}; with streaming=true "
            "only whole splits can be read"
        )
    return datasets.concatenate_datasets([splits[name] for name in names]) if len(names) > 1 else splits[spec]


@contextmanager
def _told(key: str, path: str | None = None) -> Iterator[None]:
    """Whatever the library raises, from broken files to refused access, as DataError."""
    try:
        yield
    except DataError:
        raise
    except ConnectionError as error:
        what = f"there is no folder {path}, and the" if path is not None else "the"
        raise DataError(f"{key}: {what} Hugging Face hub cannot be reached; {key}=FOLDER reads a local copy") from error
    except Exception as error:
        what = f"cannot load {path}" if path is not None else "cannot go on reading"
        raise DataError(f"{key}: {what}: {_first_line(error)}") from error


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


def _first_line(error: BaseException) -> str:
    """What the library says; its general errors keep the reason in their cause."""
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return text.splitlines()[0]
