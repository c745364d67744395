"""Attention, and the keys and values that are kept between two decoding steps.

B sources, N hypotheses (B x beam) or, in training, N = B; T queries, S source length; D width, H heads, K = D / H,
G heads of keys and of values, each of which serves H / G of the queries'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.nn.dropout import dropout
from seq2seq.nn.linear import Linear
from seq2seq.nn.normalization import RMSNorm
from seq2seq.nn.positions import attention_dtype, rotate
from seq2seq.nn.recording import SelfReader, SourceReader, mean_weights


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


def check_groups(num_heads: int, num_kv_heads: int | None) -> int:
    """The number of heads of keys and values; None is as many as there are of queries. Raises ValueError."""
    if num_kv_heads is not None and num_heads % num_kv_heads:
        divisors = ", ".join(str(n) for n in range(1, num_heads + 1) if num_heads % n == 0)
        raise ValueError(f"num_kv_heads must divide num_heads, which is {num_heads}: {divisors}, not {num_kv_heads}")
    return num_kv_heads or num_heads


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(N,T,H*K) -> (N,H,T,K), a view."""
    return x.view(x.size(0), x.size(1), -1, head_dim).transpose(1, 2)


def join_heads(heads: Tensor) -> Tensor:
    """(N,H,T,K) -> (N,T,H*K)."""
    return heads.transpose(1, 2).flatten(2)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, probability: float = 0.0, causal: bool = False
) -> Tensor:
    """softmax(query key^T / sqrt(K) + bias) value: query (N,H,T,K), key and value (N,G,S,K) -> (N,H,T,K).

    mask: (N,1,1,S), True where a key may be seen, or a bias (1 or N,H,T,S), which holds -inf where it may not.
    probability: of dropout on the weights.
    """
    group = query.size(1) // key.size(1)
    if _in_plain_steps(query, probability):
        key, value = (heads.repeat_interleave(group, dim=1) if group > 1 else heads for heads in (key, value))
        return attend_in_plain_steps(query, key, value, mask, probability, causal)
    if group == 1:
        return F.scaled_dot_product_attention(query, key, value, mask, probability, is_causal=causal)
    if causal or (mask is not None and mask.size(2) > 1):
        key, value = (heads.repeat_interleave(group, dim=1) for heads in (key, value))
        return F.scaled_dot_product_attention(query, key, value, mask, probability, is_causal=causal)
    # What all queries see alike: those of a group are queries to the one copy of its keys.
    if mask is not None and mask.size(1) > 1:
        mask = mask.view(mask.size(0), key.size(1), group, mask.size(3))  # (N,H,1,S) -> (N,G,H/G,S)
    together = query.reshape(query.size(0), key.size(1), -1, query.size(3))  # (N,H,T,K) -> (N,G,H/G*T,K)
    return F.scaled_dot_product_attention(together, key, value, mask, probability).reshape(query.shape)


def _in_plain_steps(query: Tensor, probability: float) -> bool:
    """Whether products and softmax one after the other are faster than torch's fused attention.

    So they are in the training of sentences on a CPU: in bf16 by four times, since the gradient of its fused kernel is
    slow there, and with dropout, which it has no fused kernel for.
    """
    if query.device.type != "cpu":
        return False
    return probability > 0 or (query.requires_grad and attention_dtype(query) == torch.bfloat16)


def attend_in_plain_steps(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, probability: float, causal: bool
) -> Tensor:
    """As `attend`, with as many heads of keys and values as of queries."""
    (rows, num_heads, length, head_dim), num_keys = query.shape, key.size(2)
    bias = query.new_zeros(1, 1, 1, dtype=attention_dtype(query))
    if causal:
        bias = torch.full_like(bias, float("-inf")).expand(1, length, num_keys).triu(1)
    elif mask is not None:
        if mask.dtype == torch.bool:
            mask = bias.masked_fill(~mask, float("-inf"))
        bias = mask.expand(rows, num_heads, -1, -1).flatten(0, 1)  # (N,H,1 or T,S) -> (N*H,1 or T,S)
    scores = torch.baddbmm(bias, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=head_dim**-0.5)
    weights = dropout(scores.softmax(dim=2), probability)  # (N*H,T,S)
    return torch.bmm(weights, value.flatten(0, 1)).view(query.shape)


def attend_in_turn(
    query: Tensor, prompt: Tensor, own: Tensor, mask: Tensor | None, bias: Tensor | None = None
) -> Tensor:
    """One query of each hypothesis (N,H,1,K), which sees its source's prompt (B,2G,S,K), and then `own` (N,2G,P,K).

    All hypotheses of a source read the one copy of its prompt. mask (B,1,1,S), True where the prompt is real; bias
    (1,H,1,S+P). -> (N,H,1,K)
    """
    (rows, num_heads, _, head_dim), (sources, _, length, _) = query.shape, prompt.shape
    (first_key, first_value), (key, value) = prompt.chunk(2, dim=1), own.chunk(2, dim=1)
    groups = key.size(1)
    grouped = query.view(rows, groups, -1, head_dim)  # (N,H,1,K) -> (N,G,H/G,K)
    by_source = grouped.view(sources, -1, *grouped.shape[1:]).transpose(1, 2)  # (B,G,beam,H/G,K)
    beam = by_source.size(2)
    first = by_source.flatten(2, 3) @ first_key.transpose(2, 3)  # (B,G,beam*H/G,S)
    if mask is not None:
        first = first.masked_fill(~mask, float("-inf"))
    first = first.view(sources, groups, beam, -1, length).transpose(1, 2)  # (B,beam,G,H/G,S)
    second = grouped @ key.transpose(2, 3)  # (N,G,H/G,P)
    scores = torch.cat((first.reshape(rows, num_heads, 1, length), second.view(rows, num_heads, 1, -1)), dim=3)
    scores = scores * head_dim**-0.5
    weights = (scores if bias is None else scores + bias).softmax(dim=3).view(rows, groups, -1, scores.size(3))
    to_prompt, to_own = weights.tensor_split((length,), dim=3)
    to_prompt = to_prompt.reshape(sources, beam, groups, -1, length).transpose(1, 2).flatten(2, 3)
    found = (to_prompt @ first_value).view(by_source.shape).transpose(1, 2).reshape(grouped.shape)
    heads: Tensor = found + to_own @ value
    return heads.view(query.shape)


