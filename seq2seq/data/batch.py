"""Batches: what a model sees.

B examples, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from seq2seq.text.pair import TokenizerPair
from seq2seq.text.vocab import Vocab


@dataclass(frozen=True)
class Batch:
    """Padded at the right; masks are True at real tokens.

    source (B,S): tokens, eos.  target (B,T): bos, tokens (the decoder's input).  labels (B,T): tokens, eos (what it has
    to say), pad elsewhere.  numbers: the examples' numbers in their split.  num_tokens: real labels, eos included;
    num_source_tokens: the same of the source.  Of text alone S is 0.
    """

    source: Tensor
    source_mask: Tensor
    target: Tensor
    target_mask: Tensor
    labels: Tensor
    numbers: tuple[int, ...]
    num_tokens: int
    num_source_tokens: int

    def to(self, device: torch.device) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})

    def halves(self) -> list[Batch]:
        """The first and the second half of the examples, with no more padding than they need; one example is whole."""
        middle, size = len(self.numbers) // 2, len(self.numbers)
        return [self] if size == 1 else [self._rows(slice(0, middle)), self._rows(slice(middle, size))]

    def _rows(self, rows: slice) -> Batch:
        source_lengths, lengths = self.source_mask[rows].sum(dim=1), self.target_mask[rows].sum(dim=1)
        sources, targets = (slice(0, int(of_rows.max())) for of_rows in (source_lengths, lengths))
        return Batch(
            source=self.source[rows, sources],
            source_mask=self.source_mask[rows, sources],
            target=self.target[rows, targets],
            target_mask=self.target_mask[rows, targets],
            labels=self.labels[rows, targets],
            numbers=self.numbers[rows],
            num_tokens=int(lengths.sum()),
            num_source_tokens=int(source_lengths.sum()),
        )


def pad(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Rows of ids to (tokens (B,L), mask (B,L))."""
    tokens, mask = _pad(rows)
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def make_batch(
    sources: Sequence[Sequence[int] | np.ndarray] | None,
    targets: Sequence[Sequence[int] | np.ndarray],
    numbers: Sequence[int],
) -> Batch:
    """Ids without bos and eos to a batch. sources: None for text alone."""
    source, source_mask = _pad([[]] * len(targets)) if sources is None else _pad(sources, extra=1)
    labels, target_mask = _pad(targets, extra=1)
    target = np.full_like(labels, Vocab.bos)
    target[:, 1:] = labels[:, :-1]
    for tokens, mask in ((source, source_mask), (labels, target_mask))[sources is None :]:
        tokens[np.arange(len(tokens)), mask.sum(axis=1) - 1] = Vocab.eos
    return Batch(
        source=torch.from_numpy(source),
        source_mask=torch.from_numpy(source_mask),
        target=torch.from_numpy(target),
        target_mask=torch.from_numpy(target_mask),
        labels=torch.from_numpy(labels),
        numbers=tuple(numbers),
        num_tokens=int(target_mask.sum()),
        num_source_tokens=int(source_mask.sum()),
    )


def _pad(rows: Sequence[Sequence[int] | np.ndarray], extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """As `pad`; behind each row, `extra` places count as real, to be filled by the caller."""
    lengths = np.fromiter(map(len, rows), np.int64, count=len(rows))[:, None]
    places = np.arange(int(lengths.max()) + extra)
    tokens = np.full((len(rows), len(places)), Vocab.pad, dtype=np.int64)
    tokens[places < lengths] = np.concatenate(rows, dtype=np.int64, casting="unsafe")
    return tokens, places < lengths + extra


def batch_as_text(tokenizers: TokenizerPair, place_of: Callable[[int], tuple[str, int]], batch: Batch) -> str:
    """Its first examples, for a message. place_of: the part of an example, and its number in there."""
    lines = [f"a batch of {len(batch.numbers)} examples; the first of them:"]
    for row, number in enumerate(batch.numbers[:3]):
        sides = [tokenizers.target.decode(batch.target[row].tolist())]
        if tokenizers.source is not None:
            sides.insert(0, tokenizers.source.decode(batch.source[row].tolist()))
        part, in_part = place_of(number)
        lines.append(f"  {part and f'{part}, '}line {in_part + 1}: {' ||| '.join(sides)}")
    return "\n".join(lines)
