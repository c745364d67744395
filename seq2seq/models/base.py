"""The contracts that training and search rely on.

B sources, N hypotheses (B x beam, those of a source side by side), S source length, T target length, D width,
V vocabulary. Masks are bool, True at real tokens. Batch is dim 0 of every tensor that crosses a function boundary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.nn.recording import recording
from seq2seq.registry import Family


@dataclass(frozen=True)
class Memory:
    """What an encoder hands to a decoder: states (B,S,D), mask (B,S), final (B,D), a summary of the whole source."""

    states: Tensor
    mask: Tensor
    final: Tensor

    @classmethod
    def empty(cls, tokens: Tensor) -> Memory:
        """For a decoder without a source: no states, of width 0, for each row of tokens (B,T)."""
        rows = tokens.size(0)
        states = torch.empty(rows, 0, 0, device=tokens.device)
        return cls(states, tokens.new_empty(rows, 0, dtype=torch.bool), states.new_empty(rows, 0))


class Encoder(nn.Module, ABC):
    """Constructed as `Encoder(vocab, *, options)`. `embedding` holds the source embedding, (V,D) in `.weight`.

    own_tokenizer: as of a Model.
    """

    own_tokenizer: ClassVar[str | None] = None
    output_dim: int
    embedding: nn.Embedding

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """tokens (B,S), mask (B,S). What lies under False in the mask changes nothing."""


class DecoderState(ABC):
    """What a decoder keeps between two steps: per source (B) and per hypothesis (N)."""

    @abstractmethod
    def select(self, sources: Tensor) -> DecoderState:
        """Keeps the sources of index (B',), each with all its hypotheses."""

    @abstractmethod
    def reorder(self, hypotheses: Tensor) -> DecoderState:
        """Row n of the result continues row hypotheses[n] of this one, which is of the same source; (N',), N' = B x W'.

        What belongs to a source is neither moved nor copied. What hypotheses have in common may be shared, so that of
        the states made from one only the newest may go on.
        """


class Decoder(nn.Module, ABC):
    """Constructed as `Decoder(vocab, memory_dim, *, options)`; `head` maps features (D) to logits (V).

    With memory_dim 0 there is no source, which a StackDecoder can do without; another one refuses it with a ValueError.
    """

    embedding: nn.Embedding
    head: nn.Linear

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """Teacher forcing: tokens (B,T) beginning with bos, mask (B,T) -> features (B,T,D)."""

    @abstractmethod
    def start(self, memory: Memory, max_length: int) -> DecoderState:
        """A state with one hypothesis for each source, good for at most max_length steps."""

    @abstractmethod
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """tokens (N,), the last token of each hypothesis (bos at first) -> logits (N,V) of the next one.

        Uses up the given state: go on with the returned one only.
        """

    def attention_weights(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor | None:
        """Where in the source each feature of `forward` comes from: weights (B,T,S); None where it does not attend.

        They are 0 at padding and sum to 1 over a source's real tokens. Here the mean over all layers of nn/ that attend
        to the source; a decoder whose layers differ in what they tell overrides this.
        """
        layers = self._attention_layers(tokens, mask, memory)
        return torch.stack(layers).mean(dim=0) if layers else None

    def _attention_layers(self, tokens: Tensor, mask: Tensor, memory: Memory) -> list[Tensor]:
        """The weights (B,T,S) of each layer; what reads the memory in another form is left out."""
        with recording(self) as layers:
            self(tokens, mask, memory)
        shape = (*tokens.shape, memory.mask.size(1))
        return [weights.float() * memory.mask[:, None] for weights in layers if weights.shape == shape]


class StackDecoder(Decoder):
    """A decoder that can also be a whole model: with memory_dim 0 it is a language model, and every memory is empty."""

    @abstractmethod
    def prefill(self, tokens: Tensor, mask: Tensor, max_length: int) -> DecoderState:
        """Of a decoder without a source: a state that has read the prompts, tokens (B,S) with mask (B,S).

        They end with the token before the first one of `step`; S may be 0. The rest is as in `start`.
        """


def tie_head(decoder: Decoder, *, otherwise: str) -> None:
    """Makes the embedding the head's weight, too. Raises ValueError where they differ in width, which suggests to set
    what `otherwise` says.
    """
    embedding, head = decoder.embedding.weight, decoder.head.weight
    if embedding.shape != head.shape:
        raise ValueError(
            "tying needs a decoder whose features are as wide as its embedding, "
            f"{embedding.shape[1]}, not {head.shape[1]}: set {otherwise}"
        )
    decoder.head.weight = embedding


class Model(nn.Module, ABC):
    """All that training and search see. Constructed as `Model(source_vocab, target_vocab, *, options)`.

    needs_source: whether it cannot learn from text alone, where batches have no source (S = 0).
    learns_source: whether training learns to say the source, too.
    own_tokenizer: the only tokenizer whose tokens it knows, by name.
    keeps_outside_weights: whether checkpoints hold only what is trained, and `load_outside_weights` gives the rest.
    """

    needs_source = True
    learns_source = False
    own_tokenizer: ClassVar[str | None] = None
    keeps_outside_weights = False

    def load_outside_weights(self) -> None:
        """Those that others have trained, where parts have any, before a run's own. Raises ConfigError."""
        parts: list[Any] = [module for module in self.modules() if module is not self]
        for part in parts:
            if hasattr(part, "load_outside_weights"):
                part.load_outside_weights()

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """Maps features to logits."""

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """Teacher forcing -> (B,T,D), aligned with `labels`."""

    def labels(self, batch: Batch) -> tuple[Tensor, int]:
        """What `features` has to say, (B,T), pad where nothing; and how many tokens that are."""
        return batch.labels, batch.num_tokens

    @abstractmethod
    def start(self, source: Tensor, mask: Tensor, max_length: int) -> DecoderState:
        """source (B,S), mask (B,S) -> a state with one hypothesis for each source."""

    @abstractmethod
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """As Decoder.step."""

    def longest_output(self, source_tokens: int) -> int | None:
        """For sources of so many tokens, without eos; None where there is no limit."""
        return None

    def attention_weights(self, batch: Batch) -> Tensor | None:
        """As Decoder.attention_weights, (B,T,S): of what batch.labels says on what batch.source holds."""
        return None


encoders: Family[Encoder] = Family("model/encoder", Encoder)
decoders: Family[Decoder] = Family("model/decoder", Decoder)
models: Family[Model] = Family("model", Model)
