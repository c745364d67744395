"""The decoder-only model: its layout of source and target, its losses, and text alone."""

from typing import Any

import pytest
import torch

from seq2seq.data.batch import Batch, make_batch
from seq2seq.errors import ConfigError
from seq2seq.models.base import DecoderState, Memory, decoders
from seq2seq.models.decoder_only import DecoderOnly, joined
from seq2seq.models.decoders import convolutional, lstm, transformer
from seq2seq.registry import Factory
from seq2seq.search.beam import Beam
from seq2seq.text.vocab import Vocab
from seq2seq.training.loss import CrossEntropy

VOCAB = Vocab((*Vocab.special, *(f"t{i}" for i in range(19))))
DECODERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "transformer": (transformer.TransformerDecoder, {"d_model": 16, "num_layers": 3, "num_heads": 4, "d_ff": 28}),
    "grouped": (
        transformer.TransformerDecoder,
        {"d_model": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "d_ff": 0, "positions": "alibi"},
    ),
    "lstm": (lstm.LSTMDecoder, {"d_model": 16, "num_layers": 2, "attention": "none"}),
}


def build(decoder: str = "transformer", **options: Any) -> DecoderOnly:
    torch.manual_seed(3)
    component, own = DECODERS[decoder]
    return DecoderOnly(VOCAB, VOCAB, decoder=Factory(component, decoder, own, "model.decoder"), **options)


@pytest.fixture
def batch() -> Batch:
    """Sources of 3, 1 and 2 tokens, targets of 2, 5 and 1, eos not counted."""
    return make_batch([[4, 5, 6], [7], [8, 9]], [[10, 11], [12, 13, 14, 15, 16], [17]], [0, 1, 2])


def test_joined_rows_have_no_gap(batch: Batch) -> None:
    tokens, mask = joined(batch.source, batch.source_mask, batch.target, batch.target_mask)
    rows = [[4, 5, 6, 3, 2, 10, 11], [7, 3, 2, 12, 13, 14, 15, 16], [8, 9, 3, 2, 17]]
    assert (Vocab.bos, Vocab.eos) == (2, 3)
    assert tokens.shape == (3, 4 + 6)
    for row, real, expected in zip(tokens, mask, rows, strict=True):
        assert row[real].tolist() == expected
        assert real.tolist() == [True] * len(expected) + [False] * (10 - len(expected))
        assert (row[~real] == Vocab.pad).all()


def test_features_stand_where_the_target_is(batch: Batch) -> None:
    model = build().eval()
    features = model.features(batch)
    row = torch.tensor([[7, 3, 2, 12, 13, 14, 15, 16]])
    alone = model.decoder(row, torch.ones_like(row, dtype=torch.bool), Memory.empty(row))
    torch.testing.assert_close(features[1], alone[0, 2:])
    assert features.shape == (3, 6, 16)


def test_loss_on_all_counts_each_token_that_another_one_foretells(batch: Batch) -> None:
    model = build(loss_on="all")
    labels, count = model.labels(batch)
    rows = [[5, 6, 3, 0, 10, 11, 3], [3, 0, 12, 13, 14, 15, 16, 3], [9, 3, 0, 17, 3]]
    assert [row[: len(expected)].tolist() for row, expected in zip(labels, rows, strict=True)] == rows
    assert count == int((labels != Vocab.pad).sum()) == sum(len(row) - 1 for row in rows)
    assert model.features(batch).shape[:2] == labels.shape
    assert model.eval().labels(batch) == (batch.labels, batch.num_tokens)  # evaluation: the target's
    assert build(loss_on="target").labels(batch)[1] == 3 + 6 + 2


