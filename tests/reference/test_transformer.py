"""Our Transformer layers against torch.nn's, with the same weights."""

import pytest
import torch
from torch import Tensor, nn

from seq2seq.nn.attention import CrossAttention, attendable
from seq2seq.nn.transformer import Activation, LayerOptions, Norm, TransformerDecoderLayer, TransformerEncoderLayer

B, T, S, D, HEADS, FF = 2, 7, 5, 12, 3, 20
every_kind = pytest.mark.parametrize(
    ("norm", "activation"), [("pre", "relu"), ("pre", "gelu"), ("post", "relu"), ("post", "gelu")]
)


def options(norm: Norm, activation: Activation) -> LayerOptions:
    return LayerOptions(
        d_model=D,
        num_heads=HEADS,
        num_kv_heads=None,
        qk_norm=False,
        d_ff=FF,
        activation=activation,
        norm=norm,
        norm_type="layer",
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layer_drop=0.0,
    )


def torch_options(norm: Norm, activation: Activation) -> dict[str, object]:
    return {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": norm == "pre"}


def randomize(layer: nn.Module) -> None:
    """All weights random, so that no bias is zero and no norm is the identity."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def copy(theirs: nn.Module, ours: nn.Module) -> None:
    ours.load_state_dict(theirs.state_dict())


def copy_self_attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
    ours.qkv.load_state_dict({"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias})
    copy(theirs.out_proj, ours.out)


def copy_cross_attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
    if theirs.in_proj_weight is None:
        query, key_value = theirs.q_proj_weight, torch.cat((theirs.k_proj_weight, theirs.v_proj_weight))
    else:
        query, key_value = theirs.in_proj_weight.split((D, 2 * D))
    query_bias, key_value_bias = theirs.in_proj_bias.split((D, 2 * D))
    ours.query.load_state_dict({"weight": query, "bias": query_bias})
    ours.key_value.load_state_dict({"weight": key_value, "bias": key_value_bias})
    copy(theirs.out_proj, ours.out)


def assert_same(ours: Tensor, theirs: Tensor, our_input: Tensor, their_input: Tensor) -> None:
    """The outputs, and the gradients of a sum of squares with respect to the inputs."""
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    (our_gradient,) = torch.autograd.grad(ours.square().sum(), our_input)
    (their_gradient,) = torch.autograd.grad(theirs.square().sum(), their_input)
    torch.testing.assert_close(our_gradient, their_gradient, atol=1e-4, rtol=1e-3)


@every_kind
def test_encoder_layer(norm: Norm, activation: Activation) -> None:
    theirs = nn.TransformerEncoderLayer(D, HEADS, FF, **torch_options(norm, activation))  # type: ignore[arg-type]
    randomize(theirs)
    ours = TransformerEncoderLayer(options(norm, activation))
    copy_self_attention(theirs.self_attn, ours.attention)
    copy(theirs.norm1, ours.attention_residual.norm)
    copy(theirs.linear1, ours.feed_forward.inner)
    copy(theirs.linear2, ours.feed_forward.outer)
    copy(theirs.norm2, ours.feed_forward_residual.norm)
    torch.manual_seed(4)
    x, y = (torch.randn(B, S, D).requires_grad_() for _ in range(2))
    with torch.no_grad():
        y.copy_(x)
    mask = torch.arange(S) < torch.tensor([[5], [3]])
    expected = theirs(y, src_key_padding_mask=~mask)
    assert_same(ours(x, attendable(mask))[mask], expected[mask], x, y)


@every_kind
def test_decoder_layer(norm: Norm, activation: Activation) -> None:
    theirs = nn.TransformerDecoderLayer(D, HEADS, FF, **torch_options(norm, activation))  # type: ignore[arg-type]
    randomize(theirs)
    ours = TransformerDecoderLayer(options(norm, activation), memory_dim=D)
    copy_self_attention(theirs.self_attn, ours.attention)
    copy(theirs.norm1, ours.attention_residual.norm)
    copy_cross_attention(theirs.multihead_attn, ours.cross_attention)
    copy(theirs.norm2, ours.cross_attention_residual.norm)
    copy(theirs.linear1, ours.feed_forward.inner)
    copy(theirs.linear2, ours.feed_forward.outer)
    copy(theirs.norm3, ours.feed_forward_residual.norm)
    torch.manual_seed(4)
    memory = torch.randn(B, S, D)
    x, y = (torch.randn(B, T, D).requires_grad_() for _ in range(2))
    with torch.no_grad():
        y.copy_(x)
    mask = torch.arange(S) < torch.tensor([[5], [3]])
    causal = torch.ones(T, T, dtype=torch.bool).triu(1)
    expected = theirs(y, memory, tgt_mask=causal, memory_key_padding_mask=~mask)
    assert_same(ours(x, ours.cross_attention.heads(memory), attendable(mask)), expected, x, y)


def test_cross_attention_to_a_memory_of_another_width() -> None:
    width = 10
    theirs = nn.MultiheadAttention(D, HEADS, kdim=width, vdim=width, batch_first=True)
    randomize(theirs)
    ours = CrossAttention(D, width, HEADS)
    copy_cross_attention(theirs, ours)
    torch.manual_seed(4)
    x, memory = torch.randn(B, T, D), torch.randn(B, S, width)
    mask = torch.arange(S) < torch.tensor([[5], [3]])
    expected, _ = theirs(x, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(ours(x, ours.heads(memory), attendable(mask)), expected, atol=1e-5, rtol=1e-4)
