"""Tokens to vectors."""

import torch
from torch import Tensor, nn


class TokenEmbedding(nn.Embedding):
    """tokens (...) -> (..., D), times `scale`; under autocast in its dtype, and so all that layers add to them.

    Weights start at normal(0, D^-0.5), so that they also serve as the weights of a head; the pad row is zero and gets
    no gradient from here.
    """

    def __init__(self, num_tokens: int, dim: int, pad: int, scale: float = 1.0) -> None:
        super().__init__(num_tokens, dim, padding_idx=pad)
        self.scale = scale

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)
        self._fill_padding_idx_with_zero()

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = super().forward(tokens)
        vectors = vectors if self.scale == 1.0 else vectors * self.scale
        device = vectors.device.type
        return vectors.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else vectors
