"""Our Transformer with positions=relative, norm=pre and norm_type=rms against T5 of Hugging Face transformers.

T5 adds its bias to unscaled scores q k, does not scale its embeddings, and has no biases in its linear layers; the
weights are copied accordingly. B sources, S source length, T target length, D width, K width of a head.
"""

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerNorm

from seq2seq.data.batch import make_batch
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.nn.attention import CrossAttention, SelfAttention
from seq2seq.nn.normalization import RMSNorm
from seq2seq.nn.positions import BucketedPositions, distance_buckets
from seq2seq.nn.transformer import FeedForward
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab

B, S, T, D, HEADS, FF, ENCODER_LAYERS, DECODER_LAYERS = 2, 137, 150, 12, 3, 20, 3, 2
WIDTH = D // HEADS
VOCAB = Vocab((*Vocab.special, *(f"t{i}" for i in range(19))))
# In float64, but for the norms: those of both compute in float32, whatever the input.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}

both_kinds = pytest.mark.parametrize(("their_kind", "activation"), [("relu", "relu"), ("gated-silu", "swiglu")])


def build_theirs(kind: str) -> Any:
    config = T5Config(
        vocab_size=len(VOCAB),
        d_model=D,
        d_kv=WIDTH,
        d_ff=FF,
        num_layers=ENCODER_LAYERS,
        num_decoder_layers=DECODER_LAYERS,
        num_heads=HEADS,
        feed_forward_proj=kind,
        pad_token_id=VOCAB.pad,
        eos_token_id=VOCAB.eos,
        decoder_start_token_id=VOCAB.bos,
    )
    theirs = T5ForConditionalGeneration(config).double().eval()
    torch.manual_seed(5)
    for parameter in theirs.parameters():  # theirs begin so small that little depends on them
        nn.init.normal_(parameter, std=0.5)
    return theirs


def build_ours(activation: str) -> EncoderDecoder:
    options = {
        "d_model": D,
        "num_heads": HEADS,
        "d_ff": FF,
        "activation": activation,
        "norm": "pre",
        "norm_type": "rms",
        "positions": "relative",
    }
    encoder = Factory(TransformerEncoder, "transformer", {**options, "num_layers": ENCODER_LAYERS})
    decoder = Factory(TransformerDecoder, "transformer", {**options, "num_layers": DECODER_LAYERS})
    return EncoderDecoder(VOCAB, VOCAB, encoder=encoder, decoder=decoder, tie_embeddings="all").double().eval()


def fill(linear: nn.Linear, *weights: Tensor) -> None:
    linear.weight.copy_(torch.cat(weights))
    if linear.bias is not None:
        linear.bias.zero_()


def copy_attention(theirs: Any, ours: SelfAttention | CrossAttention) -> None:
    query = theirs.q.weight * sqrt(WIDTH)  # ours are divided by it
    if isinstance(ours, SelfAttention):
        fill(ours.qkv, query, theirs.k.weight, theirs.v.weight)
    else:
        fill(ours.query, query)
        fill(ours.key_value, theirs.k.weight, theirs.v.weight)
    fill(ours.out, theirs.o.weight)


def copy_feed_forward(theirs: Any, ours: FeedForward) -> None:
    inner = (theirs.wi_0.weight, theirs.wi_1.weight) if ours.gated else (theirs.wi.weight,)
    fill(ours.inner, *inner)
    fill(ours.outer, theirs.wo.weight)


def copy_norm(theirs: Any, ours: nn.Module) -> None:
    ours.load_state_dict(theirs.state_dict())


def copy_stack(theirs: Any, ours: TransformerEncoder | TransformerDecoder) -> None:
    positions = ours.attention_positions
    assert isinstance(positions, BucketedPositions)
    positions.table.weight.copy_(theirs.block[0].layer[0].SelfAttention.relative_attention_bias.weight)
    for their_block, layer in zip(theirs.block, ours.layers, strict=True):
        own, *cross, last = their_block.layer
        copy_norm(own.layer_norm, layer.attention_residual.norm)
        copy_attention(own.SelfAttention, layer.attention)
        for sublayer in cross:
            copy_norm(sublayer.layer_norm, layer.cross_attention_residual.norm)
            copy_attention(sublayer.EncDecAttention, layer.cross_attention)
        copy_norm(last.layer_norm, layer.feed_forward_residual.norm)
        copy_feed_forward(last.DenseReluDense, layer.feed_forward)
    copy_norm(theirs.final_layer_norm, ours.norm)


