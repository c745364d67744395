"""Dropout whose masks cost little on a CPU.

There torch draws a mask element by element, which takes a sixth of the training of a Transformer. Here a mask is the
XOR of two stretches of a pool of random bits. The pool is the same in every process; where the stretches begin, torch's
generator draws, so that a seed, or a generator's stored state, gives the same masks again.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOL_WORDS = 1 << 20  # of 64 bits, and so some 10^12 pairs of stretches
STRETCH = POOL_WORDS // 2  # the longest
LANES = {
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float64: torch.int64,
}


class Dropout(nn.Dropout):
    """nn.Dropout, with masks as this file makes them."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x


def dropout(x: Tensor, probability: float) -> Tensor:
    """x of any shape with each element 0 with this probability, else divided by that of staying."""
    if not probability:
        return x
    if x.device.type != "cpu" or x.dtype not in LANES or probability == 1.0 or torch.compiler.is_compiling():
        return F.dropout(x, probability)
    dropped: Tensor = _Dropped.apply(x, probability)  # type: ignore[no-untyped-call]
    return dropped


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float) -> Tensor:
        kept, ctx.scale = kept_lanes(x.numel(), LANES[x.dtype], 1.0 - probability)
        kept = kept.view(x.shape)
        ctx.save_for_backward(kept)
        return _apply(x, kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _apply(gradients[0], kept, ctx.scale), None


def _apply(x: Tensor, kept: Tensor, scale: float) -> Tensor:
    return (x.view(kept.dtype) & kept).view(x.dtype).mul_(scale)


def kept_lanes(count: int, dtype: torch.dtype, probability: float) -> tuple[Tensor, float]:
    """As many integers, each with all bits set with this probability, else 0; and one divided by the probability.

    That is a multiple of 2^-15 where they have 16 bits.
    """
    bits = 8 * dtype.itemsize
    words = torch.empty(-(-count * dtype.itemsize // 8), dtype=torch.int64)
    for part in words.split(STRETCH):
        first, distance = torch.randint(1, POOL_WORDS - STRETCH, (2,)).tolist()  # no distance of 0: that leaves no bits
        second = (first + distance) % (POOL_WORDS - STRETCH)
        torch.bitwise_xor(_pool()[first : first + len(part)], _pool()[second : second + len(part)], out=part)
    lanes = words.view(dtype)[:count]
    largest = torch.iinfo(dtype).max
    limit = min(max(round(probability * (largest + 1)), 1), largest)
    lanes.bitwise_and_(largest).sub_(limit).bitwise_right_shift_(bits - 1)  # the sign: all bits of what is below
    return lanes, (largest + 1) / limit


@cache
def _pool() -> Tensor:
    """(POOL_WORDS,), 8 MiB."""
    with torch.inference_mode(False):
        words = torch.empty(POOL_WORDS, dtype=torch.int64, device="cpu")
        return words.random_(-(2**63), None, generator=torch.Generator().manual_seed(1))
