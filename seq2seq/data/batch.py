"""Batches: what a model sees.

B examples, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from seq2seq.text.vocab import Vocab


@dataclass(frozen=True)
class Batch:
    """Padded at the right; masks are True at real tokens.

    source (B,S): tokens, eos.  target (B,T): bos, tokens (the decoder's input).  labels (B,T): tokens, eos (what it has
    to say), pad elsewhere.  numbers: the examples' numbers in their split.  num_tokens: real labels, eos included.
    """

    source: Tensor
    source_mask: Tensor
    target: Tensor
    target_mask: Tensor
    labels: Tensor
    numbers: tuple[int, ...]
    num_tokens: int

    def to(self, device: torch.device) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})


def pad(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Rows of ids to (tokens (B,L), mask (B,L))."""
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), int(lengths.max())), Vocab.pad, dtype=np.int64)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    mask = np.arange(tokens.shape[1]) < lengths[:, None]
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def make_batch(
    sources: Sequence[Sequence[int] | np.ndarray], targets: Sequence[Sequence[int] | np.ndarray], numbers: Sequence[int]
) -> Batch:
    """Ids without bos and eos to a batch."""
    source, source_mask = pad([[*row, Vocab.eos] for row in sources])
    target, target_mask = pad([[Vocab.bos, *row] for row in targets])
    labels, _ = pad([[*row, Vocab.eos] for row in targets])
    num_tokens = sum(len(row) + 1 for row in targets)
    return Batch(source, source_mask, target, target_mask, labels, tuple(numbers), num_tokens)
