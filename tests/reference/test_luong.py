"""Luong attention, and the decoder around it, against the equations of Luong et al. (2015), one number at a time."""

import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import Memory
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.nn.source_attention import LuongAttention
from seq2seq.text.vocab import Vocab

B, T, S, D, MEMORY = 2, 7, 5, 12, 10
LENGTHS = (5, 3)
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))


def score(kind: str, query: Tensor, state: Tensor, layer: LuongAttention) -> Tensor:
    """Equation 8, for one query and one source state."""
    if kind == "dot":
        return torch.dot(query, state)
    if kind == "general":
        return torch.dot(query, torch.mv(layer.key.weight / D**0.5, state))
    both = torch.cat((layer.query.weight, layer.key.weight), dim=1)
    return torch.dot(layer.score.weight[0], torch.tanh(torch.mv(both, torch.cat((query, state)))))


def context(kind: str, query: Tensor, states: Tensor, length: int, layer: LuongAttention) -> Tensor:
    """Equation 7 and the weighted average, over the real tokens only."""
    weights = [torch.exp(score(kind, query, states[s], layer)) for s in range(length)]
    return sum(weights[s] / sum(weights) * states[s] for s in range(length))


def mask() -> Tensor:
    return torch.arange(S) < torch.tensor(LENGTHS)[:, None]


@pytest.mark.parametrize(("kind", "width"), [("dot", D), ("general", MEMORY), ("concat", MEMORY)])
@torch.no_grad()
def test_attention(kind: str, width: int) -> None:
    torch.manual_seed(8)
    layer = LuongAttention(kind, D, width)
    queries, states = torch.randn(B, T, D), torch.randn(B, S, width)
    contexts = layer(queries, layer.keys(states), states, mask())
    for b in range(B):
        for t in range(T):
            expected = context(kind, queries[b, t], states[b], LENGTHS[b], layer)
            torch.testing.assert_close(contexts[b, t], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("input_feeding", [False, True])
@torch.no_grad()
def test_decoder(input_feeding: bool) -> None:
    """Two layers, made of torch.nn.LSTMCell; equation 5 for the attentional vector, section 3.3 for input feeding."""
    torch.manual_seed(8)
    decoder = LSTMDecoder(VOCAB, MEMORY, d_model=D, num_layers=2, input_feeding=input_feeding)
    memory = Memory(torch.randn(B, S, MEMORY), mask(), torch.randn(B, MEMORY))
    tokens = torch.randint(4, len(VOCAB), (B, T))
    features = decoder(tokens, torch.ones(B, T, dtype=torch.bool), memory)

    cells = [nn.LSTMCell(2 * D if input_feeding else D, D), nn.LSTMCell(D, D)]
    for i, cell in enumerate(cells):
        cell.load_state_dict(
            {name: getattr(decoder.recurrence.layers[0], f"{name}_l{i}") for name in cell.state_dict()}
        )
    for b in range(B):
        first = torch.tanh(decoder.bridge(memory.final[b]))  # hidden of layers 0 and 1, cell of layers 0 and 1
        states = [(first[:D], first[2 * D : 3 * D]), (first[D : 2 * D], first[3 * D :])]
        attentional = torch.zeros(D)
        for t in range(T):
            x = decoder.embedding.weight[tokens[b, t]] * decoder.embedding.embedding_dim**0.5
            x = torch.cat((x, attentional)) if input_feeding else x
            for i, cell in enumerate(cells):
                states[i] = cell(x, states[i])
                x = states[i][0]
            average = context("general", x, memory.states[b], LENGTHS[b], decoder.attention)
            attentional = torch.tanh(torch.mv(decoder.readout.combine.weight, torch.cat((average, x))))
            torch.testing.assert_close(features[b, t], attentional, atol=1e-6, rtol=1e-5)
