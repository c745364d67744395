"""Text alone as pairs: the source is the text, spoilt by noise."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from seq2seq.binding import to_plain
from seq2seq.data.corpus import Corpus, Example, Source, Split, corpora
from seq2seq.data.noise import Noise
from seq2seq.data.wrapping import WrappingCorpus, WrappingSource
from seq2seq.registry import Factory


@corpora.register("denoising")
class Denoising(WrappingCorpus):
    """Pairs made of text alone: the source is the text with noise in it, the target what the noise asks for.

    Training texts are read alone, and get other noise in every epoch; pairs of other splits are always the same.

    Options:
        text: where the text comes from, data@data.text=jsonl for example; of a corpus of pairs, the targets are taken
        noise: what the model has to undo
    """

    part = "text"
    usual_parts: ClassVar = {"text": "text_files", "noise": "text_infilling"}

    def __init__(self, *, text: Factory[Corpus], noise: Factory[Noise]) -> None:
        inner = text()
        if inner.noise is not None:
            raise ValueError(f"text={text.name} has noise already")
        super().__init__(inner)
        self.source = self.target = inner.target
        self.noise: Noise = noise()
        self.symbols = tuple(dict.fromkeys([*self.noise.symbols, *inner.symbols]))
        self._about_noise = str(to_plain(noise))

    def wrapped(self, source: Source, name: Split) -> Source:
        return _Texts(source, "targets") if name == "train" else _Pairs(source, self._about_noise, self.noise)


class _Texts(WrappingSource):
    """The targets alone."""

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        return (replace(example, source="") for example in self.inner.read(shard, start))


class _Pairs(WrappingSource):
    """Each target with noise that depends on its number alone."""

    def __init__(self, inner: Source, about: str, noise: Noise) -> None:
        super().__init__(inner, about)
        self.noise = noise

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        for example in self.inner.read(shard, start):
            source, target = self.noise(example.target, random.Random(example.number))
            yield Example(source, target, example.number)
