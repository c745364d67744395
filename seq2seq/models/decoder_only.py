"""A decoder alone as the model, of translation or of text."""

from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.models.base import Decoder, DecoderState, Memory, Model, StackDecoder, models, tie_head
from seq2seq.nn.recording import SelfReader, recording
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab


@models.register("decoder_only")
class DecoderOnly(Model):
    """One stack that reads source, eos, bos and target as one sequence (Liu et al., 2018, arXiv:1801.10198).

    Of text without a source it is a language model.

    Options:
        decoder: the stack: transformer, or lstm, gru or rnn with attention=none
        tie_embeddings: share embedding and head
        loss_on: training learns to say the target alone, or all of the sequence
    """

    needs_source = False
    usual_parts: ClassVar = {"decoder": "decoder_only_base"}  # what model=decoder_only means

    def __init__(
        self,
        source_vocab: Vocab,
        target_vocab: Vocab,
        *,
        decoder: Factory[Decoder],
        tie_embeddings: bool = False,
        loss_on: Literal["target", "all"] = "target",
    ) -> None:
        super().__init__()
        if source_vocab != target_vocab:
            raise ValueError("one stack reads both sides with one vocabulary: set tokenizer.shared=true")
        if not issubclass(decoder.component, StackDecoder):
            raise ValueError(
                f"decoder={decoder.name} needs a source to attend to: choose transformer, lstm, gru or rnn"
            )
        self.learns_source = loss_on == "all"
        self.decoder = cast(StackDecoder, decoder(target_vocab, 0))
        if tie_embeddings:
            tie_head(self.decoder, otherwise="tie_embeddings=false")

    @property
    def head(self) -> nn.Linear:
        return self.decoder.head

    def features(self, batch: Batch) -> Tensor:
        """(B,T,D), or (B,S+T,D) where all is learned."""
        tokens, mask = joined(batch.source, batch.source_mask, batch.target, batch.target_mask)
        features: Tensor = self.decoder(tokens, mask, Memory.empty(tokens))
        if self._learns_all(batch) or not batch.source.size(1):
            return features
        return of_target(features, batch)

    def labels(self, batch: Batch) -> tuple[Tensor, int]:
        """Of all: each token of the source has to say the next one; its eos nothing, since bos always follows."""
        if not self._learns_all(batch):
            return batch.labels, batch.num_tokens
        source = batch.source.roll(-1, dims=1)
        told = batch.source_mask.roll(-1, dims=1)
        told[:, -1:] = False
        source = source.masked_fill(~told, Vocab.pad)
        labels = joined(source, batch.source_mask, batch.labels, batch.target_mask)[0]
        return labels, batch.num_tokens + batch.num_source_tokens - batch.source.size(0)

    def attention_weights(self, batch: Batch) -> Tensor | None:
        """The mean over all layers, of what goes to the source scaled to a sum of 1."""
        tokens, mask = joined(batch.source, batch.source_mask, batch.target, batch.target_mask)
        with recording(self.decoder, SelfReader) as layers:
            self.decoder(tokens, mask, Memory.empty(tokens))
        if not layers or not batch.source.size(1):
            return None
        weights = of_target(torch.stack(layers).mean(dim=0).float(), batch)  # (B,T,S+T)
        weights = weights[:, :, : batch.source.size(1)] * batch.source_mask[:, None]
        return weights / weights.sum(dim=2, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)

    def _learns_all(self, batch: Batch) -> bool:
        """Not in evaluation, where losses have to be comparable."""
        return self.training and self.learns_source and batch.source.size(1) > 0

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> DecoderState:
        return self.decoder.prefill(source, mask, max_length)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        return self.decoder.step(tokens, state)


def of_target(x: Tensor, batch: Batch) -> Tensor:
    """x (B,S+T,D), columns of joined rows -> those of the target (B,T,D)."""
    first = batch.source_mask.sum(dim=1, keepdim=True)  # (B,1)
    places = first + torch.arange(batch.target.size(1), device=first.device)  # (B,T)
    return x.gather(1, places[:, :, None].expand(-1, -1, x.size(2)))


def joined(first: Tensor, first_mask: Tensor, second: Tensor, second_mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B,S) and (B,T), padded at the right -> each row of the one and then that of the other, and the mask (B,S+T)."""
    lengths = first_mask.sum(dim=1, keepdim=True)  # (B,1)
    columns = torch.arange(first.size(1) + second.size(1), device=first.device)
    places = torch.where(columns < lengths, columns, first.size(1) + columns - lengths)
    inside = places < columns.size(0)
    places = places.clamp(max=columns.size(0) - 1)
    tokens = torch.cat((first, second), dim=1).gather(1, places)
    mask = torch.cat((first_mask, second_mask), dim=1).gather(1, places) & inside
    return tokens.masked_fill(~mask, Vocab.pad), mask
