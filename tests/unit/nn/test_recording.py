from math import sqrt

import pytest
import torch
from torch import nn

from seq2seq.nn.attention import CrossAttention, attendable
from seq2seq.nn.recording import mean_weights, recording

B, T, S, D, MEMORY, HEADS, GROUPS = 2, 7, 5, 12, 10, 6, 3
MASK = torch.tensor([[True] * S, [True, True, True, False, False]])


@pytest.fixture
def layer() -> CrossAttention:
    torch.manual_seed(3)
    return CrossAttention(D, MEMORY, HEADS, num_kv_heads=GROUPS)


def read(layer: CrossAttention) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    x, states = torch.randn(B, T, D, generator=generator), torch.randn(B, S, MEMORY, generator=generator)
    output: torch.Tensor = layer(x, layer.heads(states), attendable(MASK))
    return output


@torch.no_grad()
def test_each_query_head_reads_the_keys_of_its_group() -> None:
    torch.manual_seed(5)
    head_dim = 4
    query, key = torch.randn(B, HEADS, T, head_dim), torch.randn(B, GROUPS, S, head_dim)
    weights = mean_weights(query, key, attendable(MASK), scale=1 / sqrt(head_dim))
    for b in range(B):
        real = int(MASK[b].sum())
        for t in range(T):
            heads = []
            for h in range(HEADS):
                scores = [torch.dot(query[b, h, t], key[b, h // 2, s]) / 2 for s in range(real)]
                heads.append(torch.stack(scores).softmax(dim=0))
            torch.testing.assert_close(weights[b, t, :real], torch.stack(heads).mean(dim=0))
            assert not weights[b, t, real:].any()


def test_calls_lie_side_by_side(layer: CrossAttention) -> None:
    with recording(layer) as once:
        read(layer)
    with recording(layer) as twice:
        read(layer)
        read(layer)
    assert once[0].shape == (B, T, S)
    assert torch.equal(twice[0], torch.cat((once[0], once[0]), dim=1))


def test_only_what_was_called_is_told(layer: CrossAttention) -> None:
    other = CrossAttention(D, MEMORY, HEADS)
    with recording(nn.ModuleList([other, layer])) as layers:
        read(layer)
    assert len(layers) == 1
    with recording(nn.Linear(2, 3)) as layers:
        pass
    assert layers == []


def test_it_ends_with_a_fault_too(layer: CrossAttention) -> None:
    with pytest.raises(ZeroDivisionError), recording(layer):
        raise ZeroDivisionError
    assert layer.record is None
    assert "record" not in layer.state_dict()


@pytest.mark.slow
def test_the_ordinary_path_compiles_as_one_graph(layer: CrossAttention) -> None:
    """And is compiled again where somebody records, with the same output."""
    expected = read(layer)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    generator = torch.Generator().manual_seed(4)
    x, states = torch.randn(B, T, D, generator=generator), torch.randn(B, S, MEMORY, generator=generator)
    heads = layer.heads(states)
    torch.testing.assert_close(compiled(x, heads, attendable(MASK)), expected)
    with recording(layer) as plain:
        read(layer)
    with recording(compiled) as layers:
        torch.testing.assert_close(compiled(x, heads, attendable(MASK)), expected)
    torch.testing.assert_close(layers[0], plain[0])
