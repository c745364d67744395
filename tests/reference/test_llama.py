"""Rotary positions, RMS norm, SwiGLU and grouped heads against Llama, and ALiBi against BLOOM, of transformers.

B rows, T length, D width, K width of a head.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel
from transformers.cache_utils import DynamicCache
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from seq2seq.nn.attention import SelfAttention
from seq2seq.nn.normalization import RMSNorm
from seq2seq.nn.positions import AlibiPositions, RotaryPositions, alibi_slopes, rotate
from seq2seq.nn.transformer import LayerOptions, TransformerEncoderLayer

B, T, D, HEADS, FF, LAYERS = 2, 7, 24, 4, 20, 3
WIDTH = D // HEADS
# In float64, but for norms and angles: those of both are in float32, whatever the input.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}

every_group = pytest.mark.parametrize("num_kv_heads", [1, 2, 4])


def config(num_kv_heads: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=11,
        hidden_size=D,
        intermediate_size=FF,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=num_kv_heads,
    )


def build_theirs(num_kv_heads: int) -> Any:
    theirs = LlamaModel(config(num_kv_heads)).double().eval()
    torch.manual_seed(7)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    return theirs


def fill(linear: nn.Linear, *weights: Tensor) -> None:
    linear.weight.copy_(torch.cat(weights))
    linear.bias.zero_()


def copy_attention(theirs: Any, ours: SelfAttention) -> None:
    fill(ours.qkv, theirs.q_proj.weight, theirs.k_proj.weight, theirs.v_proj.weight)
    fill(ours.out, theirs.o_proj.weight)


@torch.no_grad()
def our_layer(theirs: Any, num_kv_heads: int) -> TransformerEncoderLayer:
    """An encoder's layer: what is missing to a decoder's, the causal mask, is given to it."""
    options = LayerOptions(
        d_model=D,
        num_heads=HEADS,
        num_kv_heads=num_kv_heads,
        qk_norm=False,
        d_ff=FF,
        activation="swiglu",
        norm="pre",
        norm_type="rms",
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layer_drop=0.0,
    )
    ours = TransformerEncoderLayer(options).double()
    ours.attention_residual.norm.load_state_dict(theirs.input_layernorm.state_dict())
    ours.feed_forward_residual.norm.load_state_dict(theirs.post_attention_layernorm.state_dict())
    copy_attention(theirs.self_attn, ours.attention)
    fill(ours.feed_forward.inner, theirs.mlp.gate_proj.weight, theirs.mlp.up_proj.weight)
    fill(ours.feed_forward.outer, theirs.mlp.down_proj.weight)
    return ours


@every_group
@torch.no_grad()
def test_layers(num_kv_heads: int) -> None:
    theirs = build_theirs(num_kv_heads)
    layers = [our_layer(layer, num_kv_heads) for layer in theirs.layers]
    norm = RMSNorm(D).double()
    norm.load_state_dict(theirs.norm.state_dict())
    x, mask = torch.randn(B, T, D, dtype=torch.float64), torch.arange(T) < torch.tensor([[7], [4]])
    expected = theirs(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state
    assert expected.std() > 0.1
    seen = mask[:, None, None, :] & torch.ones(T, T, dtype=torch.bool).tril()
    rotation = RotaryPositions(WIDTH).rotation(x)
    for layer in layers:
        x = layer(x, seen, rotation)
    torch.testing.assert_close(norm(x)[mask], expected[mask], **CLOSE)


@every_group
@torch.no_grad()
def test_attention_step_by_step(num_kv_heads: int) -> None:
    """Both with their caches, one column at a time; and ours at once."""
    theirs, positions = build_theirs(num_kv_heads), RotaryPositions(WIDTH)
    ours = SelfAttention(D, HEADS, causal=True, num_kv_heads=num_kv_heads).double()
    attention, cache = theirs.layers[0].self_attn, DynamicCache()
    copy_attention(attention, ours)
    x = torch.randn(B, T, D, dtype=torch.float64)
    past, columns = torch.zeros(B, 2 * num_kv_heads, T, WIDTH, dtype=torch.float64), []
    for t in range(T):
        column = x[:, t : t + 1]
        angles = theirs.rotary_emb(column, torch.full((B, 1), t))
        columns.append(attention(column, angles, past_key_values=cache)[0])
        output = ours(column, past=past, position=t, rotation=positions.rotation(column, t))
        torch.testing.assert_close(output, columns[-1], **CLOSE)
    torch.testing.assert_close(ours(x, rotation=positions.rotation(x)), torch.cat(columns, dim=1), **CLOSE)


@torch.no_grad()
def test_rotation() -> None:
    torch.manual_seed(7)
    length = 40
    query, key = torch.randn(B, HEADS, length, WIDTH), torch.randn(B, 2, length, WIDTH)
    theirs = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(config(2))(query, torch.arange(length)[None]))
    rotation = RotaryPositions(WIDTH).rotation(torch.zeros(B, length, D))
    torch.testing.assert_close(rotate(query, rotation), theirs[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rotate(key, rotation), theirs[1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rms_norm() -> None:
    torch.manual_seed(7)
    ours, theirs, x = RMSNorm(D), LlamaRMSNorm(D), 3 * torch.randn(B, T, D) + 1
    ours.weight.copy_(theirs.weight.normal_())
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(1e-4 * x), theirs(1e-4 * x))  # where eps counts


@pytest.mark.parametrize("num_heads", [1, 2, 3, 8, 12, 16, 23])
def test_alibi(num_heads: int) -> None:
    """BLOOM adds slope times the key's position: for one query all scores are higher by the same number than ours."""
    theirs = build_alibi_tensor(torch.ones(1, T, dtype=torch.long), num_heads, torch.float32)  # (H,1,T)
    torch.testing.assert_close(alibi_slopes(num_heads, torch.device("cpu")), theirs[:, 0, 1])
    bias = AlibiPositions(num_heads, causal=True).bias(torch.zeros(B, T, D))[0]
    for i in range(T):
        torch.testing.assert_close(bias[:, i, : i + 1], theirs[:, 0, : i + 1] - theirs[:, 0, i : i + 1])