class HeadNorms(nn.Module):
    """Normalises each head of the queries and of the keys, so that scores cannot grow without bound.

    In place of the L2 norm and its one scale (Henry et al., 2020) an RMS norm with a scale for each column.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.query = RMSNorm(head_dim)
        self.key = RMSNorm(head_dim)


class SelfAttention(SelfReader):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017) of a sequence to itself.

    With fewer heads of keys and values than of queries, groups of queries share one (Ainslie et al., 2023).
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        num_kv_heads: int | None = None,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim = check_heads(d_model, num_heads)
        self.num_heads = num_heads
        self.num_kv_heads = check_groups(num_heads, num_kv_heads)
        self.dropout = dropout
        self.causal = causal
        self.qkv = Linear(d_model, (num_heads + 2 * self.num_kv_heads) * self.head_dim)
        self.norms = HeadNorms(self.head_dim) if qk_norm else None
        self.out = Linear(d_model, d_model)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        past: Tensor | None = None,
        position: int = 0,
        rotation: Tensor | None = None,
        prompt: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """x (N,T,D), mask (N,1,1,T), rotation (2,T,K/2) of queries and keys -> (N,T,D).

        For the mask a bias may stand, as in `attend`; where attention is causal it has to hide the future itself.

        With `past` (N,2G,C,K), the heads of keys and values with room for C positions, x are the columns from
        `position` on, and T > 1 needs a mask; their keys, already rotated, and values are written there. With `prompt`
        (B,2G,S,K) and its mask (B,1,1,S), that stands before them all (T = 1, a mask is a bias (1,H,1,S+position+1)).
        """
        heads = split_heads(self.qkv(x), self.head_dim)  # (N,T,D+2GK) -> (N,H+2G,T,K)
        query, key, value = heads.tensor_split((self.num_heads, self.num_heads + self.num_kv_heads), dim=1)
        if self.norms is not None:
            query, key = self.norms.query(query), self.norms.key(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if past is not None:
            end = position + x.size(1)
            past[:, : self.num_kv_heads, position:end] = key
            past[:, self.num_kv_heads :, position:end] = value
            if prompt is not None and prompt.size(2):
                return self._out(attend_in_turn(query, prompt, past[:, :, :end], prompt_mask, mask))
            key, value = past[:, :, :end].chunk(2, dim=1)
        causal = self.causal and past is None and mask is None
        if self.record is not None:
            seen = torch.ones(x.size(1), key.size(2), dtype=torch.bool, device=x.device)
            seen = (seen.tril() if causal else seen) if mask is None else mask
            self.record.append(mean_weights(query, key, seen, self.head_dim**-0.5))
        return self._out(attend(query, key, value, mask, self.dropout * self.training, causal))

    def _out(self, heads: Tensor) -> Tensor:
        """(N,H,T,K) -> (N,T,D)."""
        output: Tensor = self.out(join_heads(heads))
        return output


class CrossAttention(SourceReader):
    """Multi-head scaled dot-product attention to a memory, whose width may be another one."""

    def __init__(
        self,
        d_model: int,
        memory_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        num_kv_heads: int | None = None,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim = check_heads(d_model, num_heads)
        self.num_kv_heads = check_groups(num_heads, num_kv_heads)
        self.dropout = dropout
        self.query = Linear(d_model, d_model)
        self.key_value = Linear(memory_dim, 2 * self.num_kv_heads * self.head_dim)
        self.norms = HeadNorms(self.head_dim) if qk_norm else None
        self.out = Linear(d_model, d_model)

    def heads(self, states: Tensor) -> Tensor:
        """states (B,S,memory_dim) -> (B,2G,S,K), the heads of keys and values."""
        heads = split_heads(self.key_value(states), self.head_dim)
        if self.norms is None:
            return heads
        key, value = heads.chunk(2, dim=1)
        return torch.cat((self.norms.key(key), value), dim=1)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """x (N,T,D), memory (B,2G,S,K) from `heads`, mask (B,1,1,S) -> (N,T,D).

        All hypotheses of a source are queries to the one copy of its keys and values.
        """
        query = split_heads(
            self.query(x).view(memory.size(0), -1, x.size(2)), self.head_dim
        )  # (N,T,D) -> (B,H,beam*T,K)
        if self.norms is not None:
            query = self.norms.query(query)
        key, value = memory.chunk(2, dim=1)
        heads = attend(query, key, value, mask, self.dropout * self.training)
        if self.record is not None:
            self.record.append(mean_weights(query, key, mask, self.head_dim**-0.5))
        output: Tensor = self.out(join_heads(heads).view(x.shape))  # (B,beam*T,D) -> (N,T,D)
        return output


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the first `length` positions: for each layer a buffer (N,2G,C,K) with C >= length.

    The buffers are written in place. A cache and the longer ones made from it share them, so only the newest may be
    written to. They are one a layer, because the allocator reuses small blocks and fetches large ones anew each time.
    """

    buffers: tuple[Tensor, ...]
    length: int = 0

    @classmethod
    def empty(cls, num_layers: int, like: Tensor, capacity: int) -> KeyValueCache:
        """As many rows, heads of keys and values, dtype and device as like (N,2G,S,K)."""
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
