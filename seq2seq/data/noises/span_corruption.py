"""Spans of a text are left out, and are what the model has to say."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from seq2seq.data.noise import Noise, noises
from seq2seq.data.noises.units import placed, replaced, spoilt_of, units_of

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))


@noises.register("span_corruption")
class SpanCorruption(Noise):
    """Spans of words become sentinels, and the target lists each sentinel with the words it stands for.

    The target ends with one more sentinel. Text in a script without spaces between words is taken by characters. A text
    of one word stays whole. Raffel et al. (2020), "Exploring the limits of transfer learning with a unified
    text-to-text transformer".

    Options:
        rate: share of the words that are left out
        mean_span: words of a span, on average; very long texts get longer spans, for there are 100 sentinels
    """

    symbols = SENTINELS

    def __init__(
        self, *, rate: Annotated[float, Gt(0), Lt(1)] = 0.15, mean_span: Annotated[float, Ge(1)] = 3.0
    ) -> None:
        self.rate = rate
        self.mean_span = mean_span

    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        units, between = units_of(text)
        if not units:
            return "", ""
        spans = placed(self._lengths(len(units), generator), len(units), generator)
        target: list[str] = []
        for (begin, end), sentinel in zip(spans, SENTINELS, strict=False):
            target += [sentinel, *units[begin:end]]
        target.append(SENTINELS[len(spans)])
        return between.join(replaced(units, spans, SENTINELS)), between.join(target)

    def _lengths(self, count: int, generator: random.Random) -> list[int]:
        total = spoilt_of(count, self.rate, generator)
        if not total:
            return []
        number = min(max(round(total / self.mean_span), 1), count - total + 1, len(SENTINELS) - 1)
        cuts = [0, *sorted(generator.sample(range(1, total), number - 1)), total]
        return [end - begin for begin, end in pairwise(cuts)]
