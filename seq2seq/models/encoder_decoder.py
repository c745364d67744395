"""An encoder and a decoder, chosen by name, as one model."""

from typing import Literal

from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.models.base import Decoder, DecoderState, Encoder, Model, models, tie_head
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab


@models.register("encoder_decoder")
class EncoderDecoder(Model):
    """Any encoder with any decoder.

    Options:
        encoder: reads the source
        decoder: writes the target
        tie_embeddings: share target embedding and head (target), and source embedding too (all)
    """

    def __init__(
        self,
        source_vocab: Vocab,
        target_vocab: Vocab,
        *,
        encoder: Factory[Encoder],
        decoder: Factory[Decoder],
        tie_embeddings: Literal["none", "target", "all"] = "none",
    ) -> None:
        super().__init__()
        if tie_embeddings == "all" and source_vocab != target_vocab:
            raise ValueError("tie_embeddings=all needs one vocabulary for both sides: set tokenizer.shared=true")
        self.encoder = encoder(source_vocab)
        self.decoder = decoder(target_vocab, self.encoder.output_dim)
        if tie_embeddings != "none":
            tie_head(self.decoder, otherwise="tie_embeddings=none")
        if tie_embeddings == "all":
            self._tie_source()

    def _tie_source(self) -> None:
        source, target = self.encoder.embedding.weight, self.decoder.embedding.weight
        if source.shape != target.shape:
            raise ValueError(
                "tie_embeddings=all needs source and target embeddings of one width (embedding_dim, or else d_model), "
                f"not {source.shape[1]} and {target.shape[1]}: set tie_embeddings=target"
            )
        self.encoder.embedding.weight = target

    @property
    def head(self) -> nn.Linear:
        return self.decoder.head

    def features(self, batch: Batch) -> Tensor:
        memory = self.encoder(batch.source, batch.source_mask)
        features: Tensor = self.decoder(batch.target, batch.target_mask, memory)
        return features

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> DecoderState:
        return self.decoder.start(self.encoder(source, mask), max_length)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        return self.decoder.step(tokens, state)

    def attention_weights(self, batch: Batch) -> Tensor | None:
        memory = self.encoder(batch.source, batch.source_mask)
        return self.decoder.attention_weights(batch.target, batch.target_mask, memory)
