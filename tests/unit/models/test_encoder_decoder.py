from typing import Any

import pytest
import torch

from seq2seq.data.batch import make_batch
from seq2seq.errors import ConfigError
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.recurrent import RecurrentDecoderState
from seq2seq.models.decoders.transformer import TransformerDecoder, TransformerDecoderState
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab

VOCAB = Vocab((*Vocab.special, *"abcdefg"))
OTHER = Vocab((*Vocab.special, *"abcdefghi"))
SMALL: dict[str, Any] = {"d_model": 12, "num_layers": 1, "num_heads": 3, "d_ff": 20}


def build(source: Vocab = VOCAB, target: Vocab = VOCAB, width: int = 12, **options: Any) -> EncoderDecoder:
    encoder = Factory(TransformerEncoder, "transformer", SMALL, "model.encoder")
    decoder = Factory(TransformerDecoder, "transformer", {**SMALL, "d_model": width}, "model.decoder")
    return EncoderDecoder(source, target, encoder=encoder, decoder=decoder, **options)


def names(model: EncoderDecoder) -> set[str]:
    return {name for name, _ in model.named_parameters() if "embedding" in name or "head" in name}


def test_untied() -> None:
    assert names(build()) == {"encoder.embedding.weight", "decoder.embedding.weight", "decoder.head.weight"}


def test_target_embeddings_tied() -> None:
    model = build(target=OTHER, tie_embeddings="target")
    assert model.head.weight is model.decoder.embedding.weight
    assert names(model) == {"encoder.embedding.weight", "decoder.embedding.weight"}


def test_all_embeddings_tied() -> None:
    model = build(tie_embeddings="all")
    assert model.head.weight is model.encoder.embedding.weight is model.decoder.embedding.weight
    assert len(names(model)) == 1


def test_tying_both_sides_needs_one_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"set tokenizer\.shared=true"):
        build(target=OTHER, tie_embeddings="all")


def test_tying_both_sides_needs_one_width() -> None:
    message = r"one width \(embedding_dim, or else d_model\), not 12 and 18: set tie_embeddings=target"
    with pytest.raises(ValueError, match=message):
        build(width=18, tie_embeddings="all")
    build(width=18, tie_embeddings="target")


def test_tying_both_sides_looks_at_the_embeddings_only() -> None:
    encoder = Factory(LSTMEncoder, "lstm", {"d_model": 16, "embedding_dim": 12})
    decoder = Factory(TransformerDecoder, "transformer", SMALL)
    model = EncoderDecoder(VOCAB, VOCAB, encoder=encoder, decoder=decoder, tie_embeddings="all")
    assert model.encoder.embedding.weight is model.head.weight


def test_tying_the_head_needs_equal_widths() -> None:
    class Narrow(LSTMDecoder):
        def __init__(self, vocab: Vocab, memory_dim: int) -> None:
            super().__init__(vocab, memory_dim, d_model=12)
            self.head = torch.nn.Linear(7, len(vocab), bias=False)

    encoder = Factory(TransformerEncoder, "transformer", SMALL)
    with pytest.raises(ValueError, match="as wide as its embedding, 12, not 7"):
        EncoderDecoder(VOCAB, VOCAB, encoder=encoder, decoder=Factory(Narrow, "narrow", {}), tie_embeddings="target")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (
            Factory(TransformerEncoder, "transformer", {"d_model": 12, "num_heads": 5}, "model.encoder"),
            "model.encoder: d_model must be a multiple of num_heads, which is 5: for example 10, not 12",
        ),
        (
            Factory(LSTMEncoder, "lstm", {"d_model": 13}, "model.encoder"),
            "model.encoder: direction=both needs an even d_model, for example 14, not 13",
        ),
        (
            Factory(LSTMDecoder, "lstm", {"d_model": 16, "attention": "dot"}, "model.decoder"),
            "model.decoder: attention=dot needs a decoder as wide as the encoder's output, d_model=12, not 16; "
            "attention=general takes any width",
        ),
    ],
)
def test_impossible_options_name_their_component(factory: Factory[Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        factory(VOCAB) if factory.path == "model.encoder" else factory(VOCAB, 12)
    assert str(error.value) == message


def test_features_are_aligned_with_labels() -> None:
    model = build(target=OTHER)
    batch = make_batch([[4, 5, 6], [7]], [[4, 5, 6, 7, 8], [9, 10]], [0, 1])
    assert model.head(model.features(batch)).shape == (*batch.labels.shape, len(OTHER))


@torch.no_grad()
def test_nothing_of_a_source_is_copied_for_its_hypotheses() -> None:
    memory = TransformerEncoder(VOCAB, **SMALL)(torch.full((2, 5), 6), torch.ones(2, 5, dtype=torch.bool))
    index = torch.tensor([0, 0, 0, 1, 1, 1])

    state = TransformerDecoder(OTHER, 12, **SMALL).start(memory, max_length=7)
    wider = state.reorder(index)
    assert isinstance(wider, TransformerDecoderState)
    assert wider.memory is state.memory
    assert wider.mask is state.mask
    assert wider.cache.buffers is state.cache.buffers
    assert wider.cache.visible.shape == (2, 3, 0)

    other = LSTMDecoder(OTHER, 12, d_model=16).start(memory, max_length=7)
    wider_other = other.reorder(index)
    assert isinstance(wider_other, RecurrentDecoderState)
    assert wider_other.keys is other.keys
    assert wider_other.memory is memory
    assert wider_other.cell[0].size(0) == 6
    assert other.reorder(torch.arange(2)) is other  # the identity costs nothing
