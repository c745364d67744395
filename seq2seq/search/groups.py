"""Diverse beam search.

B sources still searched, W hypotheses of each, those of a group side by side, G groups, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seq2seq.search.base import on_device
from seq2seq.search.beams import Beams, Candidates, Chooser, Finished, highest, num_possible
from seq2seq.search.rules import IMPOSSIBLE, Rules
from seq2seq.text.vocab import Vocab


class Groups(Chooser):
    """Shares the beam out among groups, one of which chooses after the other (Vijayakumar et al. 2018,
    arXiv:1610.02424).

    At each step a token costs `diversity` for every hypothesis of earlier groups that goes on with it. That counts in
    the choice only, not in the log-probability of what is chosen. A group is done with as many finished hypotheses as
    it has places.
    """

    def __init__(self, num_sources: int, beam_size: int, groups: int, diversity: float, rules: Rules) -> None:
        self.sizes = [beam_size // groups + (group < beam_size % groups) for group in range(groups)]
        self.diversity = diversity
        self.rules = rules
        self.widths: list[int] = []  # hypotheses of each group that go on; none yet while all share the first
        self.counts = np.zeros((num_sources, groups), dtype=np.int64)  # of the finished ones

    def candidates(self, beams: Beams, logits: Tensor, only: Sequence[int | None], finished: Finished) -> Candidates:
        values = beams.next_log_probabilities(logits, only, self.rules)
        values += beams.log_probabilities[:, :, None]
        cost = values.new_zeros(values.size(0), values.size(2))  # of each token
        ending, going = [], []
        forced = None not in only
        for group, size in enumerate(self.sizes):
            first = sum(self.widths[:group])
            own = values[:, first : first + self.widths[group]] if self.widths else values
            best = self._best(own, cost, 2 * size, first)
            ending.append(self._within(best, group, beams.sources))
            if forced and not self.widths:  # of prompts there is but one
                going.append(best.take(1, best.parents.new_zeros(values.size(0), 1 if group == 0 else 0)))
                continue
            room = num_possible(only, own.size(1), values.size(2))
            ends_last = (best.tokens == Vocab.eos).byte().argsort(dim=1, stable=True)
            going.append(best.take(1, ends_last[:, : min(size, room)]))
            said = (going[-1].log_probabilities > IMPOSSIBLE).to(cost.dtype)
            cost.scatter_add_(1, going[-1].tokens, self.diversity * said)
        if not forced or self.widths:
            self.widths = [chosen.tokens.size(1) for chosen in going]
        return Candidates.together([*ending, *going])

    def _best(self, values: Tensor, cost: Tensor, count: int, first: int) -> Candidates:
        """values (B,W,V) of one group's hypotheses, the first of which is number `first` of its source."""
        _, width, vocabulary = values.shape
        flat = values.flatten(1)  # (B,W*V)
        _, places = highest((values - cost[:, None]).flatten(1), min(count, width * vocabulary))
        return Candidates(flat.gather(1, places), first + places // vocabulary, places % vocabulary)

    def _within(self, best: Candidates, group: int, sources: list[int]) -> Candidates:
        """Those of a group that may finish: as many columns as it has places, no more that end than are missing."""
        size = self.sizes[group]
        values = best.log_probabilities[:, :size]
        ends = ((best.tokens[:, :size] == Vocab.eos) & (values > IMPOSSIBLE)).cpu().numpy()
        before = self.counts[sources, group][:, None]
        taken = ends & (before + ends.cumsum(axis=1) <= size)
        self.counts[sources, group] += taken.sum(axis=1)
        values = values.masked_fill(~on_device(torch.from_numpy(taken), values.device), IMPOSSIBLE)
        missing = (0, size - values.size(1))  # of a tiny vocabulary
        pad = torch.nn.functional.pad
        return Candidates(
            pad(values, missing, value=IMPOSSIBLE),
            pad(best.parents[:, :size], missing),
            pad(best.tokens[:, :size], missing),
        )
