"""Positions that are added to the embeddings.

N rows, T length, D width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Positions = Literal["sinusoidal", "none"]


class SinusoidalPositions(nn.Module):
    """Sines and cosines of geometrically growing wave lengths (Vaswani et al., 2017), for any length.

    The table is computed when it is first needed and doubled when it is too short. It is a plain attribute, not a
    buffer, because a buffer whose size differs between processes cannot be broadcast by DDP.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, for example {dim + 1}, not {dim}")
        self.dim = dim
        self.table = torch.empty(0, dim)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (N,T,D), whose first column stands at position `start` -> x plus positions (N,T,D)."""
        end = start + x.size(1)
        if self.table.size(0) < end or self.table.device != x.device:
            with torch.inference_mode(False):  # a table that a validation makes has to serve training too
                self.table = sinusoids(max(end, 2 * self.table.size(0)), self.dim).to(x.device)
        return x + self.table[start:end].to(x.dtype)


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): sin(p / 10000^(i / dim)) in column i, cos of the same in column i + 1, for i = 0, 2, ..."""
    # In double precision: single precision would be wrong by a thousandth at position 10,000.
    positions = torch.arange(length, dtype=torch.float64, device="cpu")[:, None]
    columns = torch.arange(0, dim, 2, dtype=torch.float64, device="cpu")
    angles = positions * 10000.0 ** (-columns / dim)
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1).float()  # (L,D/2,2) -> (L,D)


class NoPositions(nn.Module):
    """Leaves the embeddings as they are."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return x


def make_positions(kind: Positions, dim: int) -> nn.Module:
    return SinusoidalPositions(dim) if kind == "sinusoidal" else NoPositions()
