"""What a pretrained model keeps between two steps of a search: the library's cache, and what goes with its rows.

B sources, N hypotheses (B x W), S source length with what stands around a source, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from seq2seq.models.base import DecoderState


@dataclass(frozen=True)
class PretrainedState(DecoderState):
    """The cache is the library's own, and is changed in place: of the states made from one only the newest may go on.

    first (N,): what is read in the place of bos. width: hypotheses of each source. mask (N,S) of the source or, in a
    model without an encoder, of all that was read. memory (N,S,D), of which only the size counts once its keys and
    values are in the cache (is_read). positions (N,): of the next token.
    """

    cache: Any
    first: Tensor
    width: int
    mask: Tensor
    memory: Tensor | None
    positions: Tensor | None = None
    is_read: bool = False

    def select(self, sources: Tensor) -> DecoderState:
        rows = sources.new_tensor(range(self.width)) + sources[:, None] * self.width  # (B',W)
        return self._with_rows(rows.flatten(), self.width)

    def reorder(self, hypotheses: Tensor) -> DecoderState:
        if self.is_read and len(hypotheses) == len(self.mask):  # what belongs to the source stays
            self.cache.self_attention_cache.batch_select_indices(hypotheses)
            return self
        return self._with_rows(hypotheses, self.width * len(hypotheses) // len(self.mask))

    def advanced(self) -> PretrainedState:
        """After a step."""
        if self.memory is None:
            return replace(self, positions=None if self.positions is None else self.positions + 1)
        return replace(self, memory=self.memory[:1].expand(len(self.mask), -1, -1), is_read=True)

    def _with_rows(self, rows: Tensor, width: int) -> PretrainedState:
        if self.cache.get_seq_length():
            self.cache.batch_select_indices(rows)
        memory = self.memory
        if memory is not None:
            memory = memory[:1].expand(len(rows), -1, -1) if self.is_read else memory[rows]
        return replace(
            self,
            first=self.first[rows],
            width=width,
            mask=self.mask[rows],
            memory=memory,
            positions=None if self.positions is None else self.positions[rows],
        )
