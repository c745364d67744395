"""Spans of a text become one mask each, and the model has to say the text."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from seq2seq.data.noise import Noise, noises
from seq2seq.data.noises.units import placed, replaced, spoilt_of, units_of

MASK = "<mask>"
_ENDS_SENTENCE = re.compile("[.!?\u2026\u3002\uff01\uff1f][\"')\\]\u00bb\u2019\u201d\u300d\u300f]*$")


@noises.register("text_infilling")
class TextInfilling(Noise):
    """Spans of words become one mask each, and sentences change places; the target is the text.

    The lengths of spans are of a Poisson distribution; one of length 0 puts a mask between two words. Text in a script
    without spaces between words is taken by characters. A text of one word stays as it is. Lewis et al. (2020), "BART:
    denoising sequence-to-sequence pre-training for natural language generation, translation, and comprehension".

    Options:
        rate: share of the words that are masked
        mean_span: words of a span, on average
        permute_sentences: whether the sentences of a text change places
    """

    symbols = (MASK,)

    def __init__(
        self,
        *,
        rate: Annotated[float, Gt(0), Lt(1)] = 0.3,
        mean_span: Annotated[float, Ge(1)] = 3.0,
        permute_sentences: bool = True,
    ) -> None:
        self.rate = rate
        self.mean_span = mean_span
        self.permute_sentences = permute_sentences

    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        units, between = units_of(text)
        if not units:
            return "", text
        if self.permute_sentences:
            sentences = _sentences(units)
            generator.shuffle(sentences)
            units = [unit for sentence in sentences for unit in sentence]
        spans = placed(self._lengths(len(units), generator), len(units), generator)
        return between.join(replaced(units, spans, [MASK] * len(spans))).strip(), text

    def _lengths(self, count: int, generator: random.Random) -> list[int]:
        total = left = spoilt_of(count, self.rate, generator)
        lengths: list[int] = []
        while left:
            lengths.append(min(_poisson(self.mean_span, generator), left))
            left -= lengths[-1]
        most = count - total + 1  # spans that do not touch
        return lengths if len(lengths) <= most else [*lengths[: most - 1], sum(lengths[most - 1 :])]


def _sentences(units: Sequence[str]) -> list[list[str]]:
    sentences: list[list[str]] = [[]]
    for unit in units:
        sentences[-1].append(unit)
        if _ENDS_SENTENCE.search(unit):
            sentences.append([])
    return sentences if sentences[-1] else sentences[:-1]


def _poisson(mean: float, generator: random.Random) -> int:
    """How many events of a rate of one fall into this time."""
    number, time = 0, generator.expovariate(1.0)
    while time <= mean:
        number += 1
        time += generator.expovariate(1.0)
    return number
