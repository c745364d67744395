"""The LSTM decoder with attention.

B sources, N hypotheses (B x beam), T target length, S source length; D width, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from seq2seq.models.base import Decoder, DecoderState, Memory, decoders
from seq2seq.nn.attention import LuongAttention, is_identity, select_sources
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.linear import Linear
from seq2seq.nn.recurrent import lstm
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@dataclass(frozen=True)
class LSTMDecoderState(DecoderState):
    """Per hypothesis: hidden and cell (N,L,D), attentional (N,D), the last attentional vector.

    Per source: the attention's keys (B,S,D) and the memory.
    """

    hidden: Tensor
    cell: Tensor
    attentional: Tensor
    keys: Tensor
    memory: Memory

    def select(self, sources: Tensor) -> LSTMDecoderState:
        num_sources = self.keys.size(0)
        hidden, cell, attentional = (
            select_sources(x, sources, num_sources) for x in (self.hidden, self.cell, self.attentional)
        )
        keys, states, mask, final = (
            x.index_select(0, sources) for x in (self.keys, self.memory.states, self.memory.mask, self.memory.final)
        )
        return LSTMDecoderState(hidden, cell, attentional, keys, Memory(states, mask, final))

    def reorder(self, hypotheses: Tensor) -> LSTMDecoderState:
        if is_identity(hypotheses, num_rows=self.hidden.size(0)):
            return self
        hidden, cell, attentional = (x.index_select(0, hypotheses) for x in (self.hidden, self.cell, self.attentional))
        return replace(self, hidden=hidden, cell=cell, attentional=attentional)


@decoders.register("lstm")
class LSTMDecoder(Decoder):
    """LSTM layers whose top attends to the memory; features are tanh(W [context; top]) (Luong et al., 2015).

    Options:
        d_model: width of the embeddings and of every layer
        num_layers: number of layers
        attention: how states are scored: dot (needs the encoder's width), general or concat
        input_feeding: whether each step also reads the last attentional vector; slower
        dropout: of the embeddings, between layers, and of the features
    """

    def __init__(
        self,
        vocab: Vocab,
        memory_dim: int,
        *,
        d_model: PositiveInt = 512,
        num_layers: PositiveInt = 1,
        attention: Literal["dot", "general", "concat"] = "general",
        input_feeding: bool = False,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.input_feeding = input_feeding
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad)
        self.dropout = nn.Dropout(dropout)
        self.bridge = Linear(memory_dim, 2 * num_layers * d_model)
        self.lstm = lstm(2 * d_model if input_feeding else d_model, d_model, num_layers, dropout)
        self.attention = LuongAttention(attention, d_model, memory_dim)
        self.combine = Linear(memory_dim + d_model, d_model, bias=False)
        self.head = Linear(d_model, len(vocab), bias=False)

    def forward(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """tokens (B,T), mask (B,T), memory -> features (B,T,D).

        The mask is not needed: padding is at the right, after all that is real.
        """
        x = self.dropout(self.embedding(tokens))
        state = self.start(memory, max_length=tokens.size(1))
        if not self.input_feeding:
            return self._read(x, state)[0]
        columns = []
        for column in x.split(1, dim=1):
            features, state = self._read(column, state)
            columns.append(features)
        return torch.cat(columns, dim=1)

    def start(self, memory: Memory, max_length: int) -> LSTMDecoderState:
        first = self.bridge(memory.final).tanh().unflatten(1, (2 * self.lstm.num_layers, -1))  # (B,2LD) -> (B,2L,D)
        hidden, cell = first.chunk(2, dim=1)
        return LSTMDecoderState(
            hidden, cell, torch.zeros_like(hidden[:, 0]), self.attention.keys(memory.states), memory
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, LSTMDecoderState]:
        """tokens (N,) -> logits (N,V)."""
        assert isinstance(state, LSTMDecoderState)
        features, state = self._read(self.dropout(self.embedding(tokens[:, None])), state)
        logits: Tensor = self.head(features.squeeze(1))
        return logits, state

    def _read(self, x: Tensor, state: LSTMDecoderState) -> tuple[Tensor, LSTMDecoderState]:
        """Embeddings x (N,T,D); with input feeding, T = 1 -> features (N,T,D) and the state after them."""
        if self.input_feeding:
            x = torch.cat((x, state.attentional[:, None]), dim=2)
        hidden, cell = (y.transpose(0, 1).contiguous() for y in (state.hidden, state.cell))  # (L,N,D)
        top, (hidden, cell) = self.lstm(x, (hidden, cell))
        queries = top.view(state.keys.size(0), -1, top.size(2))  # (N,T,D) -> (B,beam*T,D)
        contexts = self.attention(queries, state.keys, state.memory.states, state.memory.mask)
        contexts = contexts.view(*top.shape[:2], -1)  # (B,beam*T,memory_dim) -> (N,T,memory_dim)
        features = self.dropout(self.combine(torch.cat((contexts, top), dim=2)).tanh())
        hidden, cell = hidden.transpose(0, 1), cell.transpose(0, 1)  # (N,L,D)
        return features, replace(state, hidden=hidden, cell=cell, attentional=features[:, -1])
