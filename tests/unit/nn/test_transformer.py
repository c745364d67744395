from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seq2seq.nn.normalization import RMSNorm
from seq2seq.nn.transformer import FeedForward, LayerOptions, Residual, TransformerDecoderLayer, TransformerEncoderLayer

B, T, S, D, HEADS = 2, 7, 5, 12, 3
OPTIONS = LayerOptions(
    d_model=D,
    num_heads=HEADS,
    num_kv_heads=None,
    qk_norm=False,
    d_ff=20,
    activation="relu",
    norm="post",
    norm_type="layer",
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    layer_drop=0.0,
)


@pytest.mark.parametrize("kind", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_dropout_reaches_both_layers(kind: str) -> None:
    options = replace(OPTIONS, **{kind: 0.5})
    x, mask = torch.randn(B, S, D), torch.ones(B, 1, 1, S, dtype=torch.bool)
    encoder, decoder = TransformerEncoderLayer(options), TransformerDecoderLayer(options, D)
    memory = decoder.cross_attention.heads(x)
    for layer, inputs in ((encoder, (x, mask)), (decoder, (x, memory, mask))):
        assert not torch.equal(layer(*inputs), layer(*inputs))
        layer.eval()
        assert torch.equal(layer(*inputs), layer(*inputs))


def test_post_norm_normalises_the_sum_and_pre_norm_leaves_it() -> None:
    x = 5 + 3 * torch.randn(B, T, D)
    sums = x + 2
    post, pre = Residual(OPTIONS), Residual(replace(OPTIONS, norm="pre"))
    torch.testing.assert_close(post(x, lambda y: torch.full_like(y, 2)), nn.functional.layer_norm(sums, (D,)))
    torch.testing.assert_close(pre(x, lambda y: torch.full_like(y, 2)), sums)
    assert pre(x, lambda y: y).sub(x).mean(dim=2).abs().max() < 1e-5  # the sublayer saw normalised input


def test_final_norm_belongs_to_pre_norm() -> None:
    assert isinstance(replace(OPTIONS, norm="pre").final_norm(), nn.LayerNorm)
    assert isinstance(OPTIONS.final_norm(), nn.Identity)
    assert isinstance(replace(OPTIONS, norm="pre", norm_type="rms").final_norm(), RMSNorm)


def test_feed_forward_equals_its_formula() -> None:
    layer = FeedForward(OPTIONS)
    x = torch.randn(B, T, D)
    inner = (x @ layer.inner.weight.T + layer.inner.bias).clamp(min=0)
    torch.testing.assert_close(layer(x), inner @ layer.outer.weight.T + layer.outer.bias)


@pytest.mark.parametrize(
    ("activation", "function"), [("gelu", nn.functional.gelu), ("silu", lambda y: y * torch.sigmoid(y))]
)
def test_activations(activation: str, function: Callable[[Tensor], Tensor]) -> None:
    layer = FeedForward(replace(OPTIONS, activation=activation))
    x = torch.randn(B, T, D)
    torch.testing.assert_close(layer(x), layer.outer(function(layer.inner(x))))


def test_swiglu_equals_its_formula() -> None:
    layer = FeedForward(replace(OPTIONS, activation="swiglu"))
    x = torch.randn(B, T, D)
    gate, passing = (x @ weight.T for weight in layer.inner.weight.split(20))
    torch.testing.assert_close(layer(x), (gate * torch.sigmoid(gate) * passing) @ layer.outer.weight.T)


def parallel_layer(norm: str) -> TransformerDecoderLayer:
    options = replace(OPTIONS, norm=norm, d_ff=0)
    return TransformerDecoderLayer(options, memory_dim=10, cross_attention="parallel")


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_parallel_layer_equals_its_formula(norm: str) -> None:
    layer, x, memory = parallel_layer(norm), torch.randn(B, T, D), torch.randn(B, S, 10)
    mask, heads = torch.ones(B, 1, 1, S, dtype=torch.bool), layer.cross_attention.heads(memory)
    y = x if norm == "post" else nn.functional.layer_norm(x, (D,))
    total = x + layer.cross_attention(y, heads, mask) + layer.attention(y)
    expected = nn.functional.layer_norm(total, (D,)) if norm == "post" else total
    torch.testing.assert_close(layer(x, heads, mask), expected)


def test_layers_without_feed_forward() -> None:
    options = replace(OPTIONS, d_ff=0)
    for layer in (TransformerEncoderLayer(options), TransformerDecoderLayer(options, D)):
        assert not [name for name, _ in layer.named_parameters() if "feed_forward" in name]
    with pytest.raises(ValueError, match=r"d_ff=0 leaves out .* activation_dropout has to be 0"):
        replace(options, activation_dropout=0.1)


def test_layer_drop_leaves_out_whole_layers_in_training_only() -> None:
    x, mask = torch.randn(B, S, D), torch.ones(B, 1, 1, S, dtype=torch.bool)
    layer = TransformerEncoderLayer(replace(OPTIONS, layer_drop=0.3))
    expected = layer.eval()(x, mask)
    layer.train()
    torch.manual_seed(1)
    outputs = [layer(x, mask) for _ in range(200)]
    dropped = sum(torch.equal(output, x) for output in outputs)
    assert 35 < dropped < 85  # 60, give or take four deviations
    assert sum(torch.equal(output, expected) for output in outputs) == 200 - dropped
    torch.manual_seed(1)
    assert all(torch.equal(layer(x, mask), output) for output in outputs)


def test_a_dropped_layer_still_has_a_gradient() -> None:
    """Of zero: a distributed run waits for a gradient of every parameter."""
    x, mask = torch.randn(B, S, D), torch.ones(B, 1, 1, S, dtype=torch.bool)
    layer = TransformerEncoderLayer(replace(OPTIONS, layer_drop=0.999999))
    layer(x, mask).square().sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())
