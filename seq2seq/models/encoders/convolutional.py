"""The convolutional encoder.

B sources, S source length, D width.
"""

from dataclasses import dataclass
from math import sqrt

import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.models.base import Encoder, Memory, encoders
from seq2seq.nn.convolution import SCALE, ConvolutionalEncoderLayer, scaled_sum, started
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.positions import LearnedPositions
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@dataclass(frozen=True)
class KeyedMemory(Memory):
    """A convolutional decoder scores the keys (B,S,D) and averages the values (B,S,D), instead of the states."""

    keys: Tensor
    values: Tensor


@encoders.register("convolutional")
class ConvolutionalEncoder(Encoder):
    """A stack of gated convolutions (Gehring et al., 2017). Its summary of the source is the mean of the states.

    The keys of its memory are what the paper calls z, the values z + e, with the embeddings; a convolutional decoder
    reads them. Any other one reads the states: the values, each normalised to mean 0 and variance 1, since they are
    small and know no bound. Each sum of two is scaled by sqrt(1/2), as in the authors' program.

    Options:
        d_model: width of the embeddings and of the output
        channels: width of the convolutions; null means d_model
        kernel_size: positions that a convolution sees; odd
        num_layers: number of convolutions
        max_positions: learned positions; later tokens share the last one
        weight_norm: learn length and direction of weights apart, as in the paper; slower
        dropout: of the embeddings and of every convolution's input
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        d_model: PositiveInt = 512,
        channels: PositiveInt | None = None,
        kernel_size: PositiveInt = 3,
        num_layers: PositiveInt = 6,
        max_positions: PositiveInt = 1024,
        weight_norm: bool = False,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"the encoder needs an odd kernel_size, for example {kernel_size + 1}, not {kernel_size}")
        width = channels or d_model
        self.output_dim = d_model
        # scaled, since weights that a head may share have to start smaller
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad, scale=SCALE * sqrt(d_model))
        self.positions = LearnedPositions(d_model, max_positions)
        nn.init.normal_(self.positions.weight, std=SCALE)
        self.dropout = Dropout(dropout)
        self.enter = started(nn.Linear(d_model, width), weight_norm=weight_norm)
        self.layers = nn.ModuleList(
            ConvolutionalEncoderLayer(width, kernel_size, dropout, weight_norm) for _ in range(num_layers)
        )
        self.leave = started(nn.Linear(width, d_model), weight_norm=weight_norm)

    def forward(self, tokens: Tensor, mask: Tensor) -> KeyedMemory:
        """tokens (B,S), mask (B,S) -> states, keys and values (B,S,D), zero under False, and final (B,D)."""
        embedded = self.dropout(self.positions(self.embedding(tokens)))
        x = self.enter(embedded)
        for layer in self.layers:
            x = layer(x, mask)
        padding = ~mask[:, :, None]
        keys = self.leave(x).masked_fill(padding, 0.0)
        values = scaled_sum(keys, embedded).masked_fill(padding, 0.0)
        states = F.layer_norm(values, values.shape[-1:]).to(values.dtype)
        lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return KeyedMemory(states, mask, final=states.sum(dim=1) / lengths, keys=keys, values=values)
