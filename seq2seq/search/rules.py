"""What may be said next, in every search.

B sources, W hypotheses of each, T tokens of each so far, from bos on, V vocabulary, P phrases of L tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.search.base import on_device, searches
from seq2seq.search.phrases import Spelling, all_spellings, listed_phrases
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

IMPOSSIBLE = float("-inf")


class Rules:
    """Changes the probabilities of next tokens by what was said before, which includes a prompt.

    They do not hold for tokens that are given, of a prompt or eos at the limit. Where they leave nothing for any
    hypothesis of a source, eos may follow.

    repetition_penalty: as of Keskar et al. 2019 (arXiv:1909.05858). no_repeat_ngram: 0 for none. min_length: in tokens
    without eos. banned: phrases, whose last token may not follow the others.
    """

    def __init__(
        self,
        *,
        max_length: int | None = None,
        min_length: int = 0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
        banned: str | Sequence[str] | None = None,
    ) -> None:
        """max_length: of the search. Raises ValueError where it leaves no room."""
        if max_length is not None and min_length > max_length:
            raise ValueError(f"min_length is {min_length}: must be at most max_length, which is {max_length}")
        self.repetition_penalty = repetition_penalty
        self.no_repeat_ngram = no_repeat_ngram
        self.min_length = min_length
        self.banned = listed_phrases(banned)
        self.given = repetition_penalty != 1 or no_repeat_ngram > 0 or min_length > 0 or bool(self.banned)
        self._banned: list[tuple[Tensor, Tensor]] | None = None if self.banned else []

    def learn(self, tokenizer: Tokenizer) -> None:
        """Raises ConfigError for phrases that this tokenizer cannot spell."""
        if self.banned:
            self.ban(all_spellings(tokenizer, f"{searches.group}.banned", self.banned))

    def ban(self, spellings: Sequence[Spelling]) -> None:
        by_length: dict[int, list[Spelling]] = defaultdict(list)
        for spelling in spellings:
            by_length[len(spelling)].append(spelling)
        together = [torch.tensor(of_length) for _, of_length in sorted(by_length.items())]
        self._banned = [(phrases[:, :-1], phrases[:, -1]) for phrases in together]
        self.given = self.given or bool(spellings)

    def log_probabilities(
        self, logits: Tensor, tokens: Tensor, only: Sequence[int | None], going: Tensor, alone: bool
    ) -> Tensor:
        """As allowed_log_probabilities, with the rules; tokens (B,W,T), going (B,W): which hypotheses are possible.

        alone: hypotheses do not compete, so that what is said again is made less probable before normalization, as
        usual in greedy search and sampling. Otherwise its log-probability is multiplied.
        """
        free = [row for row, token in enumerate(only) if token is None] if self.given else []
        if not free:
            return allowed_log_probabilities(logits, only)
        rows = on_device(torch.tensor(free), logits.device)
        said = tokens[rows]
        if alone:
            logits = logits.float().index_copy(0, rows, self._penalized(logits[rows].float(), said))
        result = allowed_log_probabilities(logits, only)
        values = result[rows] if alone else self._penalized(result[rows], said)
        return result.index_copy_(0, rows, self._restricted(values, said, going[rows]))

    def _penalized(self, values: Tensor, tokens: Tensor) -> Tensor:
        """values (B,W,V): those of tokens that were said are divided where above 0, and multiplied below."""
        if self.repetition_penalty == 1:
            return values
        said = tokens[:, :, 1:]
        old = values.gather(2, said)
        new = torch.where(old < 0, old * self.repetition_penalty, old / self.repetition_penalty)
        return values.scatter(2, said, new)

    def _restricted(self, values: Tensor, tokens: Tensor, going: Tensor) -> Tensor:
        """values (B,W,V), changed in place."""
        if self._banned is None:
            raise ValueError("banned phrases are text: learn(tokenizer) has to be called before the search")
        end = values[:, :, Vocab.eos].clone()
        length = tokens.size(2) - 1
        if length < self.min_length:
            values[:, :, Vocab.eos] = IMPOSSIBLE
        if 0 < self.no_repeat_ngram <= length:
            windows = tokens[:, :, 1:].unfold(2, self.no_repeat_ngram, 1)  # (B,W,windows,n)
            forbid(values, windows[..., :-1], windows[..., -1], tokens)
        for phrases, last in self._banned:
            if phrases.size(1) <= length:
                phrases, last = on_device(phrases, values.device), on_device(last, values.device)
                forbid(values, phrases.expand(*values.shape[:2], -1, -1), last.expand(*values.shape[:2], -1), tokens)
        nothing = torch.where(going, values.amax(dim=2), IMPOSSIBLE).amax(dim=1) == IMPOSSIBLE  # (B,)
        values[:, :, Vocab.eos] = torch.where(nothing[:, None], end, values[:, :, Vocab.eos])
        return values


def forbid(values: Tensor, phrases: Tensor, last: Tensor, tokens: Tensor) -> None:
    """Makes impossible in values (B,W,V) what ends a phrase: the token in last (B,W,P) where those before it in phrases
    (B,W,P,L-1) are the end of tokens (B,W,T).
    """
    current = tokens[:, :, tokens.size(2) - phrases.size(3) :]  # (B,W,L-1)
    said = (phrases == current[:, :, None]).all(dim=3)
    bound = torch.where(said, IMPOSSIBLE, float("inf")).to(values.dtype)
    values.scatter_reduce_(2, last, bound, "amin")


def allowed_log_probabilities(logits: Tensor, only: Sequence[int | None]) -> Tensor:
    """logits (B,W,V) -> float32 log-probabilities, -inf for what may not be generated.

    only: for each source the one token that may follow, eos at its limit, or None for any.

    They are not normalized again, so that teacher forcing gives an output the same log-probability.
    """
    result = F.log_softmax(logits.float(), dim=-1)
    result[..., Vocab.pad] = IMPOSSIBLE
    result[..., Vocab.bos] = IMPOSSIBLE
    rows = [row for row, token in enumerate(only) if token is not None]
    if rows:
        places = on_device(torch.tensor([rows, [only[row] for row in rows]]), logits.device)
        allowed = result[places[0], :, places[1]]  # (rows,W)
        result[places[0]] = IMPOSSIBLE
        result[places[0], :, places[1]] = allowed
    return result
