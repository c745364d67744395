"""The interface of every search."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.registry import Family
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

PROMPT_ROOM = 100  # tokens that may follow a prompt where no other limit is given


def usual_limit(source_tokens: int) -> int:
    """The longest output of a source, both in tokens without eos, where no other limit is given."""
    return 2 * source_tokens + 10


def limits(
    model: Model,
    mask: Tensor,
    prompts: Sequence[Sequence[int]],
    max_length: int | None = None,
    min_length: int = 0,
) -> list[int]:
    """The longest output of each source, at least its prompt; mask (B,S) counts the source's eos, too.

    Where no max_length is given it is no longer than the model has places for.
    """
    if max_length is not None:
        return [max(max_length, len(prompt)) for prompt in prompts]
    found = []
    for tokens, prompt in zip(mask.sum(1).tolist(), prompts, strict=True):
        source = max(tokens - 1, 0)
        usual = usual_limit(source) if mask.size(1) and not prompt else len(prompt) + PROMPT_ROOM
        most = model.longest_output(max(mask.size(1) - 1, 0))
        found.append(max(usual if most is None else min(usual, most), min_length, len(prompt)))
    return found


def given_token(length: int, prompt: Sequence[int], limit: int) -> int | None:
    """The one token that may follow `length` others: the prompt's, or eos at the limit; None where any may."""
    if length >= limit:
        return Vocab.eos
    return prompt[length] if length < len(prompt) else None


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy that does not wait for the work in flight there."""
    return tensor.to(device, non_blocking=True)


def rows_of(places: Tensor, width: int) -> Tensor:
    """places (B,W') among the `width` hypotheses of each source -> their rows in a state, (B*W',)."""
    first = torch.arange(0, places.size(0) * width, width, device=places.device)
    return (first[:, None] + places).flatten()


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """tokens: without bos and eos. log_probability: of the tokens and eos, in nats; a repetition penalty of a beam
    counts. score: what it was ranked by.
    """

    tokens: list[int]
    log_probability: float
    score: float


class Search(ABC):
    """Finds outputs. Sees only Model.start and Model.step; a source's result does not depend on its neighbours."""

    def learn(self, tokenizer: Tokenizer) -> None:  # noqa: B027 - most are given no text
        """What options that are text mean to the target's tokenizer; called before the first search.

        Raises ConfigError where it cannot spell them.
        """

    @abstractmethod
    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        """source (B,S), mask (B,S) -> for each source at least one hypothesis, best first.

        prompts: for each source the tokens that its hypotheses begin with; they are ranked by what follows.
        """


searches: Family[Search] = Family("search", Search)
