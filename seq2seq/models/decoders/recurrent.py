"""What the recurrent decoders share.

B sources, N hypotheses (B x beam), T target length, S source length; D width, L layers, C width of a context, E of an
embedding, F of the features, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from seq2seq.models.base import DecoderState, Memory, StackDecoder
from seq2seq.nn.cache import is_identity, select_sources
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.linear import Linear
from seq2seq.nn.recurrent import Cell, RecurrentStack, num_states
from seq2seq.nn.source_attention import SourceAttentionKind, context_width, make_source_attention
from seq2seq.text.vocab import Vocab

Readout = Literal["tanh", "maxout"]


@dataclass(frozen=True)
class RecurrentDecoderState(DecoderState):
    """Per hypothesis: cell, the state of the layers, each (N,L,D); and fed (N,F), the last features, if they are fed.

    Per source: the attention's keys (B,...), if there is attention, and the memory.
    """

    cell: tuple[Tensor, ...]
    fed: Tensor | None
    keys: Tensor | None
    memory: Memory

    def select(self, sources: Tensor) -> RecurrentDecoderState:
        num_sources = self.memory.mask.size(0)
        cell = tuple(select_sources(x, sources, num_sources) for x in self.cell)
        fed = None if self.fed is None else select_sources(self.fed, sources, num_sources)
        keys = None if self.keys is None else self.keys.index_select(0, sources)
        parts = (self.memory.states, self.memory.mask, self.memory.final)
        return RecurrentDecoderState(cell, fed, keys, Memory(*(x.index_select(0, sources) for x in parts)))

    def reorder(self, hypotheses: Tensor) -> RecurrentDecoderState:
        if is_identity(hypotheses, num_rows=self.cell[0].size(0)):
            return self
        cell = tuple(x.index_select(0, hypotheses) for x in self.cell)
        fed = None if self.fed is None else self.fed.index_select(0, hypotheses)
        return replace(self, cell=cell, fed=fed)


class TanhReadout(nn.Module):
    """tanh(W [context; top]) (Luong et al., 2015); without a context the top layer's output as it is."""

    def __init__(self, d_model: int, context_dim: int) -> None:
        super().__init__()
        self.combine = Linear(context_dim + d_model, d_model, bias=False) if context_dim else None

    def forward(self, top: Tensor, context: Tensor | None, embedded: Tensor) -> Tensor:
        """top (N,T,D), context (N,T,C) if there is one, embedded (N,T,E) -> (N,T,D)."""
        if self.combine is None or context is None:
            return top
        return torch.tanh(self.combine(torch.cat((context, top), dim=2)))


class MaxoutReadout(nn.Module):
    """The larger one of each two units of W [context; top; embedding] (Cho et al., 2014; Bahdanau et al., 2015)."""

    def __init__(self, d_model: int, context_dim: int, embedding_dim: int) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"readout=maxout needs an even d_model, for example {d_model + 1}, not {d_model}")
        self.combine = Linear(context_dim + d_model + embedding_dim, d_model)

    def forward(self, top: Tensor, context: Tensor | None, embedded: Tensor) -> Tensor:
        """top (N,T,D), context (N,T,C) if there is one, embedded (N,T,E) -> (N,T,D/2)."""
        parts = (top, embedded) if context is None else (context, top, embedded)
        units: Tensor = self.combine(torch.cat(parts, dim=2))
        return units.view(*units.shape[:2], -1, 2).amax(dim=3)  # (N,T,D) -> (N,T,D/2,2)