def test_loss_on_all_is_the_loss_of_the_whole_row(batch: Batch) -> None:
    model = build(loss_on="all")
    labels, _ = model.labels(batch)
    total, _ = CrossEntropy()(model.features(batch), model.head, labels)
    expected = torch.zeros(())
    for row in ([4, 5, 6, 3, 2, 10, 11, 3], [7, 3, 2, 12, 13, 14, 15, 16, 3], [8, 9, 3, 2, 17, 3]):
        tokens = torch.tensor([row])
        inputs = tokens[:, :-1]
        features = model.decoder(inputs, torch.ones_like(inputs, dtype=torch.bool), Memory.empty(inputs))
        told = tokens[0, 1:].clone()
        told[told == Vocab.bos] = -100
        expected = expected + torch.nn.functional.cross_entropy(model.head(features)[0], told, reduction="sum")
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_text_alone_step_by_step(decoder: str) -> None:
    model = build(decoder).eval()
    batch = make_batch(None, [[10, 11], [12, 13, 14, 15, 16], [17]], [0, 1, 2])
    assert batch.source.shape == batch.source_mask.shape == (3, 0)
    logits = model.head(model.features(batch))
    state: DecoderState = model.start(batch.source, batch.source_mask, 6)
    for position in range(batch.target.size(1)):
        found, state = model.step(batch.target[:, position], state)
        torch.testing.assert_close(found, logits[:, position], atol=1e-5, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_search_continues_prompts(decoder: str) -> None:
    """Each hypothesis begins with its prompt, and its score is that of teacher forcing."""
    model = build(decoder).eval()
    prompts = [[10, 11, 12], [], [13]]
    nothing = torch.zeros(3, 0, dtype=torch.long)
    found = Beam(beam_size=3, max_length=6, nbest=3)(model, nothing, nothing.bool(), prompts)
    for prompt, hypotheses in zip(prompts, found, strict=True):
        assert len(hypotheses) == 3
        for hypothesis in hypotheses:
            assert hypothesis.tokens[: len(prompt)] == prompt
            batch = make_batch(None, [hypothesis.tokens], [0])
            loss, _ = CrossEntropy()(model.features(batch), model.head, batch.labels)
            assert hypothesis.log_probability == pytest.approx(-loss.item(), abs=1e-4)
        alone = Beam(beam_size=3, max_length=6, nbest=3)(model, nothing[:1], nothing[:1].bool(), [prompt])[0]
        assert [h.tokens for h in alone] == [h.tokens for h in hypotheses]


def test_a_prompt_longer_than_max_length_is_kept() -> None:
    nothing = torch.zeros(1, 0, dtype=torch.long)
    found = Beam(max_length=2)(build().eval(), nothing, nothing.bool(), [[10, 11, 12]])
    assert found[0][0].tokens == [10, 11, 12]


@torch.no_grad()
def test_attention_weights_are_those_of_self_attention(batch: Batch) -> None:
    """With one layer without projections to speak of: plain softmax over the joined row, cut to the source."""
    torch.manual_seed(3)
    options = {"d_model": 12, "num_layers": 1, "num_heads": 1, "d_ff": 0, "positions": "none", "norm": "pre"}
    model = DecoderOnly(VOCAB, VOCAB, decoder=Factory(transformer.TransformerDecoder, "transformer", options)).eval()
    weights = model.attention_weights(batch)
    assert weights is not None
    layer = model.decoder.layers[0]
    tokens = torch.tensor([[8, 9, 3, 2, 17]])
    normed = layer.attention_residual.norm(model.decoder.embedding(tokens))
    query, key, _ = layer.attention.qkv(normed)[0].chunk(3, dim=1)
    scores = (query @ key.T / 12**0.5).masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), float("-inf"))
    expected = scores.softmax(dim=1)[3:, :3]
    torch.testing.assert_close(weights[2, :2, :3], expected / expected.sum(dim=1, keepdim=True))
    assert not weights[2, :, 3:].any()
    assert build("lstm").attention_weights(batch) is None


def test_what_cannot_be_a_stack_says_why() -> None:
    other = Vocab((*Vocab.special, "x"))
    convolution = Factory(decoders.components["convolutional"], "convolutional", {}, "model.decoder")
    attention = Factory(decoders.components["lstm"], "lstm", {"d_model": 16}, "model.decoder")
    parallel = Factory(decoders.components["transformer"], "transformer", {"cross_attention": "parallel"}, "m")
    maxout = Factory(decoders.components["lstm"], "lstm", {"d_model": 16, "attention": "none", "readout": "maxout"})
    assert convolution.component is convolutional.ConvolutionalDecoder
    with pytest.raises(ValueError, match=r"with one vocabulary: set tokenizer\.shared=true"):
        DecoderOnly(VOCAB, other, decoder=attention)
    with pytest.raises(ValueError, match="decoder=convolutional needs a source to attend to: choose transformer"):
        DecoderOnly(VOCAB, VOCAB, decoder=convolution)
    with pytest.raises(ConfigError, match=r"model\.decoder: .*set attention=none and context_input=false"):
        DecoderOnly(VOCAB, VOCAB, decoder=attention)
    with pytest.raises(ConfigError, match="cross_attention=parallel needs a source"):
        DecoderOnly(VOCAB, VOCAB, decoder=parallel)
    with pytest.raises(ValueError, match="16, not 8: set tie_embeddings=false"):
        DecoderOnly(VOCAB, VOCAB, decoder=maxout, tie_embeddings=True)
