"""Several corpora as one: the training data is mixed, each part is validated and tested by itself."""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from annotated_types import Ge

from seq2seq.data.corpus import Corpus, Example, Source, Split, corpora
from seq2seq.data.noise import Noise
from seq2seq.data.wrapping import Within, WrappingSource, told_within
from seq2seq.errors import DataError
from seq2seq.registry import Factory, PositiveFloat
from seq2seq.text.vocab import Vocab

NONE: Mapping[str, Any] = MappingProxyType({})
SEVERAL = "mul"  # in the place of a language: "multiple languages" in ISO 639-2


class MixtureSource(Source):
    """The examples of several sources in turn.

    numbers: the place of each source among `num_parts`; example n of source k has the number n * num_parts + k.
    """

    def __init__(self, sources: Mapping[int, Source], num_parts: int) -> None:
        self.sources = sources
        self.num_parts = num_parts

    def paths(self) -> Iterable[Path]:
        return (path for source in self.sources.values() for path in source.paths())

    def identity(self) -> str | None:
        identities = [source.identity() for source in self.sources.values()]
        return None if None in identities else f"mixture {self.num_parts} {[*self.sources]} {identities}"

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        first, shards = shard
        numbered = (self._numbered(place, start) for place in self.sources)
        for example in heapq.merge(*numbered, key=lambda example: example.number):
            if example.number >= start and example.number % shards == first:
                yield example

    def _numbered(self, place: int, start: int) -> Iterator[Example]:
        for example in self.sources[place].read(start=start // self.num_parts):
            yield replace(example, number=example.number * self.num_parts + place)


class TaggedSource(WrappingSource):
    """A tag and a space stand before each source text."""

    def __init__(self, inner: Source, tag: str) -> None:
        super().__init__(inner, f"tagged {tag}")
        self.tag = tag

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        for example in self.inner.read(shard, start):
            yield replace(example, source=f"{self.tag} {example.source}") if example.source.strip() else example


class TaggedNoise(Noise):
    """A tag and a space stand before each spoilt text."""

    def __init__(self, noise: Noise, tag: str) -> None:
        self.noise = noise
        self.tag = tag
        self.symbols = (*noise.symbols, tag)

    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        source, target = self.noise(text, generator)
        return f"{self.tag} {source}", target


class TaggedCorpus(Corpus):
    """A corpus with tagged sources."""

    def __init__(self, inner: Corpus, tag: str) -> None:
        self.source, self.target = inner.source, inner.target
        self.noise = inner.noise and TaggedNoise(inner.noise, tag)
        self.context = inner.context
        self.symbols = (*inner.symbols, tag)
        self.tags = (tag,)
        self._inner = inner

    def key(self, option: str) -> str:
        return self._inner.key(option)

    def split(self, name: Split) -> Source | None:
        source = self._inner.split(name)
        return source and TaggedSource(source, self.tags[0])

    def plain_split(self, name: Split) -> Source | None:
        return self._inner.plain_split(name)


@corpora.register("mixture")
class Mixture(Corpus):
    """Several corpora, whose examples are mixed in training, each in its share; each is prepared, filtered and
    validated by itself.

    Their languages may differ: with a tag for each target language one model translates into all of them (Johnson et
    al. 2017, https://aclanthology.org/Q17-1024).

    Options:
        parts: corpora by names of your own; '+data@data.parts.NAME=wmt14' adds one
        weights: by names, how much of each part there is in training, as ratios; {} = as much as it has
        temperature: parts come as often as (their size) ** (1 / temperature): over 1, small ones come more often
        tags: by names, what stands before each source of a part, as <2de> or <back>
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, Factory[Corpus] | None] = NONE,
        weights: Mapping[str, PositiveFloat] = NONE,
        temperature: Annotated[float, Ge(1)] = 1.0,
        tags: Mapping[str, str] = NONE,
    ) -> None:
        chosen = {name: factory for name, factory in parts.items() if factory is not None}
        if not chosen:
            raise ValueError("a mixture needs parts; for example +data@data.parts.NAME=text_files")
        for option, by_name in (("weights", weights), ("tags", tags)):
            if unknown := sorted(by_name.keys() - chosen.keys()):
                raise ValueError(f"{option}: there is no part {unknown[0]!r}; there is {', '.join(chosen)}")
        if weights and (missing := sorted(chosen.keys() - weights.keys())):
            raise ValueError(f"weights: {missing[0]!r} has none; give every part one")
        if weights and temperature != 1:
            raise ValueError("temperature has no effect where there are weights")
        for name, tag in tags.items():
            if not tag or any(map(str.isspace, tag)):
                raise ValueError(f"tags: that of {name!r} is {tag!r}, but should be one word, as <2de>")
            if tag in Vocab.special or re.fullmatch("<0x[0-9A-F]{2}>", tag):
                raise ValueError(f"tags: that of {name!r}, {tag}, is a token that means something else")
        made = {name: factory() for name, factory in chosen.items()}
        if mixed := sorted(name for name, part in made.items() if part.is_mixed):
            raise ValueError(f"parts: {mixed[0]!r} is a mixture: name its parts here")
        if len({part.source is None for part in made.values()}) > 1:
            alone = sorted(name for name, part in made.items() if part.source is None)
            raise ValueError(f"parts with and without a source cannot be mixed; without: {', '.join(alone)}")
        if tags and any(part.source is None for part in made.values()):
            raise ValueError("tags stand before sources, and the parts are text alone")
        contexts = [part.context for part in made.values() if part.context is not None]
        if any(vars(context) != vars(contexts[0]) for context in contexts):
            raise ValueError("parts with different contexts cannot be mixed: give the same options to their documents")
        self.context = contexts[0] if contexts else None
        for name, tag in tags.items():
            made[name] = TaggedCorpus(made[name], tag)
        self._parts = made
        self._weights = weights
        self._temperature = temperature
        sources, targets = ({getattr(part, side) for part in made.values()} for side in ("source", "target"))
        self.source = sources.pop() if len(sources) == 1 else SEVERAL
        self.target = targets.pop() if len(targets) == 1 else SEVERAL
        self.tags = tuple(dict.fromkeys(tag for part in made.values() for tag in part.tags))
        self.symbols = tuple(dict.fromkeys(symbol for part in made.values() for symbol in part.symbols))

    @property
    def parts(self) -> Mapping[str, Corpus]:
        return self._parts

    def shares(self, sizes: Sequence[int] | None) -> list[float] | None:
        if self._weights:
            ratios = [self._weights[name] for name in self._parts]
        elif self._temperature == 1:
            return None
        elif sizes is None:
            raise ValueError("temperature needs sizes, which streams do not have: set weights")
        else:
            ratios = [size ** (1 / self._temperature) for size in sizes]
        return [ratio / sum(ratios) for ratio in ratios]

    def split(self, name: Split) -> Source | None:
        return self._mixed([self.split_of(part, name) for part in self._parts])

    def plain_split(self, name: Split) -> Source | None:
        return self._mixed([part.plain_split(name) for part in self._parts.values()])

    def _mixed(self, sources: Sequence[Source | None]) -> Source | None:
        found = {place: source for place, source in enumerate(sources) if source is not None}
        return MixtureSource(found, len(sources)) if found else None

    def split_of(self, part: str, name: Split) -> Source | None:
        where = f"parts.{part}"
        with told_within(where):
            source = self._parts[part].split(name)
            if source is None and name == "train":
                raise DataError(f"{self._parts[part].key(name)}: is missing; every part is for training")
        return source and Within(source, where)

    def place_of(self, number: int) -> tuple[str, int]:
        in_part, part = divmod(number, len(self._parts))
        return [*self._parts][part], in_part
