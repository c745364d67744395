"""Greedy search."""

from collections.abc import Sequence

from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.registry import PositiveInt
from seq2seq.search.base import Hypothesis, Search, searches
from seq2seq.search.beam import Beam


@searches.register("greedy")
class Greedy(Search):
    """Takes the most probable token at each step: a beam of one hypothesis, whose states are never reordered.

    Options:
        max_length: longest output in tokens, with its prompt; null: 2 x source + 10, or prompt + 100
    """

    def __init__(self, *, max_length: PositiveInt | None = None) -> None:
        self._beam = Beam(beam_size=1, max_length=max_length)

    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        return self._beam(model, source, mask, prompts)
