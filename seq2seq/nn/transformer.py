"""The layers of the Transformer.

B sources, N hypotheses (B x beam) or, in training, N = B; T target length, S source length; D width, H heads,
K = D / H, G heads of keys and of values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.nn.attention import CrossAttention, SelfAttention
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.linear import Linear
from seq2seq.nn.normalization import NormType, make_norm

Activation = Literal["relu", "gelu", "silu", "swiglu"]
CrossAttentionOrder = Literal["sequential", "parallel"]
Norm = Literal["pre", "post"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "swiglu": F.silu,  # of the gate
}


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """What the layers of one encoder or decoder have in common."""

    d_model: int
    num_heads: int
    num_kv_heads: int | None
    qk_norm: bool
    d_ff: int
    activation: Activation
    norm: Norm
    norm_type: NormType
    dropout: float
    attention_dropout: float
    activation_dropout: float
    layer_drop: float

    def __post_init__(self) -> None:
        if self.activation_dropout and not self.d_ff:
            raise ValueError("d_ff=0 leaves out the feed-forward sublayers: activation_dropout has to be 0 then")

    def final_norm(self) -> nn.Module:
        """What follows the last layer: with norm "pre" nothing else normalises its output."""
        return make_norm(self.norm_type, self.d_model) if self.norm == "pre" else nn.Identity()

    def self_attention(self, causal: bool) -> SelfAttention:
        return SelfAttention(
            self.d_model, self.num_heads, self.attention_dropout, causal, self.num_kv_heads, self.qk_norm
        )


class FeedForward(nn.Module):
    """Two linear layers, applied to each position (..., D) -> (..., D).

    With the activation swiglu the first also makes a gate, whose SiLU multiplies what passes (Shazeer, 2020).
    """

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.gated = options.activation == "swiglu"
        self.inner = Linear(options.d_model, 2 * options.d_ff if self.gated else options.d_ff)
        self.outer = Linear(options.d_ff, options.d_model)
        self.activation = ACTIVATIONS[options.activation]
        self.dropout = Dropout(options.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner(x)
        if self.gated:
            gate, passing = inner.chunk(2, dim=-1)
            inner = self.activation(gate) * passing
        else:
            inner = self.activation(inner)
        output: Tensor = self.outer(self.dropout(inner))
        return output


class Residual(nn.Module):
    """Adds a sublayer's output to its input; normalises the sum ("post") or the sublayer's input ("pre")."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.pre = options.norm == "pre"
        self.norm = make_norm(options.norm_type, options.d_model)
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        total: Tensor = x + self.dropout(sublayer(self.norm(x) if self.pre else x))
        return total if self.pre else self.norm(total)


class LayerDrop(nn.Module):
    """In training leaves out a whole layer with a probability (Fan et al., 2020).

    The layer is computed all the same and its gradient is zero: the choice stays on the device, and all processes of a
    distributed run have the same graph. So it regularises, and saves no time.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """The layer's input and output (N,T,D) -> one of them."""
        if not self.training or not self.probability:
            return after
        return torch.where(torch.rand((), device=after.device) < self.probability, before, after)


class TransformerEncoderLayer(nn.Module):
    """Self-attention and feed-forward (Vaswani et al., 2017)."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.attention = options.self_attention(causal=False)
        self.attention_residual = Residual(options)
        self.feed_forward = FeedForward(options) if options.d_ff else None
        self.feed_forward_residual = Residual(options) if options.d_ff else None
        self.layer_drop = LayerDrop(options.layer_drop)

    def forward(self, x: Tensor, mask: Tensor, rotation: Tensor | None = None) -> Tensor:
        """x (B,S,D), mask (B,1,1,S) or a bias (B,H,S,S), rotation (2,S,K/2) -> (B,S,D)."""
        before = x
        x = self.attention_residual(x, lambda y: self.attention(y, mask, rotation=rotation))
        if self.feed_forward is not None and self.feed_forward_residual is not None:
            x = self.feed_forward_residual(x, self.feed_forward)
        output: Tensor = self.layer_drop(before, x)
        return output


class TransformerDecoderLayer(nn.Module):
    """Causal self-attention, attention to the memory (if memory_dim is not 0), and feed-forward (Vaswani et al., 2017).

    With `cross_attention` "parallel" the first two are one sublayer, whose output is the sum of theirs. With norm
    "post" that is LayerNorm(x + MHA(x, memory) + MHA(x, x)); with norm "pre" both read the same normalised input:
    x + MHA(y, memory) + MHA(y, y), where y = LayerNorm(x).
    """

    def __init__(
        self, options: LayerOptions, memory_dim: int, cross_attention: CrossAttentionOrder = "sequential"
    ) -> None:
        super().__init__()
        self.attention = options.self_attention(causal=True)
        self.attention_residual = Residual(options)
        self.cross_attention = self.cross_attention_residual = None
        if memory_dim:
            self.cross_attention = CrossAttention(
                options.d_model,
                memory_dim,
                options.num_heads,
                options.attention_dropout,
                options.num_kv_heads,
                options.qk_norm,
            )
            self.cross_attention_residual = Residual(options) if cross_attention == "sequential" else None
        self.feed_forward = FeedForward(options) if options.d_ff else None
        self.feed_forward_residual = Residual(options) if options.d_ff else None
        self.layer_drop = LayerDrop(options.layer_drop)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None,
        memory_mask: Tensor | None,
        past: Tensor | None = None,
        position: int = 0,
        bias: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """x (N,T,D), memory (B,G,2,S,K) from `cross_attention.heads`, memory_mask (B,1,1,S) -> (N,T,D).

        bias (1,H,T,T), which hides the future, and rotation (2,T,K/2) are of the self-attention, and so are `past`
        (N,G,2,C,K) and position.
        """
        cross_attention = self.cross_attention

        def to_target(y: Tensor) -> Tensor:
            output: Tensor = self.attention(y, bias, past, position, rotation)
            return output

        before = x
        if cross_attention is None:
            x = self.attention_residual(x, to_target)
        elif self.cross_attention_residual is None:
            x = self.attention_residual(x, lambda y: cross_attention(y, memory, memory_mask) + to_target(y))
        else:
            x = self.attention_residual(x, to_target)
            x = self.cross_attention_residual(x, lambda y: cross_attention(y, memory, memory_mask))
        if self.feed_forward is not None and self.feed_forward_residual is not None:
            x = self.feed_forward_residual(x, self.feed_forward)
        output: Tensor = self.layer_drop(before, x)
        return output
