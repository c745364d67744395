"""Attention of a recurrent decoder to the source.

B sources, T queries of each (in decoding its hypotheses), S source length; D width of the decoder, C of the contexts.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from seq2seq.nn.attention import CrossAttention, attendable
from seq2seq.nn.linear import Linear
from seq2seq.nn.recording import SourceReader

LuongScore = Literal["dot", "general", "concat"]
SourceAttentionKind = Literal["none", "additive", "dot", "general", "concat", "multi_head"]


class SourceAttention(SourceReader, ABC):
    """Queries and the source's states to contexts, as wide as `context_width` says."""

    @abstractmethod
    def keys(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,...), what no query changes; computed once for a source."""

    @abstractmethod
    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """query (B,T,D), keys from `keys`, states (B,S,memory_dim), mask (B,S) -> contexts (B,T,C)."""

    def _average(self, scores: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """scores (B,T,S), states (B,S,C), mask (B,S) -> (B,T,C), weighted by the softmax of the scores of real tokens.

        Zero for a row without any real token.
        """
        masked = ~mask[:, None]  # (B,1,S)
        weights = scores.masked_fill(masked, torch.finfo(scores.dtype).min).softmax(dim=2).masked_fill(masked, 0.0)
        if self.record is not None:
            self.record.append(weights)
        return weights @ states


class LuongAttention(SourceAttention):
    """Global attention with the scores "dot", "general" and "concat" (Luong et al., 2015).

    "general" is query W state, with W = key.weight / sqrt(D). So the weights, which all start and learn at the pace of
    other layers', make scores of the scale of one, and no state gets all weight before anything is learned.
    "concat" is v tanh(W [query; state]), computed as v tanh(W1 query + W2 state); it takes memory for B x T x S x D.
    """

    def __init__(self, score: LuongScore, d_model: int, memory_dim: int) -> None:
        super().__init__()
        if score == "dot" and memory_dim != d_model:
            raise ValueError(
                f"attention=dot needs a decoder as wide as the encoder's output, d_model={memory_dim}, not {d_model}; "
                "attention=general takes any width"
            )
        self.key = nn.Identity() if score == "dot" else Linear(memory_dim, d_model, bias=False)
        self.scale = d_model**-0.5 if score == "general" else 1.0
        self.query = Linear(d_model, d_model, bias=False) if score == "concat" else None
        self.score = Linear(d_model, 1, bias=False) if score == "concat" else None

    def keys(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,S,D)."""
        keys: Tensor = self.key(states)
        return keys

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """query (B,T,D), keys (B,S,D), states (B,S,memory_dim), mask (B,S) -> contexts (B,T,memory_dim).

        The context of a row without any real token is zero.
        """
        if self.query is None or self.score is None:
            return self._average(self.scale * query @ keys.transpose(1, 2), states, mask)
        return self._average(additive_scores(self.query(query), keys, self.score), states, mask)


class AdditiveAttention(SourceAttention):
    """Scores v tanh(W query + U state + b), with D units inside (Bahdanau et al., 2015).

    It takes memory for B x T x S x D.
    """

    def __init__(self, d_model: int, memory_dim: int) -> None:
        super().__init__()
        self.key = Linear(memory_dim, d_model)
        self.query = Linear(d_model, d_model, bias=False)
        self.score = Linear(d_model, 1, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,S,D)."""
        keys: Tensor = self.key(states)
        return keys

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """query (B,T,D), keys (B,S,D), states (B,S,memory_dim), mask (B,S) -> contexts (B,T,memory_dim).

        The context of a row without any real token is zero.
        """
        return self._average(additive_scores(self.query(query), keys, self.score), states, mask)


class MultiHeadAttention(SourceAttention):
    """Scaled dot-product attention of several heads (Vaswani et al., 2017)."""

    def __init__(self, d_model: int, memory_dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = CrossAttention(d_model, memory_dim, num_heads)

    def keys(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,H,2,S,K), the heads of keys and values."""
        return self.attention.heads(states)

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """query (B,T,D), keys (B,H,2,S,K), mask (B,S) -> contexts (B,T,D). The states are in the keys."""
        contexts: Tensor = self.attention(query, keys, attendable(mask))
        return contexts


def make_source_attention(
    kind: SourceAttentionKind, d_model: int, memory_dim: int, num_heads: int
) -> SourceAttention | None:
    if kind == "none":
        return None
    if kind == "additive":
        return AdditiveAttention(d_model, memory_dim)
    if kind == "multi_head":
        return MultiHeadAttention(d_model, memory_dim, num_heads)
    return LuongAttention(kind, d_model, memory_dim)


def context_width(kind: SourceAttentionKind, d_model: int, memory_dim: int) -> int:
    return d_model if kind == "multi_head" else memory_dim


def additive_scores(query: Tensor, keys: Tensor, score: nn.Linear) -> Tensor:
    """query (B,T,D), keys (B,S,D) -> (B,T,S)."""
    scores: Tensor = score((query[:, :, None] + keys[:, None]).tanh())  # (B,T,S,1)
    return scores.squeeze(3)
