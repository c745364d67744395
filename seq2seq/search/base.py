"""The interface of every search."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.registry import Family

PROMPT_ROOM = 100  # tokens that may follow a prompt where no other limit is given


def usual_limit(source_tokens: int) -> int:
    """The longest output of a source, both in tokens without eos, where no other limit is given."""
    return 2 * source_tokens + 10


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """tokens: without bos and eos. log_probability: of the tokens and eos, in nats. score: what it was ranked by."""

    tokens: list[int]
    log_probability: float
    score: float


class Search(ABC):
    """Finds outputs. Sees only Model.start and Model.step; a source's result does not depend on its neighbours."""

    @abstractmethod
    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        """source (B,S), mask (B,S) -> for each source at least one hypothesis, best first.

        prompts: for each source the tokens that its hypotheses begin with; they are ranked by what follows.
        """


searches: Family[Search] = Family("search", Search)
