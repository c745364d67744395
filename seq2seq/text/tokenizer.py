"""The interface of every tokenizer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from seq2seq.registry import Family
from seq2seq.text.vocab import Vocab


class Tokenizer(ABC):
    """One side's (or, where `shared`, both sides') text to token ids and back.

    `encode` adds neither bos nor eos. `decode` leaves out pad, bos and eos and never returns a line break. A tokenizer
    is trained once, stored in the run, and loaded from there ever after.
    """

    vocab: Vocab
    shared: bool
    of_use: tuple[str, ...] = ()  # options that tell how it is used, and not what is learned
    learns: bool = True  # whether it is made from the training data
    sampling: bool = False  # whether `sample_batch` cuts one text in different ways

    @abstractmethod
    def train(self, lines: Iterable[str], symbols: Sequence[str] = ()) -> None:
        """Makes the vocabulary. Deterministic. Raises DataError where the lines hold no text.

        symbols: texts without spaces that become one token each, in the lines or not, where tokens are longer than
        characters.
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The same as `encode` for each, faster where the library can."""
        return [self.encode(text) for text in texts]

    def sample_batch(self, texts: Sequence[str], seed: int) -> list[list[int]]:
        """As `encode_batch`, for training; where `sampling`, another seed cuts the texts in other ways."""
        return self.encode_batch(texts)

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str: ...

    def as_target(self) -> "Tokenizer":
        """Of a shared one that of the target: itself, unless the sides are cut in different ways."""
        return self

    def use_as(self, other: Self) -> None:  # noqa: B027 - most have no such options
        """Takes over the options in `of_use`."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes into an existing empty folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Raises CheckpointError, naming the file, where the folder does not hold what `save` wrote."""


tokenizers: Family[Tokenizer] = Family("tokenizer", Tokenizer)
