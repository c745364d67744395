from dataclasses import replace

import pytest
import torch
from torch import nn

from seq2seq.nn.transformer import FeedForward, LayerOptions, Residual, TransformerDecoderLayer, TransformerEncoderLayer

B, T, S, D, HEADS = 2, 7, 5, 12, 3
OPTIONS = LayerOptions(D, HEADS, 20, "post", "relu", dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)


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


def test_feed_forward_equals_its_formula() -> None:
    layer = FeedForward(OPTIONS)
    x = torch.randn(B, T, D)
    inner = (x @ layer.inner.weight.T + layer.inner.bias).clamp(min=0)
    torch.testing.assert_close(layer(x), inner @ layer.outer.weight.T + layer.outer.bias)
