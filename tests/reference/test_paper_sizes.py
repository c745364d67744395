"""The numbers of parameters of the base and big Transformers (Vaswani et al., 2017, table 3)."""

import pytest
import torch

from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab

NUM_TOKENS = 37_000


def expected(d_model: int, d_ff: int, num_layers: int) -> int:
    """One shared embedding; biases in every linear layer but the head; a norm after every sublayer."""
    attention = 4 * d_model * (d_model + 1)
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    norm = 2 * d_model
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    return NUM_TOKENS * d_model + num_layers * (encoder_layer + decoder_layer)


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({"d_model": 512, "num_heads": 8, "d_ff": 2048, "num_layers": 6}, 65),
        ({"d_model": 1024, "num_heads": 16, "d_ff": 4096, "num_layers": 6}, 213),
    ],
    ids=["base", "big"],
)
def test_number_of_parameters(options: dict[str, int], millions: int) -> None:
    vocab = Vocab((*Vocab.special, *(f"t{i}" for i in range(NUM_TOKENS - 4))))
    with torch.device("meta"):
        model = EncoderDecoder(
            vocab,
            vocab,
            encoder=Factory(TransformerEncoder, "transformer", options),
            decoder=Factory(TransformerDecoder, "transformer", options),
            tie_embeddings="all",
        )
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == expected(options["d_model"], options["d_ff"], options["num_layers"])
    assert count / 1e6 == pytest.approx(millions, rel=0.03)  # the paper does not count to the last vector
