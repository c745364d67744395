"""Corpora that make other examples of those of a corpus that is one of their options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from seq2seq.data.corpus import Corpus, Example, Source, Split, corpora
from seq2seq.errors import ConfigError, DataError


class WrappingCorpus(Corpus):
    """part: the option that is a corpus; what is wrong there is told by its own keys, such as `data.text.train`."""

    part: ClassVar[str]

    def __init__(self, inner: Corpus) -> None:
        """Raises ValueError for a mixture."""
        if inner.is_mixed:
            raise ValueError(f"{self.part} is a mixture: mix such corpora as this one instead")
        self.test_is_apart = inner.test_is_apart
        self._inner = inner

    @abstractmethod
    def wrapped(self, source: Source, name: Split) -> Source:
        """A split, made of the inner corpus's."""

    def key(self, option: str) -> str:
        return key_within(self.part, self._inner.key(option))

    def split(self, name: Split) -> Source | None:
        source = self.plain_split(name)
        return None if source is None else self.wrapped(source, name)

    def plain_split(self, name: Split) -> Source | None:
        with told_within(self.part):
            source = self._inner.split(name)
        return None if source is None else Within(source, self.part)


class WrappingSource(Source):
    """about: all that its examples depend on beside those of the inner source."""

    def __init__(self, inner: Source, about: str) -> None:
        self.inner = inner
        self.about = about

    def about_how_many(self) -> int | None:
        return self.inner.about_how_many()

    def identity(self) -> str | None:
        inner = self.inner.identity()
        return None if inner is None else f"{self.about} of {inner}"

    def paths(self) -> Iterable[Path]:
        return self.inner.paths()


class Within(WrappingSource):
    """The source of a corpus that is an option, but for the keys in what it tells."""

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        with told_within(self.about):
            yield from self.inner.read(shard, start)


@contextmanager
def told_within(part: str) -> Iterator[None]:
    """What is wrong with a corpus that is an option is told by that option's key."""
    try:
        yield
    except DataError as error:
        raise DataError(key_within(part, str(error))) from error
    except ConfigError as error:
        raise ConfigError(*(replace(p, path=key_within(part, p.path)) for p in error.problems)) from error


def key_within(part: str, key: str) -> str:
    """Or a text that begins with the key; others stay as they are."""
    own = f"{corpora.group}."
    return f"{own}{part}.{key.removeprefix(own)}" if key.startswith(own) else key
