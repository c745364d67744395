"""Where examples come from: a corpus has splits, a split is a restartable source of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from seq2seq.data.noise import Noise
from seq2seq.errors import DataError
from seq2seq.registry import Family

Split = Literal["train", "validation", "test"]

LINE_BREAK = " "


@dataclass(frozen=True, slots=True)
class Example:
    """One pair of lines, without line breaks; `number` counts from 0 in its split and is the same at every reading.

    source: empty in a corpus of text alone.
    """

    source: str
    target: str
    number: int


class Source(ABC):
    """Examples in a fixed order, readable again from any place."""

    @abstractmethod
    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        """The examples with number >= start and number % shards == shard, for shard = (shard, shards), in order.

        Raises DataError, with file and line, for what cannot be read.
        """

    def about_how_many(self) -> int | None:
        """Examples, as far as can be told at once; for bars of progress."""
        return None

    def identity(self) -> str | None:
        """Another one when other examples are read; None where that cannot be told, and nothing is kept of them."""
        return None

    def paths(self) -> Iterable[Path]:
        """The files that are read, where they are known."""
        return ()


class IndexedSource(Source):
    """A source that knows its length and can be read at any place."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Example: ...

    def about_how_many(self) -> int:
        return len(self)

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        for number in range(first, len(self), shards):
            if number >= start:
                yield self[number]


class ListSource(IndexedSource):
    """Examples in memory; example i has the number i."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: int) -> Example:
        return self.examples[number]


class Context(ABC):
    """The sentences before, which the model reads and writes together with each."""

    @abstractmethod
    def with_context(self, lines: Iterable[str]) -> Iterator[str]:
        """Each line as the model reads it, before the next one is asked for; what has no text stays without."""

    @abstractmethod
    def last_sentence(self, text: str) -> str:
        """Of a text with context, as the model reads and writes it, what belongs to the line itself."""


def last_sentence(context: Context | None, text: str) -> str:
    """What the model has written, without its context, where there is any."""
    return text if context is None else context.last_sentence(text)


class Corpus(ABC):
    """A parallel corpus, or text alone. `source` and `target` are language codes, for example `en` and `de`.

    source is None where there is only a target, for language models.
    test_is_apart: whether the other splits stay as they are when the option `test` changes.
    tags: what a source may begin with, to say which target is wanted.
    symbols: what stands in texts and should be one token, as tags, masks and separators.
    noise: what makes pairs of the training texts, which are read alone, anew whenever one is loaded.
    context: what its texts are read with; those of its splits have it already.
    line_break: what stands in the place of line breaks in texts. Another one than a space stands between the texts of
    lists, too, which are no texts otherwise.
    """

    source: str | None
    target: str
    test_is_apart: bool = False
    tags: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    noise: Noise | None = None
    context: Context | None = None
    line_break: str = LINE_BREAK

    def key(self, option: str) -> str:
        """Where the user sets what is called so in most corpora, for example `train`."""
        return f"{corpora.group}.{option}"

    @abstractmethod
    def split(self, name: Split) -> Source | None:
        """None where the corpus has no such split. Raises DataError, naming the key, where its files are missing."""

    def plain_split(self, name: Split) -> Source | None:
        """As `split`, but as the texts were before anything was made of them: without tags, context and noise."""
        return self.split(name)

    @property
    def is_mixed(self) -> bool:
        return [*self.parts] != [""]

    @property
    def parts(self) -> Mapping[str, Corpus]:
        """By name the corpora that are prepared and validated each by itself."""
        return {"": self}

    def split_of(self, part: str, name: Split) -> Source | None:
        """As `split`, of one of the parts."""
        return self.split(name)

    def shares(self, sizes: Sequence[int] | None) -> list[float] | None:
        """Of each part in training; None: by their sizes, of streams all the same.

        sizes: examples of each; None for streams. Raises ValueError where they are needed.
        """
        return None

    def place_of(self, number: int) -> tuple[str, int]:
        """The part of an example of `split`, and its number in there."""
        return "", number


corpora: Family[Corpus] = Family("data", Corpus)


def tagged(tag: str | None, text: str) -> str:
    """The text with the tag before it, where there is one, and a text."""
    return text if tag is None or not text.strip() else f"{tag} {text}"


def open_splits(corpus: Corpus) -> dict[Split, Source | None]:
    """Raises DataError with what is wrong with each of them."""
    splits: dict[Split, Source | None] = {}
    faults: list[DataError] = []
    for name in get_args(Split):
        try:
            splits[name] = corpus.split(name)
        except DataError as error:
            if not str(error).startswith(f"{corpus.key(name)}:"):
                raise  # not of this split alone
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise DataError("\n".join([f"{len(faults)} splits cannot be read", *(f"  {fault}" for fault in faults)]))
    return splits
