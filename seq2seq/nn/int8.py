"""Linear layers that multiply in whole numbers of 8 bits, for searches on a CPU.

R rows, in and out features.
"""

from __future__ import annotations

import copy
import platform
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

LARGEST_WEIGHT = 63  # of 7 bits
LARGEST_INPUT = 127
ZERO = 128  # what stands for 0 in an unsigned byte
TINY = 1e-30  # of a row, below which its scale would be infinite
LEAST_WEIGHTS = 2**17  # of a layer; with fewer the rounding takes as long as it saves

M = TypeVar("M", bound=nn.Module)


def is_supported(device: torch.device) -> bool:
    """By oneDNN, which has the kernels for x86."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and device.type == "cpu" and hasattr(torch.ops.onednn, "qlinear_prepack")


class Int8Linear(nn.Module):
    """What the linear layer gives, in fp32, but for rounding. Has no gradients.

    Each row of the input is divided by its largest absolute value and rounded to 8 bits, each row of the weight to 7;
    their products are summed without a rounding, so that what a row gives does not depend on those beside it. With
    weights of 8 bits a CPU without VNNI instructions, which adds in 16 bits, would cut off sums.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Keeps the weight (out,in) and the bias themselves, too, for whom reads them."""
        super().__init__()
        weight = linear.weight
        self.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight.detach(), requires_grad=False)
        self.bias = linear.bias
        scales = weight.detach().float().abs().amax(1).clamp_min(TINY) / LARGEST_WEIGHT
        rounded = (weight.detach() / scales[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)  # in the order that the kernel reads it in
        self.scales = scales
        self.zeros = torch.zeros(len(scales), dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """(...,in) -> (...,out)"""
        if not x.numel():
            return x.new_zeros(*x.shape[:-1], len(self.scales))
        rows = x.reshape(-1, x.size(-1))  # (R,in)
        largest = rows.abs().amax(1, keepdim=True).clamp_min_(TINY)
        rounded = (rows * (LARGEST_INPUT / largest)).add_(ZERO + 0.5).to(torch.uint8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(rounded, 1 / LARGEST_INPUT, ZERO, self.packed, self.scales, self.zeros, None),
            *(1.0, 0, torch.float32),  # of the output: no scale, no zero
            *("none", [], ""),  # nothing follows
        )
        product.mul_(largest)
        if self.bias is not None:
            product.add_(self.bias)
        return product.view(*x.shape[:-1], -1)  # (R,out) -> (...,out)


def int8_copy(model: M) -> M:
    """A copy, on a supported device, whose large linear layers are Int8Linear; all tensors are those of the model."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    copied = copy.deepcopy(model, shared)
    made: dict[nn.Module, Int8Linear] = {}
    for name, module in [*copied.named_modules(remove_duplicate=False)]:
        if isinstance(module, nn.Linear) and module.in_features * module.out_features >= LEAST_WEIGHTS:
            if module not in made:
                made[module] = Int8Linear(module)
            place, _, attribute = name.rpartition(".")
            setattr(copied.get_submodule(place), attribute, made[module])
    return copied
