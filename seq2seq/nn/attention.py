"""Attention.

B sources, N hypotheses (B x beam) or, in training, N = B; T queries, S source length; D width, H heads, K = D / H,
G heads of keys and of values, each of which serves H / G of the queries'.
"""

from __future__ import annotations

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
    if group > 1 and causal:
        key, value = (heads.repeat_interleave(group, dim=1) for heads in (key, value))
    elif group > 1:  # those of a group are queries to the one copy of its keys
        rows, num_heads, length, head_dim = query.shape
        if mask is not None and mask.size(1) * mask.size(2) > 1:
            mask = mask.expand(-1, num_heads, length, -1).reshape(mask.size(0), key.size(1), -1, mask.size(3))
        together = query.reshape(rows, key.size(1), -1, head_dim)  # (N,H,T,K) -> (N,G,H/G*T,K)
        return attend(together, key, value, mask, probability).reshape(query.shape)
    if _in_plain_steps(query, probability):
        return attend_in_plain_steps(query, key, value, mask, probability, causal)
    return F.scaled_dot_product_attention(query, key, value, mask, probability, is_causal=causal)


def _in_plain_steps(query: Tensor, probability: float) -> bool:
    """Whether products and softmax one after the other are faster than torch's fused attention.

    So they are on a CPU for sentences: in bf16 by two times, with the gradient by four, and with dropout, which it has
    no fused kernel for.
    """
    return query.device.type == "cpu" and (probability > 0 or attention_dtype(query) == torch.bfloat16)


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
    ) -> Tensor:
        """x (N,T,D), mask (N,1,1,T), rotation (2,T,K/2) of queries and keys -> (N,T,D).

        For the mask a bias may stand, as in `attend`; where attention is causal it has to hide the future itself.

        With `past` (N,G,2,C,K), slots of keys and values, those of x are written from the slot `position` on, keys
        already rotated, and x reads all slots up to its own, as far as the mask lets it: needed for T > 1.
        """
        heads = split_heads(self.qkv(x), self.head_dim)  # (N,T,D+2GK) -> (N,H+2G,T,K)
        query, key, value = heads.tensor_split((self.num_heads, self.num_heads + self.num_kv_heads), dim=1)
        if self.norms is not None:
            query, key = self.norms.query(query), self.norms.key(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if past is not None:
            end = position + x.size(1)
            past[:, :, 0, position:end] = key
            past[:, :, 1, position:end] = value
            key, value = past[:, :, :, :end].unbind(2)
        causal = self.causal and past is None and mask is None
        if self.record is not None:
            seen = torch.ones(x.size(1), key.size(2), dtype=torch.bool, device=x.device)
            seen = (seen.tril() if causal else seen) if mask is None else mask
            self.record.append(mean_weights(query, key, seen, self.head_dim**-0.5))
        heads = attend(query, key, value, mask, self.dropout * self.training, causal)
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
        """states (B,S,memory_dim) -> (B,G,2,S,K), the heads of keys and values."""
        heads: Tensor = self.key_value(states).view(*states.shape[:2], 2, self.num_kv_heads, self.head_dim)
        heads = heads.permute(0, 3, 2, 1, 4)  # (B,S,2,G,K) -> (B,G,2,S,K)
        if self.norms is None:
            return heads
        key, value = heads.unbind(2)
        return torch.stack((self.norms.key(key), value), dim=2)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """x (N,T,D), memory (B,G,2,S,K) from `heads`, mask (B,1,1,S) -> (N,T,D).

        All hypotheses of a source are queries to the one copy of its keys and values.
        """
        query = split_heads(
            self.query(x).view(memory.size(0), -1, x.size(2)), self.head_dim
        )  # (N,T,D) -> (B,H,beam*T,K)
        if self.norms is not None:
            query = self.norms.query(query)
        key, value = memory.unbind(2)
        heads = attend(query, key, value, mask, self.dropout * self.training)
        if self.record is not None:
            self.record.append(mean_weights(query, key, mask, self.head_dim**-0.5))
        output: Tensor = self.out(join_heads(heads).view(x.shape))  # (B,beam*T,D) -> (N,T,D)
        return output
