from typing import get_args

import pytest
import torch

from seq2seq.nn.source_attention import LuongAttention, SourceAttentionKind, context_width, make_source_attention

B, T, S, D, MEMORY, HEADS = 2, 7, 5, 12, 10, 3
KINDS = [kind for kind in get_args(SourceAttentionKind) if kind != "none"]


def test_none_is_none() -> None:
    assert make_source_attention("none", D, MEMORY, HEADS) is None


@pytest.mark.parametrize("kind", KINDS)
def test_contexts_are_as_wide_as_told(kind: SourceAttentionKind) -> None:
    memory_dim = D if kind == "dot" else MEMORY
    layer = make_source_attention(kind, D, memory_dim, HEADS)
    assert layer is not None
    states = torch.randn(B, S, memory_dim)
    contexts = layer(torch.randn(B, T, D), layer.keys(states), states, torch.ones(B, S, dtype=torch.bool))
    assert contexts.shape == (B, T, context_width(kind, D, memory_dim))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "multi_head"])
def test_context_of_nothing_is_zero(kind: SourceAttentionKind) -> None:
    layer = make_source_attention(kind, D, D, HEADS)
    assert layer is not None
    queries, states = torch.randn(B, T, D), torch.randn(B, S, D)
    mask = torch.tensor([[True] * S, [False] * S])
    contexts = layer(queries, layer.keys(states), states, mask)
    assert not contexts[1].any()
    assert contexts[0].all()


def test_luong_dot_needs_equal_widths() -> None:
    with pytest.raises(ValueError, match="d_model=10, not 12; attention=general takes any width"):
        LuongAttention("dot", d_model=12, memory_dim=10)
