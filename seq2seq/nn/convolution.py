"""The layers of convolutional encoders and decoders.

B sources, N hypotheses (B x beam) or, in training, N = B; T target length, S source length; D width of the embeddings,
M of the memory, C channels, k kernel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from seq2seq.nn.attention import attendable
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.recording import SourceReader, mean_weights

# The standard deviation of the embeddings at the start (Gehring et al., 2017, section 3.5), and so of all vectors
# inside. The layers of other families keep theirs near 1, and a memory is between families: vectors are divided by this
# on the way out, and multiplied on the way in.
SCALE = 0.1

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d)


def started(layer: Layer, gain: float = 1.0, weight_norm: bool = False) -> Layer:
    """Gives the layer weights from normal(0, sqrt(gain / inputs of a neuron)) and zero biases (section 3.5).

    A gain of 1 keeps the variance; of 4, together with the gate behind it. With weight_norm, its weights are learned
    as a length and a direction for each neuron (Salimans and Kingma, 2016).
    """
    nn.init.normal_(layer.weight, std=sqrt(gain / layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    if weight_norm:
        parametrizations.weight_norm(layer)
    return layer


def scaled_sum(x: Tensor, y: Tensor) -> Tensor:
    """Has the variance of x and y where they vary alike."""
    return (x + y) * sqrt(0.5)


class GatedConvolution(nn.Module):
    """Dropout, a convolution over positions, and the gated linear unit of Dauphin et al. (2017)."""

    def __init__(self, channels: int, kernel_size: int, dropout: float = 0.0, weight_norm: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dropout = Dropout(dropout)
        self.convolution = started(nn.Conv1d(channels, 2 * channels, kernel_size), 4.0, weight_norm)

    def forward(self, x: Tensor, past: Tensor | None = None) -> Tensor:
        """x (N,T,C) -> (N,T,C).

        Without `past` the kernel lies around each position, and zeros around x. With the k - 1 columns before x as
        `past` (N,C,k-1), it ends at each position.
        """
        columns = self.dropout(x).transpose(1, 2)  # (N,C,T)
        if past is None:
            return self._gated(F.pad(columns, (self.kernel_size // 2, self.kernel_size // 2)))
        return self._gated(torch.cat((past, columns), dim=2))

    def _gated(self, columns: Tensor) -> Tensor:
        """(N,C,T+k-1) -> (N,T,C)."""
        if columns.size(2) > self.kernel_size:
            return F.glu(self.convolution(columns), dim=1).transpose(1, 2)
        # one window: as a linear layer it takes half of the time on a CPU
        weight, bias = self.convolution.weight.flatten(1), self.convolution.bias  # (2C,C,k) -> (2C,C*k)
        return F.glu(F.linear(columns.flatten(1), weight, bias), dim=1)[:, None]


@dataclass(frozen=True)
class AttendedSource:
    """What all layers of a decoder attend to: keys (B,1,S,D), values (B,1,S,M), mask (B,1,1,S)."""

    keys: Tensor
    values: Tensor
    mask: Tensor

    @classmethod
    def of(cls, keys: Tensor, states: Tensor, mask: Tensor) -> AttendedSource:
        """keys (B,S,D), states (B,S,M), mask (B,S), True at the real tokens.

        An average over m states has 1 / m of their variance where all weigh the same: sqrt(m) makes up for that. It is
        taken into the values, once for all queries, and is 0 for a source without any real token.
        """
        scale = mask.sum(dim=1).to(states.dtype).sqrt()[:, None, None]
        return cls(keys[:, None], (states * scale)[:, None], attendable(mask))

    def select(self, sources: Tensor) -> AttendedSource:
        """Those of index (B',)."""
        return AttendedSource(*(x.index_select(0, sources) for x in (self.keys, self.values, self.mask)))


class ConvolutionalAttention(SourceReader):
    """Attention by dot product; the queries also know the last target token (section 3.3)."""

    def __init__(self, channels: int, d_model: int, memory_dim: int, weight_norm: bool = False) -> None:
        super().__init__()
        self.query = started(nn.Linear(channels, d_model), weight_norm=weight_norm)
        self.out = started(nn.Linear(memory_dim, channels), weight_norm=weight_norm)

    def forward(self, x: Tensor, target: Tensor, source: AttendedSource) -> Tensor:
        """x (N,T,C), embeddings of the target (N,T,D) -> x with contexts (N,T,C).

        All hypotheses of a source are queries to the one copy of its keys and values.
        """
        queries = scaled_sum(self.query(x), target)
        queries = queries.view(source.keys.size(0), 1, -1, queries.size(2))  # (N,T,D) -> (B,1,beam*T,D)
        contexts = F.scaled_dot_product_attention(queries, source.keys, source.values, source.mask, scale=1.0)
        if self.record is not None:
            self.record.append(mean_weights(queries, source.keys, source.mask, scale=1.0))
        return scaled_sum(x, self.out(contexts.reshape(*x.shape[:2], -1)))  # (B,1,beam*T,M) -> (N,T,M)


class ConvolutionalEncoderLayer(nn.Module):
    """A gated convolution around each position, and a residual connection (Gehring et al., 2017)."""

    def __init__(self, channels: int, kernel_size: int, dropout: float = 0.0, weight_norm: bool = False) -> None:
        super().__init__()
        self.convolution = GatedConvolution(channels, kernel_size, dropout, weight_norm)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B,S,C), mask (B,S) -> (B,S,C). Padding is read as what lies outside of the sequence, as zeros."""
        x = x.masked_fill(~mask[:, :, None], 0.0)
        return scaled_sum(x, self.convolution(x))


class ConvolutionalDecoderLayer(nn.Module):
    """A gated convolution over the past, attention, and a residual connection around both (Gehring et al., 2017)."""

    def __init__(
        self,
        channels: int,
        d_model: int,
        memory_dim: int,
        kernel_size: int,
        dropout: float = 0.0,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.convolution = GatedConvolution(channels, kernel_size, dropout, weight_norm)
        self.attention = ConvolutionalAttention(channels, d_model, memory_dim, weight_norm)

    def forward(self, x: Tensor, past: Tensor, target: Tensor, source: AttendedSource) -> Tensor:
        """x (N,T,C), the k - 1 columns before it (N,C,k-1), embeddings of the target (N,T,D) -> (N,T,C)."""
        return scaled_sum(x, self.attention(self.convolution(x, past), target, source))
