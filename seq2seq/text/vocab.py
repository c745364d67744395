"""Token ids and what they stand for."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Vocab:
    """The tokens of a tokenizer in the order of their ids; the first four are the same in every vocabulary."""

    tokens: tuple[str, ...]

    pad: ClassVar[int] = 0
    unk: ClassVar[int] = 1
    bos: ClassVar[int] = 2
    eos: ClassVar[int] = 3
    special: ClassVar[tuple[str, ...]] = ("<pad>", "<unk>", "<s>", "</s>")

    def __post_init__(self) -> None:
        if self.tokens[:4] != self.special:
            raise ValueError(f"a vocabulary begins with {self.special}, not {self.tokens[:4]}")

    def __len__(self) -> int:
        return len(self.tokens)
