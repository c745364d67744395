"""The weights of attention, handed over while somebody asks for them.

B sources, T queries of each, S source length; H heads of queries, G of keys, K width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Reader(nn.Module):
    """Attention. While `record` is a list, each call adds its weights (B,T,S), the mean over heads."""

    record: list[Tensor] | None = None


class SourceReader(Reader):
    """Attention to the source."""


class SelfReader(Reader):
    """Attention of a sequence to itself."""


@contextmanager
def recording(module: nn.Module, kind: type[Reader] = SourceReader) -> Iterator[list[Tensor]]:
    """Runs the block with a list that holds afterwards, for each layer of `module` of this kind, its weights.

    They are those of all calls in the block, side by side (B,T,S). Meanwhile only one thread may use the module.
    """
    readers = [part for part in module.modules() if isinstance(part, kind)]
    for reader in readers:
        reader.record = []
    layers: list[Tensor] = []
    try:
        yield layers
        layers.extend(torch.cat(reader.record, dim=1) for reader in readers if reader.record)
    finally:
        for reader in readers:
            reader.record = None


def mean_weights(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
    """softmax(scale query key^T): query (B,H,T,K), key (B,G,S,K) -> (B,T,S), the mean over heads.

    mask, of any shape that fits (B,H,T,S): True where a key may be seen, or a bias.
    """
    key = key.repeat_interleave(query.size(1) // key.size(1), dim=1)
    scores = (query @ key.transpose(2, 3)).float() * scale  # (B,H,T,S)
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=3).mean(dim=1)
