"""How varied texts are."""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from seq2seq import __version__
from seq2seq.metrics.base import Kind, Metric, Score, Texts, metrics
from seq2seq.metrics.words import words


@metrics.register("distinct")
class Distinct(Metric):
    """Different words, and different pairs of neighbours, per 100 words of all hypotheses (Li et al. 2016, N16-1014).

    The more lines, the less: only corpora of one size compare. Without an interval, since lines that are drawn twice
    hold nothing new.
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"distinct-1": Kind("distinct-1"), "distinct-2": Kind("distinct-2")}
    main: ClassVar[str] = "distinct-2"

    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        lines = [words(line) for line in texts.hypotheses]
        total = sum(map(len, lines))
        singles = {word for line in lines for word in line}
        pairs = {pair for line in lines for pair in pairwise(line)}
        signature = f"case:lc|tok:unicode|per:words|version:seq2seq-{__version__}"
        return {
            name: Score(100 * len(found) / max(total, 1), signature)
            for name, found in (("distinct-1", singles), ("distinct-2", pairs))
        }
