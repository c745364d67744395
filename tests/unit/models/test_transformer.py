"""What the contracts do not try: options that are numbers, and several at once."""

from typing import Any

import pytest
import torch

from seq2seq.models.base import Memory
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.text.vocab import Vocab

VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))
B, BEAM, S, T, D, WIDTH = 2, 3, 5, 7, 12, 16
SIZES: dict[str, Any] = {"d_model": WIDTH, "num_heads": 4, "num_layers": 2, "d_ff": 20}
MODERN = {"num_kv_heads": 2, "positions": "rotary", "norm": "pre", "norm_type": "rms", "activation": "swiglu"}

variants = pytest.mark.parametrize(
    "options",
    [
        MODERN,
        MODERN | {"qk_norm": True, "num_kv_heads": 1, "cross_attention": "parallel"},
        {"num_kv_heads": 2, "positions": "alibi"},
        {"num_kv_heads": 2, "positions": "relative", "cross_attention": "parallel", "norm": "pre"},
        {"d_ff": 0, "positions": "learned", "max_positions": 3, "layer_drop": 0.5},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)


def memory() -> Memory:
    generator = torch.Generator().manual_seed(3)
    mask = torch.arange(S) < torch.tensor([[5], [2]])
    return Memory(torch.randn(B, S, D, generator=generator) * mask[:, :, None], mask, torch.zeros(B, D))


def build(options: dict[str, Any]) -> TransformerDecoder:
    torch.manual_seed(4)
    return TransformerDecoder(VOCAB, D, **(SIZES | options)).eval()


@variants
@torch.no_grad()
def test_steps_of_reordered_beams_equal_teacher_forcing(options: dict[str, Any]) -> None:
    decoder, source = build(options), memory()
    rows = torch.arange(B).repeat_interleave(BEAM)
    wide = Memory(source.states[rows], source.mask[rows], source.final[rows])
    tokens = torch.randint(4, len(VOCAB), (B * BEAM, T), generator=torch.Generator().manual_seed(5))
    tokens[:, 0] = Vocab.bos
    features = decoder(tokens, torch.ones_like(tokens, dtype=torch.bool), wide)
    expected = decoder.head(features)
    state = decoder.start(source, max_length=T).reorder(rows)
    for t in range(T):
        logits, state = decoder.step(tokens[:, t], state)
        torch.testing.assert_close(logits, expected[:, t], atol=1e-5, rtol=1e-4)


@variants
@torch.no_grad()
def test_padding_of_the_source_changes_nothing(options: dict[str, Any]) -> None:
    torch.manual_seed(4)
    options = {name: value for name, value in options.items() if name != "cross_attention"}
    encoder = TransformerEncoder(VOCAB, **(SIZES | options)).eval()
    tokens, mask = torch.tensor([[4, 5, 6, 7, 8], [9, 10, 0, 0, 0]]), memory().mask
    states = encoder(tokens, mask).states
    torch.testing.assert_close(states[1:, :2], encoder(tokens[1:, :2], mask[1:, :2]).states, atol=1e-5, rtol=1e-4)
    assert not states[1, 2:].any()


@torch.no_grad()
def test_grouped_heads_keep_a_smaller_cache() -> None:
    for num_kv_heads, heads in ((None, 4), (2, 2), (1, 1)):
        state = build({"num_kv_heads": num_kv_heads}).start(memory(), max_length=T)
        assert state.cache.buffers[0].shape == (B, heads, 2, T, 4)
        assert state.memory[0].shape == (B, heads, 2, S, 4)


@pytest.mark.parametrize("component", ["encoder", "decoder"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads must divide num_heads, which is 4: 1, 2, 4, not 3"),
        ({"max_positions": 50}, "leave it null with positions=sinusoidal"),
        ({"d_ff": 0, "activation_dropout": 0.1}, "activation_dropout has to be 0"),
        ({"positions": "rotary", "d_model": 20}, "even width of each head, d_model / num_heads, not 5"),
    ],
)
def test_impossible_options(component: str, options: dict[str, Any], message: str) -> None:
    options = SIZES | options
    with pytest.raises(ValueError, match=message):
        TransformerEncoder(VOCAB, **options) if component == "encoder" else TransformerDecoder(VOCAB, D, **options)


def test_one_relative_table_serves_all_layers() -> None:
    for module in (TransformerEncoder(VOCAB, **SIZES, positions="relative"), build({"positions": "relative"})):
        shapes = {name: p.shape for name, p in module.named_parameters() if "positions" in name}
        assert shapes == {"attention_positions.table.weight": (32, 4)}
