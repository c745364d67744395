"""Attention, and the keys and values that are kept between two decoding steps.

B sources, N hypotheses (B x beam) or, in training, N = B; T queries, S source length; D width, H heads, K = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.nn.linear import Linear


def attendable(mask: Tensor) -> Tensor:
    """mask (B,S), True at real tokens -> (B,1,1,S), for all queries of all heads.

    A row without any real token becomes all True: softmax over nothing is NaN.
    """
    return (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]


def check_heads(d_model: int, num_heads: int) -> int:
    """The width of one head. Raises ValueError."""
    if d_model % num_heads:
        nearest = max(num_heads, round(d_model / num_heads) * num_heads)
        raise ValueError(
            f"d_model must be a multiple of num_heads, which is {num_heads}: for example {nearest}, not {d_model}"
        )
    return d_model // num_heads


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(N,T,H*K) -> (N,H,T,K), a view."""
    return x.view(x.size(0), x.size(1), -1, head_dim).transpose(1, 2)


def join_heads(heads: Tensor) -> Tensor:
    """(N,H,T,K) -> (N,T,H*K)."""
    return heads.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017) of a sequence to itself."""

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0, causal: bool = False) -> None:
        super().__init__()
        self.head_dim = check_heads(d_model, num_heads)
        self.dropout = dropout
        self.causal = causal
        self.qkv = Linear(d_model, 3 * d_model)
        self.out = Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, past: Tensor | None = None, position: int = 0) -> Tensor:
        """x (N,T,D), mask (N,1,1,T) -> (N,T,D).

        With `past` (N,2H,C,K), the heads of keys and values with room for C positions, x is the column of `position`
        (T = 1); its keys and values are written there.
        """
        heads = split_heads(self.qkv(x), self.head_dim)  # (N,T,3D) -> (N,3H,T,K)
        query, key, value = heads.chunk(3, dim=1)
        if past is not None:
            past[:, :, position : position + 1] = heads[:, query.size(1) :]
            key, value = past[:, :, : position + 1].chunk(2, dim=1)
        dropout = self.dropout if self.training else 0.0
        causal = self.causal and past is None
        heads = F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=causal)
        output: Tensor = self.out(join_heads(heads))
        return output


class CrossAttention(nn.Module):
    """Multi-head scaled dot-product attention to a memory, whose width may be another one."""

    def __init__(self, d_model: int, memory_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head_dim = check_heads(d_model, num_heads)
        self.dropout = dropout
        self.query = Linear(d_model, d_model)
        self.key_value = Linear(memory_dim, 2 * d_model)
        self.out = Linear(d_model, d_model)

    def heads(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,2H,S,K), the heads of keys and values."""
        return split_heads(self.key_value(states), self.head_dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """x (N,T,D), memory (B,2H,S,K) from `heads`, mask (B,1,1,S) -> (N,T,D).

        All hypotheses of a source are queries to the one copy of its keys and values.
        """
        query = self.query(x).view(memory.size(0), -1, x.size(2))  # (N,T,D) -> (B,beam*T,D)
        key, value = memory.chunk(2, dim=1)
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(split_heads(query, self.head_dim), key, value, mask, dropout)
        output: Tensor = self.out(join_heads(heads).view(x.shape))  # (B,beam*T,D) -> (N,T,D)
        return output


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the first `length` positions: for each layer a buffer (N,2H,C,K) with C >= length.

    The buffers are written in place. A cache and the longer ones made from it share them, so only the newest may be
    written to. They are one a layer, because the allocator reuses small blocks and fetches large ones anew each time.
    """

    buffers: tuple[Tensor, ...]
    length: int = 0

    @classmethod
    def empty(cls, num_layers: int, like: Tensor, capacity: int) -> KeyValueCache:
        """As many rows, heads of keys and values, dtype and device as like (N,2H,S,K)."""
        rows, num_heads, _, head_dim = like.shape
        return cls(tuple(like.new_empty(rows, num_heads, capacity, head_dim) for _ in range(num_layers)))

    def longer(self) -> KeyValueCache:
        """One position more, still to be written. Buffers that are full are copied into some of twice the size."""
        capacity = self.buffers[0].size(2)
        if self.length < capacity:
            return KeyValueCache(self.buffers, self.length + 1)
        return KeyValueCache(tuple(F.pad(x, (0, 0, 0, capacity)) for x in self.buffers), self.length + 1)

    def select(self, sources: Tensor, num_sources: int) -> KeyValueCache:
        """Keeps all rows of the sources of index (B',)."""
        return KeyValueCache(tuple(select_sources(x, sources, num_sources) for x in self.buffers), self.length)

    def reorder(self, rows: Tensor) -> KeyValueCache:
        """Row n continues row rows[n]; (N',)."""
        return KeyValueCache(tuple(x.index_select(0, rows) for x in self.buffers), self.length)


def select_sources(x: Tensor, sources: Tensor, num_sources: int) -> Tensor:
    """x (N,...), of which each source has the same number of rows -> the rows of the sources of index (B',)."""
    by_source = x.view(num_sources, x.size(0) // num_sources, *x.shape[1:])  # (N,...) -> (B,beam,...)
    return by_source.index_select(0, sources).flatten(0, 1)


def is_identity(rows: Tensor, num_rows: int) -> bool:
    """Whether reordering num_rows rows by this index changes nothing, as far as can be told without a device sync."""
    if rows.device.type != "cpu" or rows.size(0) != num_rows:
        return False
    return torch.equal(rows, torch.arange(num_rows, device="cpu"))


class LuongAttention(nn.Module):
    """Global attention with the scores "dot", "general" and "concat" (Luong et al., 2015).

    "concat" is v tanh(W [query; state]), computed as v tanh(W1 query + W2 state); it takes memory for B x T x S x D.
    """

    def __init__(self, score: Literal["dot", "general", "concat"], d_model: int, memory_dim: int) -> None:
        super().__init__()
        if score == "dot" and memory_dim != d_model:
            raise ValueError(
                f"attention=dot needs a decoder as wide as the encoder's output, d_model={memory_dim}, not {d_model}; "
                "attention=general takes any width"
            )
        self.key = nn.Identity() if score == "dot" else Linear(memory_dim, d_model, bias=False)
        self.query = Linear(d_model, d_model, bias=False) if score == "concat" else None
        self.score = Linear(d_model, 1, bias=False) if score == "concat" else None

    def keys(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,S,D), the part of the scores that no query changes."""
        keys: Tensor = self.key(states)
        return keys

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """query (B,T,D), keys (B,S,D), states (B,S,memory_dim), mask (B,S) -> contexts (B,T,memory_dim).

        The context of a row without any real token is zero.
        """
        if self.query is None or self.score is None:
            scores = query @ keys.transpose(1, 2)
        else:
            scores = self.score((self.query(query)[:, :, None] + keys[:, None]).tanh()).squeeze(3)  # (B,T,S,1)
        masked = ~mask[:, None]  # (B,1,S)
        weights = scores.masked_fill(masked, torch.finfo(scores.dtype).min).softmax(dim=2).masked_fill(masked, 0.0)
        return weights @ states