class RecurrentDecoder(StackDecoder):
    """Recurrent layers of any cell, with any attention to the source; the named decoders state its options.

    The context is what attention finds for the top layer's new state; with `context_input`, for its state before the
    step, which reads it then (Bahdanau et al., 2015). Without attention it is, with `context_input`, the encoder's
    summary of the source (Cho et al., 2014), and else there is none: the source is in the first state only, which
    comes from that summary in any case (Sutskever et al., 2014). A decoder without a source starts from zeros.
    """

    def __init__(
        self,
        vocab: Vocab,
        memory_dim: int,
        cell: Cell,
        *,
        d_model: int,
        embedding_dim: int | None,
        num_layers: int,
        attention: SourceAttentionKind,
        num_heads: int,
        context_input: bool,
        input_feeding: bool,
        readout: Readout,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        embedding_dim = embedding_dim or d_model
        if not memory_dim and (attention != "none" or context_input):
            raise ValueError(
                "a decoder-only model has no source to attend to: set attention=none and context_input=false"
            )
        context_dim = context_width(attention, d_model, memory_dim) if attention != "none" or context_input else 0
        feature_dim = d_model // 2 if readout == "maxout" else d_model
        input_dim = embedding_dim + context_dim * context_input + feature_dim * input_feeding
        self.context_input = context_input
        self.feature_dim = feature_dim
        self.input_feeding = input_feeding
        self.embedding = TokenEmbedding(len(vocab), embedding_dim, vocab.pad, scale=sqrt(embedding_dim))
        self.dropout = Dropout(dropout)
        self.bridge = Linear(memory_dim, num_states(cell) * num_layers * d_model) if memory_dim else None
        self.recurrence = RecurrentStack(cell, input_dim, d_model, num_layers, dropout, residual)
        self.attention = make_source_attention(attention, d_model, memory_dim, num_heads)
        self.readout = (
            MaxoutReadout(d_model, context_dim, embedding_dim)
            if readout == "maxout"
            else TanhReadout(d_model, context_dim)
        )
        self.head = Linear(feature_dim, len(vocab), bias=False)

    def forward(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """tokens (B,T), mask (B,T), memory -> features (B,T,F).

        The mask is not needed: padding is at the right, after all that is real.
        """
        x = self.dropout(self.embedding(tokens))
        state = self.start(memory, max_length=tokens.size(1))
        if not self.input_feeding and (self.attention is None or not self.context_input):
            return self._read(x, state)[0]
        columns = []
        for column in x.split(1, dim=1):
            features, state = self._read(column, state)
            columns.append(features)
        return torch.cat(columns, dim=1)

    def start(self, memory: Memory, max_length: int) -> RecurrentDecoderState:
        stack = self.recurrence
        if self.bridge is None:
            width = stack.num_states * stack.num_layers * stack.hidden_dim
            first = self.embedding.weight.new_zeros(memory.final.size(0), width)
        else:
            first = self.bridge(memory.final).tanh()
        first = first.view(first.size(0), stack.num_states * stack.num_layers, -1)  # for an LSTM (B,2LD) -> (B,2L,D)
        fed = first.new_zeros(first.size(0), self.feature_dim) if self.input_feeding else None
        keys = None if self.attention is None else self.attention.keys(memory.states)
        return RecurrentDecoderState(first.chunk(stack.num_states, dim=1), fed, keys, memory)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, RecurrentDecoderState]:
        """tokens (N,) -> logits (N,V)."""
        assert isinstance(state, RecurrentDecoderState)
        features, state = self._read(self.dropout(self.embedding(tokens[:, None])), state)
        logits: Tensor = self.head(features.squeeze(1))
        return logits, state

    def prefill(self, tokens: Tensor, mask: Tensor, max_length: int) -> RecurrentDecoderState:
        """tokens (B,S), mask (B,S). A row that has ended keeps its state while longer ones go on."""
        state = self.start(Memory.empty(tokens), max_length)
        for column, real in zip(tokens.unbind(1), mask.unbind(1), strict=True):
            after = self._read(self.dropout(self.embedding(column[:, None])), state)[1]
            pairs = zip(after.cell, state.cell, strict=True)
            cell = tuple(torch.where(real[:, None, None], new, old) for new, old in pairs)  # (B,L,D)
            fed = state.fed
            if fed is not None and after.fed is not None:
                fed = torch.where(real[:, None], after.fed, fed)
            state = replace(state, cell=cell, fed=fed)
        return state

    def _read(self, x: Tensor, state: RecurrentDecoderState) -> tuple[Tensor, RecurrentDecoderState]:
        """Embeddings x (N,T,E) -> features (N,T,F) and the state after them.

        T = 1 where what a step reads depends on the step before.
        """
        inputs, context = [x], None
        if self.context_input:
            before = state.cell[0][:, -1:]  # (N,1,D), of the top layer
            context = self._context(before, state).expand(-1, x.size(1), -1)
            inputs.append(context)
        if state.fed is not None:
            inputs.append(state.fed[:, None])
        top, cell = self.recurrence(torch.cat(inputs, dim=2) if len(inputs) > 1 else x, state.cell)
        if context is None and self.attention is not None:
            context = self._context(top, state)
        features = self.dropout(self.readout(top, context, x))
        return features, replace(state, cell=cell, fed=features[:, -1] if self.input_feeding else None)

    def _context(self, query: Tensor, state: RecurrentDecoderState) -> Tensor:
        """query (N,T,D) -> (N,T,C), from the one copy of each source that all its hypotheses read."""
        memory = state.memory
        queries = query.reshape(memory.mask.size(0), -1, query.size(2))  # (N,T,D) -> (B,beam*T,D)
        if self.attention is None or state.keys is None:
            contexts = memory.final[:, None].expand(-1, queries.size(1), -1)
        else:
            contexts = self.attention(queries, state.keys, memory.states, memory.mask)
        return contexts.reshape(*query.shape[:2], -1)  # (B,beam*T,C) -> (N,T,C)
