"""The convolutional decoder.

B sources, N hypotheses (B x beam), T target length, S source length; D width, V vocabulary, L layers, C channels,
k kernel size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor, nn

from seq2seq.models.base import Decoder, DecoderState, Memory, decoders
from seq2seq.models.encoders.convolutional import KeyedMemory
from seq2seq.nn.cache import is_identity, select_sources
from seq2seq.nn.convolution import SCALE, AttendedSource, ConvolutionalDecoderLayer, started
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.linear import Linear
from seq2seq.nn.positions import LearnedPositions
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@dataclass(frozen=True)
class ConvolutionalDecoderState(DecoderState):
    """past: per hypothesis the last k - 1 inputs of each layer (N,L,C,k-1). position: of the next token."""

    past: Tensor
    source: AttendedSource
    position: int = 0

    def select(self, sources: Tensor) -> ConvolutionalDecoderState:
        past = select_sources(self.past, sources, num_sources=self.source.keys.size(0))
        return replace(self, past=past, source=self.source.select(sources))

    def reorder(self, hypotheses: Tensor) -> ConvolutionalDecoderState:
        if is_identity(hypotheses, num_rows=self.past.size(0)):
            return self
        return replace(self, past=self.past.index_select(0, hypotheses))


@decoders.register("convolutional")
class ConvolutionalDecoder(Decoder):
    """A stack of gated convolutions over the past, each with attention to the memory (Gehring et al., 2017).

    Attention reads the keys and values of a convolutional encoder's memory, and the states of any other one. Each sum
    of two is scaled by sqrt(1/2), as in the authors' program.

    Options:
        d_model: width of the embeddings and of the features; may differ from the encoder's
        channels: width of the convolutions; null means d_model
        kernel_size: positions that a convolution sees, the last of them its own
        num_layers: number of convolutions, each with its attention
        max_positions: learned positions; later tokens share the last one
        weight_norm: learn length and direction of weights apart, as in the paper; slower
        dropout: of the embeddings, of every convolution's input, and of the features
    """

    def __init__(
        self,
        vocab: Vocab,
        memory_dim: int,
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
        if not memory_dim:
            raise ValueError("every layer attends to the source, which a decoder-only model does not have")
        width = channels or d_model
        self.past_shape = (num_layers, width, kernel_size - 1)
        # scaled, since weights that the head may share have to start smaller
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad, scale=SCALE * sqrt(d_model))
        self.positions = LearnedPositions(d_model, max_positions)
        nn.init.normal_(self.positions.weight, std=SCALE)
        self.dropout = Dropout(dropout)
        # the paper's two sides are equally wide; a bias would change all scores of a query alike, that is nothing
        self.key: nn.Module = nn.Identity()
        if memory_dim != d_model:
            self.key = started(nn.Linear(memory_dim, d_model, bias=False), weight_norm=weight_norm)
        self.enter = started(nn.Linear(d_model, width), weight_norm=weight_norm)
        self.layers = nn.ModuleList(
            ConvolutionalDecoderLayer(width, d_model, memory_dim, kernel_size, dropout, weight_norm)
            for _ in range(num_layers)
        )
        self.leave = started(nn.Linear(width, d_model), weight_norm=weight_norm)
        self.head = Linear(d_model, len(vocab), bias=False)

    def forward(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """tokens (B,T), mask (B,T), memory -> features (B,T,D).

        The mask is not needed: padding is at the right, after all that is real.
        """
        return self._read(tokens, self.start(memory, max_length=tokens.size(1)))[0]

    def start(self, memory: Memory, max_length: int) -> ConvolutionalDecoderState:
        keys = values = memory.states * SCALE
        if isinstance(memory, KeyedMemory):
            keys, values = memory.keys, memory.values
        past = memory.states.new_zeros(memory.states.size(0), *self.past_shape)
        source = AttendedSource.of(self.key(keys), values, memory.mask)
        return ConvolutionalDecoderState(past, source)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, ConvolutionalDecoderState]:
        """tokens (N,) -> logits (N,V)."""
        assert isinstance(state, ConvolutionalDecoderState)
        features, inputs = self._read(tokens[:, None], state)
        newest = torch.stack(inputs, dim=1).transpose(2, 3)  # (N,L,1,C) -> (N,L,C,1)
        past = torch.cat((state.past, newest), dim=3)[..., 1:]
        logits: Tensor = self.head(features.squeeze(1))
        return logits, replace(state, past=past, position=state.position + 1)

    def _read(self, tokens: Tensor, state: ConvolutionalDecoderState) -> tuple[Tensor, list[Tensor]]:
        """tokens (N,T), those that follow the state -> features (N,T,D) and the input of each layer (N,T,C)."""
        embedded = self.dropout(self.positions(self.embedding(tokens), start=state.position))
        x = self.enter(embedded)
        inputs = []
        for layer, past in zip(self.layers, state.past.unbind(1), strict=True):
            inputs.append(x)
            x = layer(x, past, embedded, state.source)
        return self.dropout(self.leave(x)) / SCALE, inputs
