"""Positions: some are added to the embeddings, others are seen by self-attention only.

N rows, T length, D width, H heads, K = D / H; P = start + T keys, of which the T queries are the last.
"""

from collections.abc import Callable
from functools import partial
from math import log
from typing import Literal

import torch
from torch import Tensor, nn

Positions = Literal["sinusoidal", "learned", "rotary", "alibi", "relative", "none"]


class GrowingTable:
    """A row for each of the positions 0, 1, ..., computed when it is first needed and doubled when it is too short.

    It is no buffer, because a buffer whose size differs between processes cannot be broadcast by DDP.
    """

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        """make: from a number of rows to a tensor with as many, whose rows do not depend on that number."""
        self.make = make
        self.rows = torch.empty(0)

    def __call__(self, length: int, device: torch.device) -> Tensor:
        """At least the first `length` rows, whatever other threads ask for."""
        rows = self.rows
        if rows.size(0) < length or rows.device != device:
            with torch.inference_mode(False):  # a table that a validation makes has to serve training too
                self.rows = rows = self.make(max(length, 2 * rows.size(0))).to(device)
        return rows


def columns(x: Tensor, start: int, padding: Tensor | None) -> Tensor:
    """The positions of the columns of x (N,T,D), (T,), or (N,T) where padding (N,) columns stand before each row's."""
    positions = torch.arange(start, start + x.size(1), device=x.device)
    return positions if padding is None else (positions - padding[:, None]).clamp(min=0)


class SinusoidalPositions(nn.Module):
    """Sines and cosines of geometrically growing wave lengths (Vaswani et al., 2017), for any length."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, for example {dim + 1}, not {dim}")
        self.table = GrowingTable(partial(sinusoids, dim=dim))

    def forward(self, x: Tensor, start: int = 0, padding: Tensor | None = None) -> Tensor:
        """x (N,T,D), whose first column stands at position `start` - `padding` (N,) -> x plus positions (N,T,D)."""
        end = start + x.size(1)
        table = self.table(end, x.device)
        return x + (table[start:end] if padding is None else table[columns(x, start, padding)]).to(x.dtype)


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): sin(p / 10000^(i / dim)) in column i, cos of the same in column i + 1, for i = 0, 2, ..."""
    angles = wave_angles(length, dim)
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1).float()  # (L,D/2,2) -> (L,D)


def wave_angles(length: int, dim: int) -> Tensor:
    """(length, dim / 2): p / 10000^(i / dim) for i = 0, 2, ...

    In double precision: the sine of a single precision angle would be wrong by a thousandth at position 10,000.
    """
    positions = torch.arange(length, dtype=torch.float64, device="cpu")[:, None]
    columns = torch.arange(0, dim, 2, dtype=torch.float64, device="cpu")
    return positions * 10000.0 ** (-columns / dim)


class LearnedPositions(nn.Embedding):
    """A learned vector for each of the first `max_positions` positions; all that lie beyond have the last one's.

    So a line of any length can be read, if not well beyond the lengths of training.
    """

    def __init__(self, dim: int, max_positions: int) -> None:
        super().__init__(max_positions, dim)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)

    def forward(self, x: Tensor, start: int = 0, padding: Tensor | None = None) -> Tensor:
        """x (N,T,D), whose first column stands at position `start` - `padding` (N,) -> x plus positions (N,T,D)."""
        return x + super().forward(columns(x, start, padding).clamp(max=self.num_embeddings - 1)).to(x.dtype)


class NoPositions(nn.Module):
    """Leaves the embeddings as they are."""

    def forward(self, x: Tensor, start: int = 0, padding: Tensor | None = None) -> Tensor:
        return x


def make_positions(kind: Positions, dim: int, max_positions: int | None = None) -> nn.Module:
    """What is added to the embeddings. max_positions: of learned positions, 1024 where None. Raises ValueError."""
    if kind == "learned":
        return LearnedPositions(dim, max_positions or 1024)
    if max_positions is not None:
        raise ValueError(f"max_positions is the size of positions=learned; leave it null with positions={kind}")
    return SinusoidalPositions(dim) if kind == "sinusoidal" else NoPositions()


class AttentionPositions(nn.Module):
    """What self-attention is told of positions, once for all layers of a stack; by this class, nothing.

    x (N,T,D), the columns from position `start` on, asks for the T queries among all keys so far.
    """

    def rotation(self, x: Tensor, start: int = 0) -> Tensor | None:
        """Cosines and sines (2,T,K/2) for `rotate`."""
        return None

    def bias(self, x: Tensor, start: int = 0) -> Tensor | None:
        """What is added to the scores (1,H,T,P), in the dtype that attention computes in; -inf hides the future."""
        return None


