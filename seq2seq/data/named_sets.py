"""Test sets by name: those that sacrebleu knows, in the place of files."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sys
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from seq2seq.data.corpus import Corpus, Source, Split
from seq2seq.data.line_files import TextFileSource, listed
from seq2seq.data.scripts import code_of
from seq2seq.errors import ConfigError, DataError, Problem, suggest

log = logging.getLogger(__name__)

PREFIX = "sacrebleu:"


class NamingCorpus(Corpus):
    """Its splits are named by options; what is called `sacrebleu:NAME` is a test set, whatever its own names mean."""

    test_is_apart = True

    def __init__(self, source: str | None, target: str, names: Mapping[str, str | list[str] | None]) -> None:
        self.source = source
        self.target = target
        self._names = names

    @abstractmethod
    def open_names(self, name: Split, names: list[str]) -> Source | None:
        """A split, by the names that its option holds. Raises DataError, naming the key."""

    def split(self, name: Split) -> Source | None:
        """Raises ConfigError for a set that sacrebleu does not know, DataError for one that cannot be fetched."""
        given = self._names[name]
        if given is None:
            return None
        sets = [one.removeprefix(PREFIX) for one in listed(given) if one.startswith(PREFIX)]
        if not sets:
            return self.open_names(name, listed(given))
        key = self.key(name)
        if len(sets) < len(listed(given)):
            raise ConfigError(Problem(key, f"has names with and without {PREFIX}: all of a list must be of one kind"))
        if self.source is None:
            raise ConfigError(Problem(key, f"{PREFIX}{sets[0]} is pairs of sentences, but the data has no source"))
        try:
            return TextFileSource([_files_of(one, self.source, self.target) for one in sets])
        except ValueError as error:
            raise ConfigError(Problem(key, str(error))) from error
        except DataError as error:
            raise DataError(f"{key}: {error}") from error


def _files_of(name: str, source: str, target: str) -> tuple[Path, Path]:
    """The lines of the source and of the first reference. Raises ValueError for what sacrebleu does not know."""
    from sacrebleu.dataset import DATASETS

    pairs = list(dict.fromkeys([f"{source}-{target}", f"{code_of(source)}-{code_of(target)}"]))
    known = DATASETS[name].langpairs if name in DATASETS else None
    if known is None:
        fitting = [other for other, found in DATASETS.items() if not found.langpairs.keys().isdisjoint(pairs)]
        raise ValueError(f"sacrebleu knows no test set '{name}'; {suggest(name, fitting or DATASETS)}")
    pair = next((pair for pair in pairs if pair in known), None)
    if pair is None:
        raise ValueError(f"sacrebleu's {name} is not of {pairs[-1]}, but of {', '.join(sorted(known))}")
    lines, references = _fetched(name, pair)
    if len(references) > 1:
        log.info("%s has %d references, of which the first is taken: %s", name, len(references), references[0].name)
    return lines, references[0]


@cache
def _fetched(name: str, pair: str) -> tuple[Path, Sequence[Path]]:
    """The file of the source and those of the references, made by sacrebleu in its cache. Raises DataError."""
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import extract_tarball

    dataset = DATASETS[name]
    try:
        with _alone(Path(dataset._outdir)), _quiet():
            try:
                source, references = _made(dataset, pair)
            except FileNotFoundError:  # of an archive that was put there by hand, which sacrebleu does not open
                if _fault(dataset, "") is not None:
                    raise
                for _, archive, _ in _archives(dataset):
                    extract_tarball(str(archive), dataset._rawdir)
                source, references = _made(dataset, pair)
    except (Exception, SystemExit) as error:  # it ends the process where a sum is wrong
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = "its certificate is not trusted" if isinstance(error, SystemExit) else reason
        told = _fault(dataset, reason) or f"sacrebleu cannot read it in {dataset._rawdir} ({reason})"
        raise DataError(f"{name}: {told}") from error
    if not references:
        raise DataError(f"{name} has no reference for {pair}")
    return source, references


def _made(dataset: Any, pair: str) -> tuple[Path, Sequence[Path]]:
    references = [Path(file) for file in dataset.get_reference_files(pair)]
    return Path(dataset.get_source_file(pair)), references


def _fault(dataset: Any, reason: str) -> str | None:
    """What is wrong with the archives that a set is made of. reason: why one is not there."""
    from sacrebleu.utils import get_md5sum

    for url, path, expected in _archives(dataset):
        if not path.is_file() or not path.stat().st_size:
            return f"{url} cannot be fetched ({reason}); by hand, put it there as {path}"
        if expected is not None and get_md5sum(path) != expected:
            return f"{path} is not {url} as sacrebleu knows it (another MD5 sum): delete it, or put the right one there"
    return None


def _archives(dataset: Any) -> Iterator[tuple[str, Path, str | None]]:
    """Addresses, where their files belong, and their MD5 sums."""
    for url, expected in zip(dataset.data, dataset.md5 or [None] * len(dataset.data), strict=True):
        yield url, Path(dataset._rawdir, dataset._get_tarball_filename(url)), expected


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of several ranks and runs, one after the other: who looks before the first has written sees half of a file."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a cache that cannot be written, and a file system without locks
            folder.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context((folder / ".lock").open("w")), fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on stdout, which holds results only, and no complaints but our own."""
    logger = logging.getLogger("sacrebleu")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
