"""Additive attention, and the decoder around it, against the equations of Bahdanau et al. (2015), a number at a time;
Cho et al.'s (2014) decoder with its fixed context; and multi-head attention against torch.nn's.
"""

import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import Memory
from seq2seq.models.decoders.gru import GRUDecoder
from seq2seq.nn.source_attention import AdditiveAttention, MultiHeadAttention
from seq2seq.text.vocab import Vocab

B, T, S, D, MEMORY, EMBEDDING = 2, 7, 5, 12, 10, 9
LENGTHS = (5, 3)
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))


def mask() -> Tensor:
    return torch.arange(S) < torch.tensor(LENGTHS)[:, None]


def memory() -> Memory:
    return Memory(torch.randn(B, S, MEMORY), mask(), torch.randn(B, MEMORY))


def randomize(layer: nn.Module) -> None:
    """All weights random, so that no bias is zero."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)


def context(query: Tensor, states: Tensor, length: int, layer: AdditiveAttention) -> Tensor:
    """e_j = v tanh(W query + U h_j), with a bias, and the average of the h_j by the softmax of e."""
    energies = []
    for j in range(length):
        inner = torch.mv(layer.query.weight, query) + torch.mv(layer.key.weight, states[j]) + layer.key.bias
        energies.append(torch.dot(layer.score.weight[0], torch.tanh(inner)))
    weights = [torch.exp(energy) for energy in energies]
    return sum(weights[j] / sum(weights) * states[j] for j in range(length))


def maxout(units: Tensor) -> Tensor:
    return torch.stack([torch.max(units[2 * i], units[2 * i + 1]) for i in range(len(units) // 2)])


@torch.no_grad()
def test_attention() -> None:
    torch.manual_seed(8)
    layer = AdditiveAttention(D, MEMORY)
    randomize(layer)
    queries, states = torch.randn(B, T, D), torch.randn(B, S, MEMORY)
    contexts = layer(queries, layer.keys(states), states, mask())
    for b in range(B):
        for t in range(T):
            expected = context(queries[b, t], states[b], LENGTHS[b], layer)
            torch.testing.assert_close(contexts[b, t], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", ["additive", "none"])
@torch.no_grad()
def test_decoder(attention: str) -> None:
    """s_i = f(s_{i-1}, y_{i-1}, c_i), where c_i is asked for by s_{i-1}, or is the summary of the whole source."""
    torch.manual_seed(8)
    decoder = GRUDecoder(
        VOCAB, MEMORY, d_model=D, embedding_dim=EMBEDDING, attention=attention, context_input=True, readout="maxout"
    )
    randomize(decoder)
    source, tokens = memory(), torch.randint(4, len(VOCAB), (B, T))
    features = decoder(tokens, torch.ones(B, T, dtype=torch.bool), source)
    assert features.shape == (B, T, D // 2)

    cell = nn.GRUCell(EMBEDDING + MEMORY, D)
    cell.load_state_dict({name: getattr(decoder.recurrence.layers[0], f"{name}_l0") for name in cell.state_dict()})
    for b in range(B):
        state = torch.tanh(torch.mv(decoder.bridge.weight, source.final[b]) + decoder.bridge.bias)
        for t in range(T):
            embedded = decoder.embedding.weight[tokens[b, t]] * decoder.embedding.embedding_dim**0.5
            if attention == "additive":
                average = context(state, source.states[b], LENGTHS[b], decoder.attention)
            else:
                average = source.final[b]
            state = cell(torch.cat((embedded, average)), state)
            combine = decoder.readout.combine
            units = torch.mv(combine.weight, torch.cat((average, state, embedded))) + combine.bias
            torch.testing.assert_close(features[b, t], maxout(units), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_fixed_context_in_the_first_state_only() -> None:
    """Without attention and context_input the features are the states of the top layer (Sutskever et al., 2014)."""
    torch.manual_seed(8)
    decoder = GRUDecoder(VOCAB, MEMORY, d_model=D, num_layers=2, attention="none")
    source, tokens = memory(), torch.randint(4, len(VOCAB), (B, T))
    features = decoder(tokens, torch.ones(B, T, dtype=torch.bool), source)
    layers = nn.GRU(D, D, 2, batch_first=True)
    layers.load_state_dict(decoder.recurrence.layers[0].state_dict())
    first = torch.tanh(decoder.bridge(source.final)).view(B, 2, D).transpose(0, 1).contiguous()
    expected, _ = layers(
        nn.functional.embedding(tokens, decoder.embedding.weight) * decoder.embedding.embedding_dim**0.5, first
    )
    torch.testing.assert_close(features, expected)


@torch.no_grad()
def test_multi_head() -> None:
    torch.manual_seed(8)
    ours, theirs = MultiHeadAttention(D, MEMORY, num_heads=3), None
    randomize(ours)
    theirs = nn.MultiheadAttention(D, 3, kdim=MEMORY, vdim=MEMORY, batch_first=True)
    inner = ours.attention
    theirs.q_proj_weight.copy_(inner.query.weight)
    theirs.k_proj_weight.copy_(inner.key_value.weight[:D])
    theirs.v_proj_weight.copy_(inner.key_value.weight[D:])
    theirs.in_proj_bias.copy_(torch.cat((inner.query.bias, inner.key_value.bias)))
    theirs.out_proj.load_state_dict(inner.out.state_dict())
    queries, states = torch.randn(B, T, D), torch.randn(B, S, MEMORY)
    expected, _ = theirs(queries, states, states, key_padding_mask=~mask())
    torch.testing.assert_close(ours(queries, ours.keys(states), states, mask()), expected, atol=1e-5, rtol=1e-4)
