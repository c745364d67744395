"""A model that has learned to copy reads each token where it stands."""

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from seq2seq.data.batch import Batch, make_batch
from seq2seq.models.base import Decoder, Encoder
from seq2seq.models.decoders.convolutional import ConvolutionalDecoder
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.convolutional import ConvolutionalEncoder
from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab

VOCAB = Vocab((*Vocab.special, *"abcdefghij"))


def random_copies(generator: torch.Generator) -> Batch:
    """32 rows of 4 to 7 tokens."""
    lengths = torch.randint(4, 8, (32,), generator=generator).tolist()
    rows = [torch.randint(4, len(VOCAB), (length,), generator=generator).tolist() for length in lengths]
    return make_batch(rows, rows, range(len(rows)))


@pytest.mark.parametrize(
    ("encoder", "decoder", "options", "steps", "lr"),
    [
        (LSTMEncoder, LSTMDecoder, {}, 250, 1e-2),
        (ConvolutionalEncoder, ConvolutionalDecoder, {"num_layers": 2}, 250, 5e-3),
        (
            TransformerEncoder,
            TransformerDecoder,
            {"num_layers": 2, "num_heads": 2, "d_ff": 64, "norm": "pre"},
            300,
            5e-3,
        ),
    ],
    ids=["lstm", "convolutional", "transformer"],
)
def test_attention_is_a_diagonal(
    encoder: type[Encoder], decoder: type[Decoder], options: dict[str, Any], steps: int, lr: float
) -> None:
    torch.manual_seed(3)
    options = {"d_model": 32, **options}
    model = EncoderDecoder(
        VOCAB, VOCAB, encoder=Factory(encoder, "encoder", options), decoder=Factory(decoder, "decoder", options)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        batch = random_copies(generator)
        logits = model.head(model.features(batch))
        loss = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=Vocab.pad)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = random_copies(generator)
    with torch.no_grad():
        weights = model.attention_weights(batch)
    assert weights is not None
    own = weights.argmax(dim=2) == torch.arange(weights.size(1))
    assert own[batch.target_mask].float().mean() > 0.8
