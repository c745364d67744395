"""What makes pairs of text alone: a text is spoilt, and the model learns to say what it was."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod

from seq2seq.registry import Family


class Noise(ABC):
    """symbols: what stands in spoilt texts, and should be one token each."""

    symbols: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        """What the model reads, and what it has to say; a function of the text and of the generator's state."""


noises: Family[Noise] = Family("data/noise", Noise)
