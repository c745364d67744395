"""Beam search with words and phrases that each output must hold.

B sources still searched, W hypotheses of each, V vocabulary, K banks, C candidates of a bank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seq2seq.search.base import on_device
from seq2seq.search.beams import Beams, Candidates, Chooser, Finished, highest, num_possible
from seq2seq.search.phrases import Spelling
from seq2seq.search.rules import IMPOSSIBLE, Rules
from seq2seq.text.vocab import Vocab


class Required(Chooser):
    """Shares the beam out among banks of hypotheses that have said equally much of the phrases (Post and Vilar 2018,
    https://aclanthology.org/N18-1119).

    A bank is numbered by how many tokens of the phrases are said; unlike there, phrases may overlap. The last bank that
    has candidates gets a place, so that at each step something comes nearer to all phrases: every output has them where
    the limit is long enough.

    phrases: of each its spellings, one of which has to be said.
    """

    def __init__(self, phrases: Sequence[Sequence[Spelling]], beam_size: int, rules: Rules) -> None:
        self.phrases = phrases
        self.beam_size = beam_size
        self.rules = rules
        self.lengths = [min(map(len, spellings)) for spellings in phrases]
        self.total = sum(self.lengths)

    def missing(self, tokens: Sequence[int], said: Sequence[bool] | None = None) -> int:
        """How many tokens have to follow at least: the phrases that are not said, less the begun part of one.

        said: of each phrase whether it was before the tokens.
        """
        length, begun = 0, 0
        for number, (spellings, shortest) in enumerate(zip(self.phrases, self.lengths, strict=True)):
            if (said is None or not said[number]) and not _is_in(spellings, tokens):
                length += shortest
                begun = max(begun, shortest - min(len(spelling) - _overlap(tokens, spelling) for spelling in spellings))
        return length - begun

    def candidates(self, beams: Beams, logits: Tensor, only: Sequence[int | None], finished: Finished) -> Candidates:
        values = beams.next_log_probabilities(logits, only, self.rules)
        before, after = (on_device(part, values.device) for part in self._progress(beams.tokens, values.size(2)))
        values += beams.log_probabilities[:, :, None]
        self._hold_eos(values, before, beams.sources, finished)

        width, vocabulary = values.shape[1:]
        count = min(2 * self.beam_size, width * vocabulary)
        flat, of_bank = values.flatten(1), (self.total - after).flatten(1)
        places = torch.stack(
            [highest(flat.masked_fill(of_bank != bank, IMPOSSIBLE), count)[1] for bank in range(self.total + 1)], dim=1
        )  # (B,K,C)
        banks = torch.arange(self.total + 1, device=values.device)[:, None]
        inside = of_bank.gather(1, places.flatten(1)).view_as(places) == banks
        best = flat.gather(1, places.flatten(1)).view_as(places).masked_fill(~inside, IMPOSSIBLE)
        possible = num_possible(only, width, vocabulary)
        chosen = self._chosen(best.cpu().numpy(), (places % vocabulary).cpu().numpy(), min(self.beam_size, possible))
        index = on_device(torch.from_numpy(chosen), values.device)
        places = places.flatten(1).gather(1, index)
        return Candidates(best.flatten(1).gather(1, index), places // vocabulary, places % vocabulary)

    def _progress(self, tokens: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
        """tokens (B,W,T) -> what is missing of the phrases now (B,W), and after each next token (B,W,V)."""
        longest = max(len(spelling) for spellings in self.phrases for spelling in spellings)
        useful = sorted({token for spellings in self.phrases for spelling in spellings for token in spelling})
        now, otherwise, next_one = [], [], []
        for line in tokens[:, :, 1:].flatten(0, 1).tolist():
            said = [_is_in(spellings, line) for spellings in self.phrases]
            end = line[max(len(line) - longest + 1, 0) :]
            now.append(self.missing(end, said))
            otherwise.append(self.missing([Vocab.eos], said))
            next_one.append([self.missing([*end, token], said) for token in useful])
        before = torch.tensor(now).view(tokens.shape[:2])
        after = torch.tensor(otherwise)[:, None].repeat(1, vocabulary)  # (B*W,V)
        after[:, useful] = torch.tensor(next_one)
        after = after.view(*tokens.shape[:2], vocabulary)
        after[:, :, Vocab.eos] = before
        return before, after

    def _hold_eos(self, values: Tensor, before: Tensor, sources: Sequence[int], finished: Finished) -> None:
        """Makes eos impossible in values (B,W,V) where something is missing, (B,W), unless nothing else may follow and
        nothing has finished: there is no room for the phrases, or a rule against them.
        """
        ends = values[:, :, Vocab.eos].clone()
        values[:, :, Vocab.eos] = ends.masked_fill(before > 0, IMPOSSIBLE)
        nothing = values.flatten(1).amax(dim=1) == IMPOSSIBLE
        without = torch.tensor([finished.counts[place] == 0 for place in sources])
        excused = nothing & on_device(without, values.device)
        values[:, :, Vocab.eos] = torch.where(excused[:, None], ends, values[:, :, Vocab.eos])

    def _chosen(self, best: np.ndarray, tokens: np.ndarray, width: int) -> np.ndarray:
        """best, tokens (B,K,C), the candidates of each bank in order -> (B, beam_size + width) places in K x C.

        The first beam_size are the best of each bank's share; the others do not end, and are those, or the next best in
        the place of those that end.
        """
        num_candidates = best.shape[2]
        result = np.empty((len(best), self.beam_size + width), dtype=np.int64)
        for row, (values, names) in enumerate(zip(best, tokens, strict=True)):
            real, ends = values > IMPOSSIBLE, names == Vocab.eos
            shares = _shares(real.sum(axis=1), self.beam_size)
            first, going, spare, empty = [], [], [], []
            for bank in range(len(values) - 1, -1, -1):
                places = np.arange(bank * num_candidates, (bank + 1) * num_candidates)
                first += places[: shares[bank]].tolist()
                on = places[real[bank] & ~ends[bank]].tolist()
                going += on[: shares[bank]]
                spare += on[shares[bank] :]
                empty += places[~real[bank]].tolist()
            first += (empty * self.beam_size)[: self.beam_size - len(first)]
            going = (going + spare + empty)[:width]
            result[row] = first + going
        return result


def _shares(available: np.ndarray, size: int) -> list[int]:
    """How many of the places each bank gets: as many each, but no more than it has candidates; the rest goes to those
    that have said most.
    """
    shares = [0] * len(available)
    left = size
    while left and (open_banks := [bank for bank, count in enumerate(available) if shares[bank] < count]):
        each = max(left // len(open_banks), 1)
        for bank in reversed(open_banks):
            more = min(each, int(available[bank]) - shares[bank], left)
            shares[bank] += more
            left -= more
    return shares


def _is_in(spellings: Sequence[Spelling], tokens: Sequence[int]) -> bool:
    return any(
        tuple(tokens[start : start + len(spelling)]) == spelling
        for spelling in spellings
        for start in range(len(tokens) - len(spelling) + 1)
    )


def _overlap(tokens: Sequence[int], spelling: Spelling) -> int:
    """The longest beginning of the spelling, but not all of it, that the tokens end with."""
    for size in range(min(len(spelling) - 1, len(tokens)), 0, -1):
        if tuple(tokens[-size:]) == spelling[:size]:
            return size
    return 0
