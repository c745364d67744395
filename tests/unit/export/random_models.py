"""Models without training, to be compared with what is made of them."""

from typing import Any

import torch

from seq2seq.config import RunConfig, bind_run
from seq2seq.models.base import Model
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import CharacterTokenizer
from seq2seq.text.vocab import Vocab

WIDTHS = {"d_model": 24, "num_layers": 2, "num_heads": 4, "d_ff": 40}


def config(
    encoder: dict[str, Any] | None = None,
    decoder: dict[str, Any] | None = None,
    search: dict[str, Any] | None = None,
    **model: Any,
) -> RunConfig:
    return bind_run(
        {
            "model": {
                "name": "encoder_decoder",
                "encoder": {"name": "transformer", **WIDTHS, **(encoder or {})},
                "decoder": {"name": "transformer", **WIDTHS, **(decoder or {})},
                **model,
            },
            "data": "demo",
            "tokenizer": "characters",
            "optimizer": "adamw",
            "schedule": "inverse_sqrt",
            "loss": "cross_entropy",
            "search": search or "beam",
            "trainer": {},
        }
    )


def tokenizer(letters: str) -> CharacterTokenizer:
    made = CharacterTokenizer()
    made.train([letters])
    return made


def random_model(config: RunConfig, tokenizers: TokenizerPair) -> Model:
    """No parameter keeps a starting value such as 0 or 1."""
    torch.manual_seed(3)
    model = config.model(*tokenizers.vocabs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def random_ids(lengths: tuple[int, ...], vocab: Vocab) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(4, len(vocab), (length,), generator=generator).tolist() for length in lengths]


def quiet(model: Any) -> None:
    """Makes pad and bos improbable, as they are in every trained model."""
    with torch.no_grad():
        model.decoder.norm.weight[0], model.decoder.norm.bias[0] = 0.0, 1.0
        model.head.weight[:, 0] = 0.0
        model.head.weight[[Vocab.pad, Vocab.bos], 0] = -30.0
