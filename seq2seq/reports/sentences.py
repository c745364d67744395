"""The sentences that two systems translate most differently, and the words in which they differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from seq2seq.data.scripts import UNSPACED

ORDER = 6  # of n-grams of characters
BETA = 2  # how much more recall counts than precision

_PIECES = re.compile(f"\\s+|[{UNSPACED}]|[^\\s{UNSPACED}\\w]|(?:(?![{UNSPACED}])\\w)+")


@dataclass(frozen=True)
class Difference:
    """place: of the sentence.  first, second: chrF of the two systems there."""

    place: int
    first: float
    second: float


@dataclass(frozen=True)
class Piece:
    """A word, a mark or a space of a text.  differs: the other text has it not here.  met: and the reference has it,
    beyond what the texts share.
    """

    text: str
    differs: bool
    met: bool


Grams = tuple[Counter[str], ...]


def grams(text: str) -> Grams:
    """The n-grams of its characters without whitespace, of each order."""
    plain = "".join(text.split())
    return tuple(
        Counter(plain[start : start + order] for start in range(len(plain) - order + 1))
        for order in range(1, ORDER + 1)
    )


def sentence_chrf(hypothesis: Grams, reference: Grams) -> float:
    """chrF2 of one sentence, 0 to 100 (Popovic 2015, W15-3049), as sacrebleu has it: the mean precision and recall of
    the orders which both are long enough for.
    """
    precision = recall = 0.0
    orders = 0
    for own, other in zip(hypothesis, reference, strict=True):
        written, wanted = own.total(), other.total()
        if not written or not wanted:
            continue
        met = sum(min(number, other[gram]) for gram, number in own.items() if gram in other)
        precision, recall, orders = precision + met / written, recall + met / wanted, orders + 1
    if not orders or precision + recall == 0:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def chrf_of_each(hypotheses: Sequence[str], references: Sequence[Grams]) -> list[float]:
    return [sentence_chrf(grams(text), reference) for text, reference in zip(hypotheses, references, strict=True)]


def largest(first: Sequence[float], second: Sequence[float], most: int) -> tuple[list[Difference], list[Difference]]:
    """Where the first is better by most, and where the second is; of equal ones the earlier sentence."""
    differences = [Difference(place, *pair) for place, pair in enumerate(zip(first, second, strict=True))]
    by_first = sorted(differences, key=lambda one: one.second - one.first)
    by_second = sorted(differences, key=lambda one: one.first - one.second)
    return (
        [one for one in by_first[:most] if one.first > one.second],
        [one for one in by_second[:most] if one.second > one.first],
    )


def pieces(text: str) -> list[str]:
    """Words, marks and spaces; together they are the text. Of scripts without spaces each character."""
    found: list[str] = []
    end = 0
    for match in _PIECES.finditer(text):
        if match.start() > end:  # marks on letters and the like that no pattern knows
            found.append(text[end : match.start()])
        found.append(match.group())
        end = match.end()
    return [*found, text[end:]] if end < len(text) else found


def compared(text: str, other: str, reference: str) -> list[Piece]:
    """The pieces of a text, beside those of another and of the reference."""
    own, others = pieces(text), pieces(other)
    words = [piece for piece in own if not piece.isspace()]
    same: set[int] = set()
    matcher = SequenceMatcher(None, words, [piece for piece in others if not piece.isspace()], autojunk=False)
    for start, _, size in matcher.get_matching_blocks():
        same.update(range(start, start + size))
    left = Counter(pieces(reference))
    left.subtract(words[place] for place in same)
    found = []
    number = 0
    for piece in own:
        if piece.isspace():
            found.append(Piece(piece, False, False))
            continue
        differs = number not in same
        met = differs and left[piece] > 0
        left[piece] -= met
        found.append(Piece(piece, differs, met))
        number += 1
    return found
