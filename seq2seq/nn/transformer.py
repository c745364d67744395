"""The layers of the Transformer.

B sources, N hypotheses (B x beam) or, in training, N = B; T target length, S source length; D width, H heads,
K = D / H.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.nn.attention import CrossAttention, SelfAttention
from seq2seq.nn.linear import Linear

Activation = Literal["relu", "gelu"]
Norm = Literal["pre", "post"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class LayerOptions:
    """What the layers of one encoder or decoder have in common."""

    d_model: int
    num_heads: int
    d_ff: int
    norm: Norm
    activation: Activation
    dropout: float
    attention_dropout: float
    activation_dropout: float

    def final_norm(self) -> nn.Module:
        """What follows the last layer: with norm "pre" nothing else normalises its output."""
        return nn.LayerNorm(self.d_model) if self.norm == "pre" else nn.Identity()


class FeedForward(nn.Module):
    """Two linear layers, applied to each position (..., D) -> (..., D)."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.inner = Linear(options.d_model, options.d_ff)
        self.outer = Linear(options.d_ff, options.d_model)
        self.activation = ACTIVATIONS[options.activation]
        self.dropout = nn.Dropout(options.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.outer(self.dropout(self.activation(self.inner(x))))
        return output


class Residual(nn.Module):
    """Adds a sublayer's output to its input; normalises the sum ("post") or the sublayer's input ("pre")."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.pre = options.norm == "pre"
        self.norm = nn.LayerNorm(options.d_model)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        total: Tensor = x + self.dropout(sublayer(self.norm(x) if self.pre else x))
        return total if self.pre else self.norm(total)


class TransformerEncoderLayer(nn.Module):
    """Self-attention and feed-forward (Vaswani et al., 2017)."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.attention = SelfAttention(options.d_model, options.num_heads, options.attention_dropout)
        self.attention_residual = Residual(options)
        self.feed_forward = FeedForward(options)
        self.feed_forward_residual = Residual(options)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B,S,D), mask (B,1,1,S) -> (B,S,D)."""
        x = self.attention_residual(x, lambda y: self.attention(y, mask))
        output: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return output


class TransformerDecoderLayer(nn.Module):
    """Causal self-attention, attention to the memory, and feed-forward (Vaswani et al., 2017)."""

    def __init__(self, options: LayerOptions, memory_dim: int) -> None:
        super().__init__()
        width, num_heads, dropout = options.d_model, options.num_heads, options.attention_dropout
        self.attention = SelfAttention(width, num_heads, dropout, causal=True)
        self.attention_residual = Residual(options)
        self.cross_attention = CrossAttention(width, memory_dim, num_heads, dropout)
        self.cross_attention_residual = Residual(options)
        self.feed_forward = FeedForward(options)
        self.feed_forward_residual = Residual(options)

    def forward(
        self, x: Tensor, memory: Tensor, memory_mask: Tensor, past: Tensor | None = None, position: int = 0
    ) -> Tensor:
        """x (N,T,D), memory (B,2H,S,K) from `cross_attention.heads`, memory_mask (B,1,1,S) -> (N,T,D).

        With `past` (N,2H,C,K) as in SelfAttention, x is the one column of `position`.
        """
        x = self.attention_residual(x, lambda y: self.attention(y, past=past, position=position))
        x = self.cross_attention_residual(x, lambda y: self.cross_attention(y, memory, memory_mask))
        output: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return output
