"""Hypotheses that are right as a whole."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from seq2seq import __version__
from seq2seq.metrics.base import Kind, Metric, Score, Texts, mean_of_lines, metrics


@metrics.register("exact_match")
class ExactMatch(Metric):
    """Lines in 100 that are the same as their reference, but for spaces.

    Options:
        lowercase: whether case does not count
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"": Kind("exact match")}

    def __init__(self, *, lowercase: bool = False) -> None:
        self.lowercase = lowercase

    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        pairs = zip(map(self._plain, texts.hypotheses), map(self._plain, texts.references), strict=True)
        same = np.array([100.0 * (hypothesis == reference) for hypothesis, reference in pairs])
        case = "lc" if self.lowercase else "mixed"
        return {"": mean_of_lines(same, f"case:{case}|space:no|version:seq2seq-{__version__}", confidence)}

    def _plain(self, text: str) -> str:
        plain = " ".join(text.split())
        return plain.lower() if self.lowercase else plain
