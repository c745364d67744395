"""Rotary, ALiBi and T5's positions against their papers, in plain numbers."""

import math

import pytest
import torch
from torch import Tensor, nn

from seq2seq.nn.attention import attendable
from seq2seq.nn.normalization import RMSNorm
from seq2seq.nn.positions import AlibiPositions, BucketedPositions, RotaryPositions, alibi_slopes, rotate
from seq2seq.nn.transformer import LayerOptions, TransformerDecoderLayer, TransformerEncoderLayer

B, T, S, D, HEADS, FF = 2, 7, 5, 12, 3, 20
WIDTH = D // HEADS
CPU = torch.device("cpu")


def test_rotary_turns_complex_numbers() -> None:
    """Su et al. (2021), section 3.2: the pair of theta = 10000^(-2i/K), as a complex number, times exp(i p theta)."""
    torch.manual_seed(1)
    width, length = 8, 40
    heads = torch.randn(B, HEADS, length, width)
    rotated = rotate(heads, RotaryPositions(width).rotation(torch.zeros(B, length, D)))
    for p in (0, 1, 17, 39):
        for i in range(width // 2):
            before = torch.complex(heads[..., p, i], heads[..., p, i + width // 2])
            angle = torch.tensor(p * 10_000 ** (-2 * i / width))
            after = before * torch.polar(torch.ones(()), angle)
            torch.testing.assert_close(rotated[..., p, i], after.real, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(rotated[..., p, i + width // 2], after.imag, atol=1e-5, rtol=1e-5)


def test_rotary_scores_depend_on_distances() -> None:
    torch.manual_seed(1)
    query, key = (torch.randn(1, 1, 1, 8).expand(1, 1, T, 8) for _ in range(2))
    rotation = RotaryPositions(8).rotation(torch.zeros(1, T, D))
    scores = (rotate(query, rotation) @ rotate(key, rotation).transpose(2, 3))[0, 0]
    for offset in range(-T + 1, T):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand(len(diagonal)))
    assert scores[0, 1] != pytest.approx(scores[1, 0].item(), abs=1e-3)


def test_alibi_slopes_of_the_paper() -> None:
    """Press et al. (2022), section 3: for 8 heads 1/2, 1/4, ..., 1/256; for 16 heads 2^-0.5, 2^-1, ..., 2^-8.

    The authors' rule for other numbers: for 12 heads those of 8, then the first, third, ... of those of 16.
    """
    eight, sixteen = [2.0**-i for i in range(1, 9)], [2.0 ** (-i / 2) for i in range(1, 17)]
    assert alibi_slopes(8, CPU).tolist() == eight
    assert alibi_slopes(16, CPU).tolist() == pytest.approx(sixteen)
    assert alibi_slopes(12, CPU).tolist() == pytest.approx(eight + sixteen[:8:2])
    assert alibi_slopes(1, CPU).tolist() == [2.0**-8]


@pytest.mark.parametrize("causal", [True, False])
def test_alibi_bias_falls_with_the_distance(causal: bool) -> None:
    bias = AlibiPositions(8, causal).bias(torch.zeros(B, T, D))
    for head, i, j in ((0, 4, 4), (0, 6, 2), (2, 5, 0), (7, 6, 5)):
        assert bias[0, head, i, j] == -(i - j) / 2 ** (head + 1)
        ahead = -math.inf if causal and i > j else bias[0, head, i, j].item()
        assert bias[0, head, j, i] == ahead


def bucket(behind: int, causal: bool) -> int:
    """T5's bucket in whole numbers: of n buckets, n/2 hold one distance; n/2 + k begins at n/2 (128 / (n/2))^(2k/n)."""
    n = 32 if causal else 16
    first = 16 if not causal and behind < 0 else 0
    distance, exact = max(behind, 0) if causal else abs(behind), n // 2
    if distance < exact:
        return first + distance
    k = max(k for k in range(exact + 1) if distance**exact * exact**k >= 128**k * exact**exact)
    return first + min(exact + k, n - 1)


@pytest.mark.parametrize("causal", [True, False])
def test_buckets(causal: bool) -> None:
    layer = BucketedPositions(D, HEADS, causal)
    with torch.no_grad():
        layer.table.weight.copy_(torch.arange(32.0)[:, None] + torch.tensor([0.0, 100.0, 200.0]))
    bias = layer.bias(torch.zeros(B, 150, D))
    for i in (0, 7, 8, 40, 64, 149):
        for j in range(i + 1 if causal else 150):
            assert bias[0, :, i, j].tolist() == [bucket(i - j, causal) + 100.0 * head for head in range(HEADS)]


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True) + 1e-6)


def test_rms_norm() -> None:
    torch.manual_seed(1)
    ours, theirs, x = RMSNorm(D), nn.RMSNorm(D, eps=1e-6), 3 * torch.randn(B, T, D) + 1
    with torch.no_grad():
        ours.weight.normal_()
        theirs.weight.copy_(ours.weight)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x), rms(x, ours.weight))


def t5_attention(x: Tensor, states: Tensor, weights: dict[str, Tensor], bias: Tensor, seen: Tensor) -> Tensor:
    """softmax(q k + bias) v of T5, for one row x (T,D), states (S,D), bias (H,T,S), seen (T,S), head by head."""
    columns = []
    for head in range(HEADS):
        rows = slice(head * WIDTH, (head + 1) * WIDTH)
        query, key, value = (
            y @ weights[name][rows].T for y, name in ((x, "query"), (states, "key"), (states, "value"))
        )
        scores = (query @ key.T + bias[head]).masked_fill(~seen, -math.inf)  # not scaled
        columns.append(scores.softmax(dim=1) @ value)
    return torch.cat(columns, dim=1) @ weights["out"].T


def t5_options() -> LayerOptions:
    return LayerOptions(
        d_model=D,
        num_heads=HEADS,
        num_kv_heads=None,
        qk_norm=False,
        d_ff=FF,
        activation="relu",
        norm="pre",
        norm_type="rms",
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layer_drop=0.0,
    )


def randomize(layer: nn.Module) -> None:
    """Random weights; no biases, as in T5."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.zero_() if name.endswith("bias") else parameter.normal_(std=0.5)


def t5_weights(query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> dict[str, Tensor]:
    """Ours as T5's: it leaves out the division of the scores by sqrt(K), so its query weights are as much smaller."""
    return {"query": query / math.sqrt(WIDTH), "key": key, "value": value, "out": out}


@torch.no_grad()
def test_t5_encoder_layer() -> None:
    """Raffel et al. (2020), section 2.1: RMS norm before each sublayer, one bias for a head and a bucket."""
    torch.manual_seed(2)
    layer, positions = TransformerEncoderLayer(t5_options()), BucketedPositions(D, HEADS, causal=False)
    randomize(layer)
    positions.table.weight.normal_()
    x, mask = torch.randn(B, S, D), torch.arange(S) < torch.tensor([[5], [3]])
    bias = positions.bias(x).masked_fill(~attendable(mask), -math.inf)
    outputs = layer(x, bias)
    weights = t5_weights(*layer.attention.qkv.weight.chunk(3), layer.attention.out.weight)
    table = torch.tensor([[bucket(i - j, causal=False) for j in range(S)] for i in range(S)])
    for b in range(B):
        y = rms(x[b], layer.attention_residual.norm.weight)
        z = x[b] + t5_attention(y, y, weights, positions.table.weight.T[:, table], mask[b].expand(S, S))
        y = rms(z, layer.feed_forward_residual.norm.weight)
        z = z + (y @ layer.feed_forward.inner.weight.T).clamp(min=0) @ layer.feed_forward.outer.weight.T
        torch.testing.assert_close(outputs[b][mask[b]], z[mask[b]], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_t5_decoder_layer() -> None:
    torch.manual_seed(2)
    layer, positions = TransformerDecoderLayer(t5_options(), D), BucketedPositions(D, HEADS, causal=True)
    randomize(layer)
    positions.table.weight.normal_()
    x, memory, mask = torch.randn(B, T, D), torch.randn(B, S, D), torch.arange(S) < torch.tensor([[5], [3]])
    outputs = layer(x, layer.cross_attention.heads(memory), attendable(mask), bias=positions.bias(x))
    weights = t5_weights(*layer.attention.qkv.weight.chunk(3), layer.attention.out.weight)
    cross = layer.cross_attention
    cross_weights = t5_weights(cross.query.weight, *cross.key_value.weight.chunk(2), cross.out.weight)
    table = torch.tensor([[bucket(i - j, causal=True) for j in range(T)] for i in range(T)])
    past = torch.ones(T, T, dtype=torch.bool).tril()
    for b in range(B):
        y = rms(x[b], layer.attention_residual.norm.weight)
        z = x[b] + t5_attention(y, y, weights, positions.table.weight.T[:, table], past)
        y = rms(z, layer.cross_attention_residual.norm.weight)
        z = z + t5_attention(y, memory[b], cross_weights, torch.zeros(HEADS, T, S), mask[b].expand(T, S))
        y = rms(z, layer.feed_forward_residual.norm.weight)
        z = z + (y @ layer.feed_forward.inner.weight.T).clamp(min=0) @ layer.feed_forward.outer.weight.T
        torch.testing.assert_close(outputs[b], z, atol=1e-5, rtol=1e-4)
