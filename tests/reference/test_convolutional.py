"""The convolutional encoder and decoder against the equations of Gehring et al. (2017), one position at a time."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import Memory
from seq2seq.models.decoders.convolutional import ConvolutionalDecoder
from seq2seq.models.encoders.convolutional import ConvolutionalEncoder, KeyedMemory
from seq2seq.text.vocab import Vocab

B, S, T, D, CHANNELS = 2, 5, 7, 12, 10
LENGTHS = (5, 3)
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))

with_and_without_weight_norm = pytest.mark.parametrize("weight_norm", [False, True])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(9)


def randomize(module: nn.Module) -> None:
    """So that no bias is zero, and no length of a normalised weight is the one that its direction has."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)


def weight(layer: nn.Module) -> Tensor:
    """Salimans and Kingma (2016), equation 2: g v / |v| for each neuron."""
    if not hasattr(layer, "parametrizations"):
        return layer.weight
    lengths, directions = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    rows = [g.flatten()[0] * v / v.square().sum().sqrt() for g, v in zip(lengths, directions, strict=True)]
    return torch.stack(rows)


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.mv(weight(layer), x) + layer.bias


def gated(layer: nn.Module, window: list[Tensor]) -> Tensor:
    """Section 3.2: Y = W [x_1 ... x_k] + b = [A B], v(Y) = A * sigmoid(B)."""
    kernel = weight(layer.convolution)  # (2C, C, k)
    y = layer.convolution.bias + sum(torch.mv(kernel[:, :, j], x) for j, x in enumerate(window))
    channels = len(y) // 2
    return y[:channels] * torch.sigmoid(y[channels:])


def embed(module: nn.Module, token: Tensor, position: int) -> Tensor:
    """e = w + p; w has the standard deviation 0.1 where the weights have the width to the power of -0.5."""
    return module.embedding.weight[token] * 0.1 * sqrt(D) + module.positions.weight[position]


def encode(encoder: ConvolutionalEncoder, tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """A source without padding -> its z and its (z + e) sqrt(1/2)."""
    embedded = [embed(encoder, token, position) for position, token in enumerate(tokens)]
    x = [linear(encoder.enter, e) for e in embedded]
    zero = torch.zeros(CHANNELS)
    for layer in encoder.layers:
        side = layer.convolution.kernel_size // 2
        padded = [zero] * side + x + [zero] * side
        x = [(gated(layer.convolution, padded[i : i + 2 * side + 1]) + x[i]) * sqrt(0.5) for i in range(len(x))]
    z = [linear(encoder.leave, h) for h in x]
    return z, [(a + e) * sqrt(0.5) for a, e in zip(z, embedded, strict=True)]


def attend(layer: nn.Module, h: Tensor, g: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """Section 3.3, equations 1 and 2, and section 3.4: c m sqrt(1/m)."""
    d = (linear(layer.query, h) + g) * sqrt(0.5)
    exponentials = [torch.exp(torch.dot(d, key)) for key in keys]
    c = sum(e / sum(exponentials) * value for e, value in zip(exponentials, values, strict=True))
    m = len(keys)
    return linear(layer.out, c * m * sqrt(1 / m))


def decode(decoder: ConvolutionalDecoder, tokens: Tensor, keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """Features of each position."""
    g = [embed(decoder, token, position) for position, token in enumerate(tokens)]
    x = [linear(decoder.enter, e) for e in g]
    zero = torch.zeros(CHANNELS)
    for layer in decoder.layers:
        k = layer.convolution.kernel_size
        padded = [zero] * (k - 1) + x
        for i in range(len(x)):
            h = gated(layer.convolution, padded[i : i + k])
            h = (h + attend(layer.attention, h, g[i], keys, values)) * sqrt(0.5)
            x[i] = (h + x[i]) * sqrt(0.5)
    return [10 * linear(decoder.leave, h) for h in x]  # as large as other families' features


def source() -> tuple[Tensor, Tensor]:
    return torch.randint(4, len(VOCAB), (B, S)), torch.arange(S) < torch.tensor(LENGTHS)[:, None]


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@with_and_without_weight_norm
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@torch.no_grad()
def test_encoder(kernel_size: int, weight_norm: bool) -> None:
    options = {"d_model": D, "channels": CHANNELS, "kernel_size": kernel_size, "weight_norm": weight_norm}
    encoder = ConvolutionalEncoder(VOCAB, num_layers=3, **options)
    randomize(encoder)
    tokens, mask = source()
    memory = encoder(tokens, mask)
    for b, length in enumerate(LENGTHS):
        z, values = encode(encoder, tokens[b, :length])
        assert_close(memory.keys[b, :length], torch.stack(z))
        assert_close(memory.values[b, :length], torch.stack(values))
        states = [(v - v.mean()) / (v.var(correction=0) + 1e-5).sqrt() for v in values]  # for decoders of other kinds
        assert_close(memory.states[b, :length], torch.stack(states))
        assert_close(memory.final[b], sum(states) / length)


@with_and_without_weight_norm
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@torch.no_grad()
def test_decoder(kernel_size: int, weight_norm: bool) -> None:
    options = {"d_model": D, "channels": CHANNELS, "kernel_size": kernel_size, "weight_norm": weight_norm}
    decoder = ConvolutionalDecoder(VOCAB, D, num_layers=3, **options)
    randomize(decoder)
    _, mask = source()
    states, keys, values = torch.randn(3, B, S, D) / 10
    tokens = torch.randint(4, len(VOCAB), (B, T))
    memory = KeyedMemory(states, mask, torch.randn(B, D), keys, values)
    features = decoder(tokens, torch.ones(B, T, dtype=torch.bool), memory)
    for b, length in enumerate(LENGTHS):
        expected = decode(decoder, tokens[b], list(keys[b, :length]), list(values[b, :length]))
        assert_close(features[b], torch.stack(expected))


@torch.no_grad()
def test_decoder_on_the_memory_of_another_encoder() -> None:
    """The states are also the keys, after a linear map where they are not as wide as the embeddings."""
    width = 9
    decoder = ConvolutionalDecoder(VOCAB, width, d_model=D, channels=CHANNELS, num_layers=2)
    randomize(decoder)
    _, mask = source()
    states = torch.randn(B, S, width)
    tokens = torch.randint(4, len(VOCAB), (B, T))
    features = decoder(tokens, torch.ones(B, T, dtype=torch.bool), Memory(states, mask, torch.randn(B, width)))
    for b, length in enumerate(LENGTHS):
        keys = [torch.mv(decoder.key.weight, state / 10) for state in states[b, :length]]
        assert_close(features[b], torch.stack(decode(decoder, tokens[b], keys, list(states[b, :length] / 10))))
