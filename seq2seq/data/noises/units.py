"""What noise works on: the words of a text, or its characters where a script puts no spaces between words."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable, Sequence

Span = tuple[int, int]  # begin and end, in units

_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Myanmar, Khmer
    "\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese and Japanese
    "\uff01-\uff9f"  # their wide punctuation
)
_OF_UNSPACED = re.compile(f"[{_UNSPACED}]")
_OF_OTHERS = re.compile(rf"[^\W{_UNSPACED}]+")
_PIECES = re.compile(rf"\s*(?:{_OF_OTHERS.pattern}|\S)")  # a word of another script, or one character


def units_of(text: str) -> tuple[list[str], str]:
    """The units, and what stands between two of them.

    They are words, with spaces between them. Where a text has more characters of scripts without spaces between words
    (Chinese, Japanese, Thai, Lao, Khmer, Myanmar, Tibetan) than it has words of others, they are characters, each with
    its marks and the spaces before it; a word of another script stays whole.
    """
    if text.isascii() or len(_OF_UNSPACED.findall(text)) <= len(_OF_OTHERS.findall(text)):
        return text.split(), " "
    units: list[str] = []
    for piece in _PIECES.findall(text.strip()):
        if units and unicodedata.category(piece[0]).startswith("M"):
            units[-1] += piece
        else:
            units.append(piece)
    return units, ""


def spoilt_of(count: int, rate: float, generator: random.Random) -> int:
    """How many of the units are spoilt: `rate` of them on average, at least one, but never all."""
    return min(max(int(rate * count + generator.random()), 1), count - 1)


def placed(lengths: Sequence[int], count: int, generator: random.Random) -> list[Span]:
    """Spans of these lengths in `count` units, anywhere, in order; no two of them touch.

    There must be more units outside than there are spans, but for one: len(lengths) <= count - sum(lengths) + 1.
    """
    gaps = sorted(generator.sample(range(count - sum(lengths) + 1), len(lengths)))
    spans, before = [], 0
    for gap, length in zip(gaps, generator.sample(lengths, len(lengths)), strict=True):
        spans.append((gap + before, gap + before + length))
        before += length
    return spans


def replaced(units: Sequence[str], spans: Sequence[Span], symbols: Iterable[str]) -> list[str]:
    """The units with one of the symbols in the place of each span."""
    found: list[str] = []
    done = 0
    for (begin, end), symbol in zip(spans, symbols, strict=False):
        found += [*units[done:begin], symbol]
        done = end
    return [*found, *units[done:]]
