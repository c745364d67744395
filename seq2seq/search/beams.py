"""The hypotheses of a beam search.

B sources still searched, W hypotheses that go on for each of them (W <= beam_size, 1 at first), those of a source side
by side, C candidates for each source, M hypotheses that finish at one step, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.search.base import Hypothesis
from seq2seq.search.rules import IMPOSSIBLE, Rules
from seq2seq.text.vocab import Vocab

IN_CACHE = 1 << 18  # numbers that a core keeps at hand
GROUP = 32  # values that are compared at once before the best are looked for
NUM_NEVER_CONTINUED = 3  # pad and bos are never generated, and nothing follows eos
FEW_GROUPS = 4  # for each of the best: too few to gain by it


@dataclass(frozen=True)
class Candidates:
    """One more token for some hypothesis of the same source, all (B,C), the best first.

    parents: which of the source's W hypotheses. tokens: its next token. log_probabilities: of the whole, -inf where
    this continuation is impossible.
    """

    log_probabilities: Tensor
    parents: Tensor
    tokens: Tensor

    def take(self, dim: int, index: Tensor) -> Candidates:
        """index: (B',) of sources for dim 0, (B,C') of candidates for dim 1."""
        if dim == 0:
            return Candidates(self.log_probabilities[index], self.parents[index], self.tokens[index])
        return Candidates(
            self.log_probabilities.gather(1, index), self.parents.gather(1, index), self.tokens.gather(1, index)
        )

    @classmethod
    def together(cls, parts: Sequence[Candidates]) -> Candidates:
        """Side by side, in their order."""
        return cls(
            torch.cat([part.log_probabilities for part in parts], dim=1),
            torch.cat([part.parents for part in parts], dim=1),
            torch.cat([part.tokens for part in parts], dim=1),
        )

    def after(self, count: int) -> Candidates:
        """Without the first ones."""
        return Candidates(self.log_probabilities[:, count:], self.parents[:, count:], self.tokens[:, count:])


@dataclass(frozen=True)
class Beams:
    """The hypotheses that go on. sources: the place in the batch of each; tokens (B,W,T), from bos on."""

    sources: list[int]
    tokens: Tensor
    log_probabilities: Tensor  # (B,W)

    @classmethod
    def start(cls, num_sources: int, device: torch.device) -> Beams:
        tokens = torch.full((num_sources, 1, 1), Vocab.bos, device=device)
        return cls(list(range(num_sources)), tokens, torch.zeros(num_sources, 1, device=device))

    def candidates(
        self, logits: Tensor, only: Sequence[int | None], count: int, rules: Rules, alone: bool
    ) -> Candidates:
        """logits (B,W,V) of the next tokens -> the `count` best of each source, or all there are.

        only: as for allowed_log_probabilities. alone: as for Rules. On a CPU some sources at a time: what stays in its
        cache.
        """
        sources, width, vocabulary = logits.shape
        step = max(1, IN_CACHE // (width * vocabulary)) if logits.device.type == "cpu" else sources
        best, index = [], []
        for start in range(0, sources, step):
            some = slice(start, start + step)
            going = self.log_probabilities[some] > IMPOSSIBLE
            totals = rules.log_probabilities(logits[some], self.tokens[some], only[some], going, alone)
            totals += self.log_probabilities[some, :, None]
            values, places = highest(totals.flatten(1), min(count, width * vocabulary))  # (B, W*V)
            best.append(values)
            index.append(places)
        places = torch.cat(index)
        return Candidates(torch.cat(best), places // vocabulary, places % vocabulary)

    def next_log_probabilities(self, logits: Tensor, only: Sequence[int | None], rules: Rules) -> Tensor:
        """logits (B,W,V) of the next tokens -> their log-probabilities, -inf for hypotheses that are impossible."""
        going = self.log_probabilities > IMPOSSIBLE
        values = rules.log_probabilities(logits, self.tokens, only, going, alone=False)
        return values.masked_fill_(~going[:, :, None], IMPOSSIBLE)

    def select(self, index: Tensor, rows: list[int]) -> Beams:
        """Keeps the sources in these rows; index (B',) holds the same rows."""
        return Beams([self.sources[row] for row in rows], self.tokens[index], self.log_probabilities[index])

    def advance(self, candidates: Candidates) -> Beams:
        """Goes on with these candidates (B,W'), of which none ends."""
        parents = candidates.parents[:, :, None].expand(-1, -1, self.tokens.size(2))
        tokens = torch.cat([self.tokens.gather(1, parents), candidates.tokens[:, :, None]], dim=2)
        return Beams(self.sources, tokens, candidates.log_probabilities)


class Finished:
    """The finished hypotheses of each source; their tensors stay on the device until the search is over."""

    def __init__(self, num_sources: int) -> None:
        self.counts = [0] * num_sources
        self._groups: list[tuple[list[int], Tensor, Tensor]] = []

    def add(self, sources: list[int], tokens: Tensor, log_probabilities: Tensor) -> None:
        """tokens (M,T) without bos and eos, log_probabilities (M,)."""
        for source in sources:
            self.counts[source] += 1
        self._groups.append((sources, tokens, log_probabilities))

    def best(
        self, nbest: int, length_penalty: float, prompt_lengths: Sequence[int], of_prompts: Tensor
    ) -> list[list[Hypothesis]]:
        """Of each source, each output once; an empty, impossible one where none was found, as of a model that says nan.

        prompt_lengths and of_prompts (B,), their log-probabilities: of the tokens that do not count in the ranking.
        """
        hypotheses: list[list[Hypothesis]] = [[] for _ in self.counts]
        before = of_prompts.tolist()
        for sources, tokens, log_probabilities in self._groups:
            for source, line, value in zip(sources, tokens.tolist(), log_probabilities.tolist(), strict=True):
                normalizer = (len(line) + 1 - prompt_lengths[source]) ** length_penalty
                hypotheses[source].append(Hypothesis(line, value, (value - before[source]) / normalizer))
        nothing = Hypothesis([], IMPOSSIBLE, IMPOSSIBLE)
        ranked = [sorted(found, key=lambda hypothesis: -hypothesis.score) for found in hypotheses]
        return [_once(found)[:nbest] or [nothing] for found in ranked]


def _once(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Each output once, which groups can find independently."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in hypotheses:
        found.setdefault(tuple(hypothesis.tokens), hypothesis)
    return [*found.values()]


class Chooser(ABC):
    """Another way to choose the hypotheses that go on than by their log-probabilities alone; for one search."""

    @abstractmethod
    def candidates(self, beams: Beams, logits: Tensor, only: Sequence[int | None], finished: Finished) -> Candidates:
        """logits (B,W,V), only as for allowed_log_probabilities -> (B,C), in an order of its own.

        Of the first beam_size those that end finish; the others are those that go on.
        """


def num_possible(only: Sequence[int | None], width: int, vocabulary: int) -> int:
    """How many hypotheses of a source can go on from `width` of them; of prompts there is but one."""
    return 1 if None not in only else width * (vocabulary - NUM_NEVER_CONTINUED)


def highest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """values (B,L), none above 0 -> the highest of each row and their indices, (B,count), in order.

    Of equal ones the first comes first, which topk alone does not promise: the bits of a positive float, read as an
    integer, keep its order, so the bits followed by the index make keys without ties.
    """
    index = places_of_highest(values, count)
    bits = values.gather(1, index).abs().view(torch.int32).long()
    index = ((bits << 32) | index).sort(dim=1).values & 0xFFFFFFFF
    return values.gather(1, index), index


def places_of_highest(values: Tensor, count: int) -> Tensor:
    """values (B,L) -> (B,count), in no order.

    Where L is large, first the maxima of groups, which take one fast pass: the highest values are in the `count` groups
    with the highest maxima.
    """
    groups = values.size(1) // GROUP  # a group: every groups-th value, GROUP of them
    if groups < FEW_GROUPS * count:
        return values.topk(count, sorted=False).indices
    grouped, rest = values[:, : groups * GROUP], values[:, groups * GROUP :]
    best = grouped.view(-1, GROUP, groups).amax(dim=1).topk(count, sorted=False).indices  # (B,count)
    places = best[:, None] + torch.arange(0, groups * GROUP, groups, device=best.device)[:, None]  # (B,GROUP,count)
    left_over = torch.arange(groups * GROUP, values.size(1), device=best.device).expand_as(rest)
    places = torch.cat((places.flatten(1), left_over), dim=1)
    return places.gather(1, values.gather(1, places).topk(count, sorted=False).indices)
