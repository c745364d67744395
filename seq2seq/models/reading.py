"""What a pretrained model reads of a source.

B sources, S their length with eos. `theirs` are tokens in the model's own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seq2seq.models.decoder_only import joined
from seq2seq.models.tables import Numbers
from seq2seq.text.vocab import Vocab


class Reading:
    """architecture: as read_architecture gives it, with the ids that stand before and after a source.

    ends: whether a source ends with eos, where the model puts one behind it. Otherwise what comes after is the target.
    """

    def __init__(self, numbers: Numbers, architecture: Mapping[str, Any], *, ends: bool) -> None:
        self.numbers = numbers
        self.end = numbers.rows[Vocab.eos]
        self.before: list[int] = architecture["before"]
        self.after: list[int] = architecture["after"]
        self.keeps_end = ends and self.after[:1] == [self.end]
        if self.keeps_end:
            self.after = self.after[1:]
        self.num_before = len(self.before)

    def __call__(self, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """source (B,S) with eos behind each, or S = 0 for text alone -> theirs, and their mask."""
        tokens = self.numbers.to_theirs[source]
        has_source = source.size(1) > 0
        if has_source and not self.keeps_end:
            tokens, mask = tokens[:, :-1], mask[:, 1:]
        if self.before:
            tokens, mask = joined(*_repeated(self.before, tokens), tokens, mask)
        if self.after and has_source:
            tokens, mask = joined(tokens, mask, *_repeated(self.after, tokens))
        if not tokens.size(1):  # text alone begins with the token for an end
            tokens, mask = _repeated([self.end], tokens)
        return tokens, mask


def _repeated(ids: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of `like` (B,...), and a mask."""
    tokens = torch.tensor(ids, device=like.device).expand(like.size(0), -1)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)
