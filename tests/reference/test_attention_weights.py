"""The weights of every kind of attention to the source, against torch.nn's and against the formulas of the papers."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import Memory
from seq2seq.models.decoders.convolutional import ConvolutionalDecoder
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.nn.attention import CrossAttention, attendable
from seq2seq.nn.recording import recording
from seq2seq.nn.source_attention import AdditiveAttention, LuongAttention, LuongScore
from seq2seq.text.vocab import Vocab

B, T, S, D, MEMORY, HEADS = 2, 7, 5, 12, 10, 3
LENGTHS = (5, 3)
MASK = torch.arange(S) < torch.tensor(LENGTHS)[:, None]
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(8)


def randomize(layer: nn.Module) -> None:
    """All weights random, so that no bias is zero."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)


def memory() -> Memory:
    return Memory(torch.randn(B, S, MEMORY), MASK, torch.randn(B, MEMORY))


def tokens() -> tuple[Tensor, Tensor]:
    return torch.randint(4, len(VOCAB), (B, T)), torch.ones(B, T, dtype=torch.bool)


def copied(theirs: nn.MultiheadAttention) -> CrossAttention:
    ours = CrossAttention(D, MEMORY, HEADS)
    query_bias, key_value_bias = theirs.in_proj_bias.split((D, 2 * D))
    ours.query.load_state_dict({"weight": theirs.q_proj_weight, "bias": query_bias})
    key_value = torch.cat((theirs.k_proj_weight, theirs.v_proj_weight))
    ours.key_value.load_state_dict({"weight": key_value, "bias": key_value_bias})
    ours.out.load_state_dict(theirs.out_proj.state_dict())
    return ours


@torch.no_grad()
def test_multi_head_is_torch_s() -> None:
    theirs = nn.MultiheadAttention(D, HEADS, kdim=MEMORY, vdim=MEMORY, batch_first=True)
    randomize(theirs)
    ours, x, states = copied(theirs), torch.randn(B, T, D), torch.randn(B, S, MEMORY)
    output, weights = theirs(x, states, states, key_padding_mask=~MASK)
    with recording(ours) as layers:
        torch.testing.assert_close(ours(x, ours.heads(states), attendable(MASK)), output)
    torch.testing.assert_close(layers, [weights])


@torch.no_grad()
def test_of_a_transformer_it_is_the_layer_before_the_last() -> None:
    source, target = memory(), tokens()
    decoder = TransformerDecoder(VOCAB, MEMORY, d_model=D, num_layers=3, num_heads=HEADS, d_ff=20)
    randomize(decoder)
    alone = nn.MultiheadAttention(D, HEADS, kdim=MEMORY, vdim=MEMORY, batch_first=True)
    randomize(alone)
    layer = decoder.layers[1]
    layer.cross_attention = copied(alone)
    read: list[Tensor] = []
    layer.cross_attention.register_forward_pre_hook(lambda module, arguments: read.append(arguments[0]))
    weights = decoder.attention_weights(*target, source)
    expected = alone(read[0], source.states, source.states, key_padding_mask=~MASK)[1]
    torch.testing.assert_close(weights, expected)
    one = TransformerDecoder(VOCAB, MEMORY, d_model=D, num_layers=1, num_heads=HEADS, d_ff=20)
    assert one.attention_weights(*target, source) is not None


@torch.no_grad()
def test_additive() -> None:
    """softmax of v tanh(W query + U state + b)."""
    layer = AdditiveAttention(D, MEMORY)
    randomize(layer)
    query, states = torch.randn(B, T, D), torch.randn(B, S, MEMORY)
    with recording(layer) as layers:
        layer(query, layer.keys(states), states, MASK)
    for b, length in enumerate(LENGTHS):
        for t in range(T):
            energies = []
            for s in range(length):
                inner = layer.query.weight @ query[b, t] + layer.key.weight @ states[b, s] + layer.key.bias
                energies.append(layer.score.weight[0] @ torch.tanh(inner))
            expected = torch.stack(energies).softmax(dim=0)
            torch.testing.assert_close(layers[0][b, t, :length], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("score", ["dot", "general", "concat"])
@torch.no_grad()
def test_luong(score: LuongScore) -> None:
    """softmax of h s, of h W s, or of v tanh(W [h; s])."""
    width = D if score == "dot" else MEMORY
    layer = LuongAttention(score, D, width)
    randomize(layer)
    query, states = torch.randn(B, T, D), torch.randn(B, S, width)
    with recording(layer) as layers:
        layer(query, layer.keys(states), states, MASK)
    for b, length in enumerate(LENGTHS):
        for t in range(T):
            h, energies = query[b, t], []
            for state in states[b, :length]:
                if score == "dot":
                    energies.append(h @ state)
                elif score == "general":
                    energies.append(h @ (layer.key.weight / D**0.5) @ state)
                else:
                    both = torch.cat((layer.query.weight, layer.key.weight), dim=1)
                    energies.append(layer.score.weight[0] @ torch.tanh(both @ torch.cat((h, state))))
            expected = torch.stack(energies).softmax(dim=0)
            torch.testing.assert_close(layers[0][b, t, :length], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("input_feeding", [True, False])
@torch.no_grad()
def test_context_input_asks_with_the_state_before_the_token(input_feeding: bool) -> None:
    """The first query is the first state, which no token has changed yet."""
    decoder = LSTMDecoder(
        VOCAB, MEMORY, d_model=D, attention="additive", context_input=True, input_feeding=input_feeding
    )
    randomize(decoder)
    source, (ids, mask) = memory(), tokens()
    weights = decoder.attention_weights(ids, mask, source)
    changed = ids.clone()
    changed[:, 2] = 4 + (ids[:, 2] - 3) % 11
    difference = (decoder.attention_weights(changed, mask, source) - weights).abs().amax(dim=(0, 2))
    assert (difference[:3] == 0).all()
    assert (difference[3:] > 0).all()


@torch.no_grad()
def test_convolutional_is_the_mean_over_layers() -> None:
    """softmax of (W x + b + embedding) sqrt(1/2) state (Gehring et al., 2017, equation 1)."""
    source, (ids, mask) = memory(), tokens()
    decoder = ConvolutionalDecoder(VOCAB, MEMORY, d_model=D, num_layers=2, channels=14)
    read: list[tuple[Tensor, ...]] = []
    for layer in decoder.layers:
        layer.attention.register_forward_pre_hook(lambda module, arguments: read.append((module, *arguments)))
    weights = decoder.attention_weights(ids, mask, source)
    assert len(read) == 2
    for b, length in enumerate(LENGTHS):
        expected = 0
        for module, x, target, attended in read:
            query = (x[b] @ module.query.weight.T + module.query.bias + target[b]) * sqrt(0.5)
            expected += (query @ attended.keys[b, 0, :length].T).softmax(dim=1) / 2
        torch.testing.assert_close(weights[b, :, :length], expected, atol=1e-6, rtol=1e-5)
