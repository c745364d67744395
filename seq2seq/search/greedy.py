"""Greedy search."""

from collections.abc import Sequence

from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.registry import NonNegativeInt, PositiveFloat, PositiveInt
from seq2seq.search.base import Hypothesis, Search, searches
from seq2seq.search.beam import Beam
from seq2seq.text.tokenizer import Tokenizer


@searches.register("greedy")
class Greedy(Search):
    """Takes the most probable token at each step: a beam of one hypothesis, whose states are never reordered.

    Options:
        max_length: longest output in tokens, with its prompt; null: 2 x source + 10, or prompt + 100
        min_length: shortest output in tokens, with its prompt
        repetition_penalty: above 1 makes tokens less likely that the output has already; 1 changes nothing
        no_repeat_ngram: no so many tokens in a row occur twice in an output; 0: they may
        banned: words or phrases that are never said, as text or as a list of texts
        required: of search=beam only
    """

    def __init__(
        self,
        *,
        max_length: PositiveInt | None = None,
        min_length: NonNegativeInt = 0,
        repetition_penalty: PositiveFloat = 1.0,
        no_repeat_ngram: NonNegativeInt = 0,
        banned: str | list[str] | None = None,
        required: str | list[str] | None = None,
    ) -> None:
        if required:
            raise ValueError("required has no effect on one hypothesis alone: set search=beam")
        self._beam = Beam(
            beam_size=1,
            max_length=max_length,
            min_length=min_length,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            banned=banned,
        )

    def learn(self, tokenizer: Tokenizer) -> None:
        self._beam.learn(tokenizer)

    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        return self._beam(model, source, mask, prompts)
