"""Tiny models of both families, and data for them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.models.base import Decoder, Encoder
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab

VOCAB = Vocab((*Vocab.special, *(f"w{i}" for i in range(9))))
PARTS: dict[str, tuple[type[Encoder], type[Decoder], dict[str, int]]] = {
    "transformer": (TransformerEncoder, TransformerDecoder, {"num_layers": 1, "num_heads": 2, "d_ff": 20}),
    "lstm": (LSTMEncoder, LSTMDecoder, {"num_layers": 1}),
}


@pytest.fixture(params=sorted(PARTS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., EncoderDecoder]:
    def make(family: str, dropout: float = 0.0) -> EncoderDecoder:
        encoder, decoder, sizes = PARTS[family]
        options = {**sizes, "d_model": 12, "dropout": dropout}
        torch.manual_seed(3)
        return EncoderDecoder(
            VOCAB,
            VOCAB,
            encoder=Factory(encoder, family, options),
            decoder=Factory(decoder, family, options),
            tie_embeddings="target",
        )

    return make


@pytest.fixture(scope="session")
def make_corpus() -> Callable[[int], EncodedCorpus]:
    """Random ids, 1 to 7 on a side; example i has the number i."""

    def make(size: int) -> EncodedCorpus:
        generator = np.random.default_rng(0)

        def rows() -> Rows:
            offsets = np.concatenate([[0], np.cumsum(generator.integers(1, 8, size))])
            return Rows(generator.integers(4, len(VOCAB), offsets[-1]).astype(np.int32), offsets)

        return EncodedCorpus(rows(), rows(), np.arange(size))

    return make