class RotaryPositions(AttentionPositions):
    """Turns queries and keys by angles that grow with the position, so that scores see distances (Su et al., 2021).

    The pairs that are turned are columns i and i + K/2 of a head, for the paper's 2i and 2i + 1: a matter of naming,
    since the columns are learned, and fewer strided reads.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even width of each head, d_model / num_heads, not {head_dim}")
        self.table = GrowingTable(partial(_cosines_and_sines, dim=head_dim))

    def rotation(self, x: Tensor, start: int = 0) -> Tensor:
        end = start + x.size(1)
        return self.table(end, x.device)[start:end].transpose(0, 1)  # (T,2,K/2) -> (2,T,K/2)


def _cosines_and_sines(length: int, dim: int) -> Tensor:
    """(length, 2, dim / 2)."""
    angles = wave_angles(length, dim)
    return torch.stack((angles.cos(), angles.sin()), dim=1).float()


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """heads (N,H,T,K), rotation (2,T,K/2) -> each pair of columns i and i + K/2 turned by its angle (N,H,T,K)."""
    cosines, sines = rotation
    first, second = heads.chunk(2, dim=3)
    turned = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=3)
    return turned.to(heads.dtype)


class AlibiPositions(AttentionPositions):
    """Scores fall linearly with the distance, for each head with its own slope (Press et al., 2022).

    The paper is on causal attention; without `causal`, what lies ahead is as far as what lies behind.
    """

    def __init__(self, num_heads: int, causal: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal

    def bias(self, x: Tensor, start: int = 0) -> Tensor:
        behind = distances(x, start)
        bias = alibi_slopes(self.num_heads, x.device)[:, None, None] * -behind.abs()  # (H,T,P)
        return as_bias(bias, x, behind if self.causal else None)


def alibi_slopes(num_heads: int, device: torch.device) -> Tensor:
    """(H,): for n = H a power of two 2^(-8/n), 2^(-16/n), ..., 2^-8.

    Else those of the next smaller power n, and then, for the heads that are left, every other one of those of 2n.
    """
    power = 1 << (num_heads.bit_length() - 1)
    heads = torch.arange(1, num_heads + 1, device=device)
    return torch.exp2(-torch.where(heads <= power, 8 * heads, 8 * (heads - power) - 4) / power)


class BucketedPositions(AttentionPositions):
    """A learned number for each head and each bucket of distances, in one table for all layers (Raffel et al., 2020).

    Half of the buckets hold one distance each, the others ever more, up to max_distance; the last holds all beyond it.
    Without `causal` what lies ahead has half of the buckets. The paper (T5) adds these numbers to unscaled scores q k,
    and starts with query weights that are smaller by sqrt(K). We add them to q k / sqrt(K), as everywhere in this
    module: the same function, where T5's query weights are multiplied by sqrt(K).
    """

    def __init__(
        self, d_model: int, num_heads: int, causal: bool, num_buckets: int = 32, max_distance: int = 128
    ) -> None:
        super().__init__()
        self.causal = causal
        self.ahead = 0 if causal else num_buckets // 2  # the first bucket of what lies ahead
        self.buckets = GrowingTable(
            partial(distance_buckets, num_buckets=num_buckets - self.ahead, max_distance=max_distance)
        )
        self.table = nn.Embedding(num_buckets, num_heads)
        nn.init.normal_(self.table.weight, std=d_model**-0.5)

    def bias(self, x: Tensor, start: int = 0) -> Tensor:
        behind = distances(x, start)
        buckets = self.buckets(start + x.size(1), x.device)
        places = buckets[behind.clamp(min=0) if self.causal else behind.abs()] + self.ahead * (behind < 0)
        return as_bias(self.table(places).permute(2, 0, 1), x, behind if self.causal else None)  # (T,P,H) -> (H,T,P)


def distance_buckets(length: int, num_buckets: int, max_distance: int) -> Tensor:
    """(length,): the bucket of each of the distances 0, 1, ..."""
    exact = num_buckets // 2
    places = torch.arange(length, device="cpu")
    growth = (places.clamp(min=exact) / exact).log() / log(max_distance / exact) * (num_buckets - exact)
    return torch.where(places < exact, places, (exact + growth.long()).clamp(max=num_buckets - 1))


def distances(x: Tensor, start: int) -> Tensor:
    """(T,P): how far the key lies behind the query; negative where it lies ahead."""
    positions = torch.arange(start + x.size(1), device=x.device)
    return positions[start:, None] - positions


def as_bias(bias: Tensor, x: Tensor, behind: Tensor | None) -> Tensor:
    """bias (H,T,P) -> (1,H,T,P), laid out and rounded once for all layers; -inf where `behind` (T,P) is negative."""
    if behind is not None and x.size(1) > 1:
        bias = bias.masked_fill(behind < 0, float("-inf"))
    return bias.to(attention_dtype(x)).contiguous()[None]


def attention_dtype(x: Tensor) -> torch.dtype:
    """What attention computes in where its input is x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def make_attention_positions(kind: Positions, d_model: int, num_heads: int, causal: bool) -> AttentionPositions:
    """What self-attention is told of positions. Raises ValueError."""
    if kind == "rotary":
        return RotaryPositions(d_model // num_heads)
    if kind == "alibi":
        return AlibiPositions(num_heads, causal)
    if kind == "relative":
        return BucketedPositions(d_model, num_heads, causal)
    return AttentionPositions()
