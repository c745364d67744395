"""What brings vectors to a common length."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

NormType = Literal["layer", "rms"]


class RMSNorm(nn.RMSNorm):
    """Divides a vector by the root of its mean square, without centring it (Zhang and Sennrich, 2019).

    Computed in float32 whatever the input, whose dtype is kept.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm, whose output has the input's dtype under autocast, too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.dtype)


def make_norm(kind: NormType, dim: int) -> nn.Module:
    return RMSNorm(dim) if kind == "rms" else LayerNorm(dim)
