"""A decoder alone with rotary positions, RMS norm, SwiGLU and grouped heads against Llama, and ALiBi against BLOOM.

Both of Hugging Face transformers. B rows, T length, P length of prompts, D width, K width of a head, V vocabulary.
"""

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from seq2seq.models.base import Memory
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.nn.normalization import RMSNorm
from seq2seq.nn.positions import AlibiPositions, RotaryPositions, alibi_slopes, rotate
from seq2seq.text.vocab import Vocab

B, T, P, D, HEADS, FF, LAYERS = 2, 17, 5, 24, 4, 20, 3
WIDTH = D // HEADS
VOCAB = Vocab((*Vocab.special, *(f"t{i}" for i in range(9))))
# In float64, but for norms and angles: those of both are in float32, whatever the input.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}

every_group = pytest.mark.parametrize("num_kv_heads", [1, 2, 4])


def config(num_kv_heads: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(VOCAB),
        hidden_size=D,
        intermediate_size=FF,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=num_kv_heads,
        pad_token_id=VOCAB.pad,
        bos_token_id=VOCAB.bos,
        eos_token_id=VOCAB.eos,
    )


def fill(linear: nn.Linear, *weights: Tensor) -> None:
    linear.weight.copy_(torch.cat(weights))
    if linear.bias is not None:
        linear.bias.zero_()


@torch.no_grad()
def pair(num_kv_heads: int) -> tuple[Any, TransformerDecoder]:
    """Theirs and ours with the same random weights; Llama has no biases and does not scale its embeddings."""
    theirs = LlamaForCausalLM(config(num_kv_heads)).double().eval()
    torch.manual_seed(7)
    for parameter in theirs.parameters():  # theirs begin so small that little depends on them
        nn.init.normal_(parameter, std=0.5)
    ours = TransformerDecoder(
        VOCAB,
        0,
        d_model=D,
        num_layers=LAYERS,
        num_heads=HEADS,
        num_kv_heads=num_kv_heads,
        d_ff=FF,
        activation="swiglu",
        norm="pre",
        norm_type="rms",
        positions="rotary",
    )
    ours = ours.double().eval()
    ours.embedding.weight.copy_(theirs.model.embed_tokens.weight / sqrt(D))
    for other, layer in zip(theirs.model.layers, ours.layers, strict=True):
        layer.attention_residual.norm.load_state_dict(other.input_layernorm.state_dict())
        attention = other.self_attn
        fill(layer.attention.qkv, attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)
        fill(layer.attention.out, attention.o_proj.weight)
        layer.feed_forward_residual.norm.load_state_dict(other.post_attention_layernorm.state_dict())
        fill(layer.feed_forward.inner, other.mlp.gate_proj.weight, other.mlp.up_proj.weight)
        fill(layer.feed_forward.outer, other.mlp.down_proj.weight)
    ours.norm.load_state_dict(theirs.model.norm.state_dict())
    fill(ours.head, theirs.lm_head.weight)
    return theirs, ours


def tokens() -> Tensor:
    """(B,T)."""
    return torch.randint(4, len(VOCAB), (B, T), generator=torch.Generator().manual_seed(8))


@every_group
@torch.no_grad()
def test_all_at_once(num_kv_heads: int) -> None:
    theirs, ours = pair(num_kv_heads)
    rows, mask = tokens(), torch.arange(T) < torch.tensor([[T], [T - 6]])
    expected = theirs(input_ids=rows, attention_mask=mask.long()).logits
    assert expected.std() > 0.1
    logits = ours.head(ours(rows, mask, Memory.empty(rows)))
    torch.testing.assert_close(logits[mask], expected[mask], **CLOSE)


@every_group
@torch.no_grad()
def test_step_by_step(num_kv_heads: int) -> None:
    """Both with their caches, one token at a time."""
    theirs, ours = pair(num_kv_heads)
    rows, past = tokens(), None
    state = ours.start(Memory.empty(rows), max_length=T)
    for t in range(T):
        expected = theirs(input_ids=rows[:, t : t + 1], past_key_values=past, use_cache=True)
        past = expected.past_key_values
        logits, state = ours.step(rows[:, t], state)
        torch.testing.assert_close(logits, expected.logits[:, 0], **CLOSE)


@every_group
@torch.no_grad()
def test_after_prompts_of_unequal_lengths(num_kv_heads: int) -> None:
    """Ours reads them at once, padded; theirs has each row for itself."""
    theirs, ours = pair(num_kv_heads)
    rows, lengths = tokens(), (P, P - 2)
    expected = [theirs(input_ids=row[None]).logits[0] for row in rows]
    mask = torch.arange(P) < torch.tensor(lengths)[:, None]
    state = ours.prefill(rows[:, :P].masked_fill(~mask, VOCAB.pad), mask, max_length=T)
    for t in range(T - P):
        column = torch.stack([row[length + t] for row, length in zip(rows, lengths, strict=True)])
        logits, state = ours.step(column, state)
        told = [of_row[length + t] for of_row, length in zip(expected, lengths, strict=True)]
        torch.testing.assert_close(logits, torch.stack(told), **CLOSE)


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