@torch.no_grad()
def pair(their_kind: str, activation: str) -> tuple[Any, EncoderDecoder]:
    theirs, ours = build_theirs(their_kind), build_ours(activation)
    copy_stack(theirs.encoder, ours.encoder)
    copy_stack(theirs.decoder, ours.decoder)
    # The embedding is multiplied by sqrt(D) in ours, and the features are divided by it in theirs before the tied head.
    ours.head.weight.copy_(theirs.shared.weight / sqrt(D))
    return theirs, ours


def tokens() -> tuple[Tensor, Tensor, Tensor]:
    """Source (B,S), its mask, and the decoder's input (B,T), longer than the 128 positions of the last bucket."""
    generator = torch.Generator().manual_seed(6)
    batch = make_batch(
        [torch.randint(4, len(VOCAB), (length,), generator=generator).tolist() for length in (S - 1, 30)],
        [torch.randint(4, len(VOCAB), (T - 1,), generator=generator).tolist() for _ in range(B)],
        [0, 1],
    )
    assert batch.source.shape == (B, S)
    assert batch.target.shape == (B, T)
    return batch.source, batch.source_mask, batch.target


@both_kinds
@torch.no_grad()
def test_encoder_states(their_kind: str, activation: str) -> None:
    theirs, ours = pair(their_kind, activation)
    source, mask, _ = tokens()
    expected = theirs.encoder(input_ids=source, attention_mask=mask.long()).last_hidden_state
    assert expected.std() > 0.1
    torch.testing.assert_close(ours.encoder(source, mask).states[mask], expected[mask], **CLOSE)


@both_kinds
@torch.no_grad()
def test_features_and_logits(their_kind: str, activation: str) -> None:
    theirs, ours = pair(their_kind, activation)
    source, mask, target = tokens()
    expected = theirs(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target, output_hidden_states=True)
    features = ours.decoder(target, torch.ones_like(target, dtype=torch.bool), ours.encoder(source, mask))
    torch.testing.assert_close(features, expected.decoder_hidden_states[-1], **CLOSE)
    torch.testing.assert_close(ours.head(features), expected.logits, **CLOSE)


@both_kinds
@torch.no_grad()
def test_step_by_step(their_kind: str, activation: str) -> None:
    """Both with their caches, one token at a time."""
    theirs, ours = pair(their_kind, activation)
    source, mask, target = tokens()
    encoded, past = theirs.encoder(input_ids=source, attention_mask=mask.long()), None
    state = ours.start(source, mask, max_length=T)
    for t in range(T):
        expected = theirs(
            encoder_outputs=encoded,
            attention_mask=mask.long(),
            decoder_input_ids=target[:, t : t + 1],
            past_key_values=past,
            use_cache=True,
        )
        past = expected.past_key_values
        logits, state = ours.step(target[:, t], state)
        torch.testing.assert_close(logits, expected.logits[:, 0], **CLOSE)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (20, 90)])
def test_buckets(causal: bool, num_buckets: int, max_distance: int) -> None:
    positions = BucketedPositions(D, HEADS, causal, num_buckets, max_distance)
    behind = torch.arange(0 if causal else -300, 301)  # theirs counts what lies ahead as positive
    theirs = T5Attention._relative_position_bucket(-behind, not causal, num_buckets, max_distance)
    buckets = distance_buckets(301, num_buckets - positions.ahead, max_distance)
    assert torch.equal(buckets[behind.abs()] + positions.ahead * (behind < 0), theirs)
    assert len(theirs.unique()) == num_buckets - (0 if causal else 1)  # nothing lies ahead at distance 0


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_bias(causal: bool) -> None:
    theirs = T5Attention(
        T5Config(d_model=D, num_heads=HEADS, is_decoder=causal), has_relative_attention_bias=True, layer_idx=0
    )
    ours = BucketedPositions(D, HEADS, causal)
    ours.table.weight.copy_(theirs.relative_attention_bias.weight.normal_())
    expected = theirs.compute_bias(T, T)
    if causal:
        expected = expected.masked_fill(torch.ones(T, T).triu(1).bool(), float("-inf"))
    assert torch.equal(ours.bias(torch.zeros(B, T, D)), expected)


@torch.no_grad()
def test_rms_norm() -> None:
    torch.manual_seed(5)
    ours, theirs, x = RMSNorm(D), T5LayerNorm(D), 3 * torch.randn(B, S, D) + 1
    ours.weight.copy_(theirs.weight.normal_())
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(1e-4 * x), theirs(1e-4 * x))  # where eps counts
