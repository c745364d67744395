"""One text cut into subwords in many ways, as a function of a seed alone, in this process and in any other.

The SentencePiece library draws samples too, but others in each process, whatever the seed.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

SPACE = "\u2581"  # begins each word inside the library
KNOWN_WORDS = 2**16
UNKNOWN_PENALTY = 10.0  # by which a character without a piece is less likely than the rarest piece, as in the library


class Sampler(ABC):
    """Cuts words, which pieces never cross. spell: the ids of a character that has no piece of its own."""

    def __init__(self, processor: Any, symbols: Sequence[str], alpha: float) -> None:
        number = processor.get_piece_size()
        plain = [i for i in range(number) if not (processor.is_control(i) or processor.is_byte(i))]
        self.scores: Mapping[str, float] = {
            processor.id_to_piece(i): processor.get_score(i) for i in plain if not processor.is_unknown(i)
        }
        self.ids = {piece: processor.piece_to_id(piece) for piece in self.scores}
        self.longest = max(map(len, self.scores), default=1)
        self.symbols = tuple(symbols)
        self.alpha = alpha
        self.processor = processor
        self.encode_whole = lru_cache(KNOWN_WORDS)(self._encode_whole)
        self.spell = lru_cache(KNOWN_WORDS)(self._spell)

    def __reduce__(self) -> tuple[type[Sampler], tuple[Any, ...]]:
        return type(self), (self.processor, self.symbols, self.alpha)

    def __call__(self, text: str, generator: random.Random) -> list[int]:
        """text: as the library takes it. Words with symbols in them are cut in the usual way."""
        ids: list[int] = []
        for word in self.processor.normalize(text).split(SPACE):
            if word:
                plain = any(symbol in word for symbol in self.symbols)
                ids += self.encode_whole(word) if plain else self.cut(SPACE + word, generator)
        unk = self.processor.unk_id()  # the library makes one of several in a row
        return [token for place, token in enumerate(ids) if token != unk or not place or ids[place - 1] != unk]

    @abstractmethod
    def cut(self, word: str, generator: random.Random) -> Sequence[int]: ...

    def _encode_whole(self, word: str) -> tuple[int, ...]:
        return tuple(self.processor.encode(word))

    def _spell(self, character: str) -> tuple[int, ...]:
        ids = self.processor.encode(character)
        return tuple(ids[1:] if self.processor.id_to_piece(ids[0]) == SPACE else ids)


class UnigramSampler(Sampler):
    """Draws among all ways to cut a word, with their probabilities to the power of alpha (Kudo 2018, arXiv:1804.10959):
    backwards, from the sums over all ways to reach each place.
    """

    def __init__(self, processor: Any, symbols: Sequence[str], alpha: float) -> None:
        super().__init__(processor, symbols, alpha)
        self.unknown = min(self.scores.values(), default=0.0) - UNKNOWN_PENALTY
        self.lattice = lru_cache(KNOWN_WORDS)(self._lattice)

    def _lattice(self, word: str) -> list[tuple[list[int], list[float]]]:
        """For each place in the word where the last piece before it may begin, and how likely it is up to there."""
        total = [0.0] + [-math.inf] * len(word)  # logarithms
        found: list[tuple[list[int], list[float]]] = [([], [])]
        for end in range(1, len(word) + 1):
            begins, scores = [], []
            for begin in range(max(0, end - self.longest), end):
                score = self.scores.get(word[begin:end], self.unknown if end - begin == 1 else None)
                if score is not None:
                    begins.append(begin)
                    scores.append(total[begin] + self.alpha * score)
            highest = max(scores)
            weights = [math.exp(score - highest) for score in scores]
            total[end] = highest + math.log(sum(weights))
            found.append((begins, list(accumulate(weights))))
        return found

    def cut(self, word: str, generator: random.Random) -> list[int]:
        lattice = self.lattice(word)
        end = len(word)
        pieces: list[Sequence[int]] = []
        while end:
            begins, weights = lattice[end]
            (begin,) = generator.choices(begins, cum_weights=weights) if len(begins) > 1 else begins
            piece = word[begin:end]
            pieces.append((self.ids[piece],) if piece in self.ids else self.spell(piece))
            end = begin
        return [token for piece in reversed(pieces) for token in piece]


class BpeSampler(Sampler):
    """BPE-dropout (Provilkov et al. 2020, arXiv:1910.13267): of the possible merges, each is passed over with
    probability alpha at each step.
    """

    def cut(self, word: str, generator: random.Random) -> list[int]:
        pieces = list(word)
        while True:
            merges = [
                (-score, place)
                for place, pair in enumerate(pairwise(pieces))
                if (score := self.scores.get("".join(pair))) is not None and generator.random() >= self.alpha
            ]
            if not merges:
                break
            _, place = min(merges)
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
        ids: list[int] = []
        for piece in pieces:
            ids += (self.ids[piece],) if piece in self.ids else self.spell(piece)
        return ids
