"""Encoders that others have trained, by the transformers library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from seq2seq.errors import DataError
from seq2seq.models.architecture import complete, make_config, read_architecture, read_weights
from seq2seq.models.base import Encoder, Memory, encoders
from seq2seq.models.framing import Framing
from seq2seq.models.tables import Numbers, copy_weights, places_of, token_embeddings
from seq2seq.registry import Probability
from seq2seq.text.pretrained import library
from seq2seq.text.vocab import Vocab


@encoders.register("pretrained")
class PretrainedEncoder(Encoder):
    """An encoder of the transformers library, under any decoder: BERT, XLM-R and their like, or that of T5 or BART.

    Both sides are cut by its tokenizer.

    Options:
        path: a hub id, or a folder with config.json, model.safetensors and the tokenizer
        source_language: the code of a multilingual model for what it reads, as eng_Latn
        dropout: another share of values that is dropped in training than the model's own
        freeze: whether it stays as it is
        architecture: filled in when a run begins, so that it is complete
    """

    own_tokenizer = "huggingface"
    usual_beside: ClassVar = {"tokenizer": "pretrained_encoder"}

    def __init__(
        self,
        vocab: Vocab,
        *,
        path: str,
        source_language: str | None = None,
        dropout: Probability | None = None,
        freeze: bool = False,
        architecture: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        architecture = architecture or read_architecture(path, source_language, encoder_only=True)
        config = make_config(architecture, dropout)
        self.path = path
        self.numbers = Numbers(vocab)
        body = library().AutoModel.from_config(config)
        self.body = _encoder_of(body)
        if getattr(self.body, "pooler", None) is not None:
            self.body.pooler = None
        self.numbers.renumber(token_embeddings(self.body))
        self.embedding = self.body.get_input_embeddings()
        self.framing = Framing(self.numbers, architecture, ends=True)
        self.places = places_of(self.body, False)[0]
        self.output_dim = int(config.hidden_size)
        if freeze:
            self.body.requires_grad_(False)

    @staticmethod
    def complete(options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the architecture of the model at path. Raises ConfigError where it cannot be read."""
        return complete(options, encoder_only=True)

    def load_outside_weights(self) -> None:
        """Those of the model at path. Raises ConfigError where they cannot be read, or do not fit."""
        other = _encoder_of(read_weights("encoder", self.path, group="model.encoder"))
        copy_weights(self.body, other.state_dict(), self.numbers)

    def recompute(self) -> None:
        """Activation checkpointing, by the library."""
        self.body.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def too_long(self, source_tokens: int, target_tokens: int) -> str | None:
        """What is wrong with texts of so many tokens, without eos; None where there is a place for each."""
        needed = source_tokens + self.framing.num_before + len(self.framing.after) + 1
        if self.places is None or needed <= self.places:
            return None
        return f"take {needed} places, but the encoder has {self.places}"

    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """The states of the source's own tokens, with its eos; final is their mean."""
        if wrong := self.too_long(tokens.size(1) - 1, 0):
            raise DataError(f"sources of {tokens.size(1)} tokens {wrong}; data.max_source_tokens shortens them")
        read, read_mask = self.framing(tokens, mask)
        states = self.body(input_ids=read, attention_mask=read_mask.long()).last_hidden_state
        start = self.framing.num_before
        states = states[:, start : start + tokens.size(1)] * mask[:, :, None]
        return Memory(states, mask, states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1))


def _encoder_of(model: Any) -> Any:
    """Of an encoder and a decoder the first half."""
    return model.get_encoder() if model.config.is_encoder_decoder else model
