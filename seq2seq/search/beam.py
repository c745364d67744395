"""Beam search.

B sources still searched, W hypotheses that go on for each of them (W <= beam_size, 1 at first), N = B x W, those of a
source side by side, C candidates for each source, M hypotheses that finish at one step, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.models.base import Model
from seq2seq.registry import NonNegativeFloat, PositiveInt
from seq2seq.search.base import PROMPT_ROOM, Hypothesis, Search, searches, usual_limit
from seq2seq.text.vocab import Vocab

NUM_NEVER_CONTINUED = 3  # pad and bos are never generated, and nothing follows eos
IN_CACHE = 1 << 18  # numbers that a core keeps at hand
GROUP = 32  # values that are compared at once before the best are looked for
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

    def candidates(self, logits: Tensor, only: Sequence[int | None], count: int) -> Candidates:
        """logits (B,W,V) of the next tokens -> the `count` best of each source, or all there are.

        only: as for allowed_log_probabilities. On a CPU some sources at a time: what stays in its cache.
        """
        sources, width, vocabulary = logits.shape
        step = max(1, IN_CACHE // (width * vocabulary)) if logits.device.type == "cpu" else sources
        best, index = [], []
        for start in range(0, sources, step):
            some = slice(start, start + step)
            totals = allowed_log_probabilities(logits[some], only[some])
            totals += self.log_probabilities[some, :, None]
            values, places = highest(totals.flatten(1), min(count, width * vocabulary))  # (B, W*V)
            best.append(values)
            index.append(places)
        places = torch.cat(index)
        return Candidates(torch.cat(best), places // vocabulary, places % vocabulary)

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
        """Of each source; an empty, impossible one where none was found, as for a model that gives only nan.

        prompt_lengths and of_prompts (B,), their log-probabilities: of the tokens that do not count in the ranking.
        """
        hypotheses: list[list[Hypothesis]] = [[] for _ in self.counts]
        before = of_prompts.tolist()
        for sources, tokens, log_probabilities in self._groups:
            for source, line, value in zip(sources, tokens.tolist(), log_probabilities.tolist(), strict=True):
                normalizer = (len(line) + 1 - prompt_lengths[source]) ** length_penalty
                hypotheses[source].append(Hypothesis(line, value, (value - before[source]) / normalizer))
        nothing = Hypothesis([], float("-inf"), float("-inf"))
        ranked = [sorted(found, key=lambda hypothesis: -hypothesis.score) for found in hypotheses]
        return [found[:nbest] or [nothing] for found in ranked]


@searches.register("beam")
class Beam(Search):
    """Keeps the best hypotheses of each length side by side.

    A source's hypothesis finishes where eos is among the beam_size best continuations; a source is done, and leaves the
    batch, with beam_size finished hypotheses or at its limit, where only eos may follow. Pad and bos are never
    generated; their share of the probability is not given to the other tokens. Hypotheses are ranked by
    log-probability / length ** length_penalty, where length counts eos. The model should be in eval mode.

    Options:
        beam_size: hypotheses kept for each source
        length_penalty: 0 ranks by log-probability, 1 by its mean over tokens; more favours longer ones
        max_length: longest output in tokens, with its prompt; null: 2 x source + 10, or prompt + 100
        nbest: hypotheses returned for each source, at most beam_size
    """

    def __init__(
        self,
        *,
        beam_size: PositiveInt = 5,
        length_penalty: NonNegativeFloat = 1.0,
        max_length: PositiveInt | None = None,
        nbest: PositiveInt = 1,
    ) -> None:
        if nbest > beam_size:
            raise ValueError(f"nbest is {nbest}: must be at most beam_size, which is {beam_size}")
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.max_length = max_length
        self.nbest = nbest

    @torch.no_grad()
    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        prompts = prompts or [()] * mask.size(0)
        limits = self._limits(mask, prompts)
        finished = Finished(len(limits))
        if not limits:
            return []
        beams = Beams.start(len(limits), source.device)
        prompt_lengths = [len(prompt) for prompt in prompts]
        of_prompts = torch.zeros(len(limits), device=source.device)
        state = model.start(source, mask, max(limits) + 1)  # one step more than tokens, for eos
        for length in range(max(limits) + 1):
            if 0 < length in prompt_lengths:
                begun = [row for row, place in enumerate(beams.sources) if prompt_lengths[place] == length]
                of_prompts[[beams.sources[row] for row in begun]] = beams.log_probabilities[begun].amax(dim=1)
            logits, state = model.step(beams.tokens[:, :, -1].flatten(), state)
            logits = logits.view(*beams.log_probabilities.shape, -1)  # (B,W,V)
            at_limit = [limits[place] == length for place in beams.sources]
            only = [
                Vocab.eos if at_end else prompts[place][length] if length < len(prompts[place]) else None
                for place, at_end in zip(beams.sources, at_limit, strict=True)
            ]
            candidates = beams.candidates(logits, only, 2 * self.beam_size)
            self._finish(beams, candidates, finished)  # the one place of a step that waits for the device

            rows = [
                row
                for row, place in enumerate(beams.sources)
                if finished.counts[place] < self.beam_size and not at_limit[row]
            ]
            if not rows:
                break
            if len(rows) < len(beams.sources):
                index = on_device(torch.tensor(rows), source.device)
                state, beams, candidates = state.select(index), beams.select(index, rows), candidates.take(0, index)
            width = beams.tokens.size(1)
            possible = 1 if None not in only else width * (logits.size(2) - NUM_NEVER_CONTINUED)
            candidates = self._continuing(candidates, possible)
            beams = beams.advance(candidates)
            if max(width, beams.tokens.size(1)) > 1:
                first = torch.arange(0, len(rows) * width, width, device=source.device)
                state = state.reorder((first[:, None] + candidates.parents).flatten())  # (B*W',)
        return finished.best(self.nbest, self.length_penalty, prompt_lengths, of_prompts)

    def _limits(self, mask: Tensor, prompts: Sequence[Sequence[int]]) -> list[int]:
        """The longest output of each source, at least its prompt; mask (B,S) counts the source's eos, too."""
        if self.max_length is not None:
            return [max(self.max_length, len(prompt)) for prompt in prompts]
        usual = [usual_limit(max(tokens - 1, 0)) for tokens in mask.sum(1).tolist()]
        return [
            length if mask.size(1) and not prompt else len(prompt) + PROMPT_ROOM
            for length, prompt in zip(usual, prompts, strict=True)
        ]

    def _finish(self, beams: Beams, candidates: Candidates, finished: Finished) -> None:
        """Takes over those of the beam_size best candidates that end."""
        ends = (candidates.tokens == Vocab.eos) & (candidates.log_probabilities > float("-inf"))
        rows, ranks = ends[:, : self.beam_size].cpu().numpy().nonzero()
        if len(rows) == 0:
            return
        device = ends.device
        row_index, rank_index = (on_device(torch.from_numpy(values), device) for values in (rows, ranks))
        tokens = beams.tokens[row_index, candidates.parents[row_index, rank_index], 1:]  # (M,T)
        finished.add([beams.sources[row] for row in rows], tokens, candidates.log_probabilities[row_index, rank_index])

    def _continuing(self, candidates: Candidates, possible: int) -> Candidates:
        """The best of those that do not end, (B,W'): beam_size, or what there is."""
        ends_last = (candidates.tokens == Vocab.eos).byte().argsort(dim=1, stable=True)
        return candidates.take(1, ends_last[:, : min(self.beam_size, possible)])


def allowed_log_probabilities(logits: Tensor, only: Sequence[int | None]) -> Tensor:
    """logits (B,W,V) -> float32 log-probabilities, -inf for what may not be generated.

    only: for each source the one token that may follow, eos at its limit, or None for any.

    They are not normalized again, so that teacher forcing gives an output the same log-probability.
    """
    result = F.log_softmax(logits.float(), dim=-1)
    result[..., Vocab.pad] = float("-inf")
    result[..., Vocab.bos] = float("-inf")
    rows = [row for row, token in enumerate(only) if token is not None]
    if rows:
        places = on_device(torch.tensor([rows, [only[row] for row in rows]]), logits.device)
        allowed = result[places[0], :, places[1]]  # (rows,W)
        result[places[0]] = float("-inf")
        result[places[0], :, places[1]] = allowed
    return result


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


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy that does not wait for the work in flight there."""
    return tensor.to(device, non_blocking=True)
