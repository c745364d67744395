"""The weights of attention to the source, handed over while somebody asks for them.

B sources, T queries of each, S source length; H heads of queries, G of keys, K width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class SourceReader(nn.Module):
    """Attention to the source. While `record` is a list, each call adds its weights (B,T,S), the mean over heads."""

    record: list[Tensor] | None = None


@contextmanager
def recording(module: nn.Module) -> Iterator[list[Tensor]]:
    """Runs the block with a list that holds afterwards, for each layer of `module` that reads the source, its weights.

    They are those of all calls in the block, side by side (B,T,S). Meanwhile only one thread may use the module.
    """
    readers = [part for part in module.modules() if isinstance(part, SourceReader)]
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
    """softmax(scale query key^T): query (B,H,T,K), key (B,G,S,K), mask (B,1,1,S) -> (B,T,S), the mean over heads."""
    key = key.repeat_interleave(query.size(1) // key.size(1), dim=1)
    scores = (query @ key.transpose(2, 3)).float() * scale  # (B,H,T,S)
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=3).mean(dim=1)
