"""Outputs that look wrong whatever they mean: empty, copied, repeating themselves, far too short or too long."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.data.scripts import extent
from seq2seq.reports.sentences import pieces

KINDS = {
    "empty": "nothing but space",
    "copied": "equal to the source, where the reference is not",
    "repeated": "1 to 4 words at least 3 times in a row, or 4 words 3 times in all, and not so in the reference",
    "short": "less than half as long as the reference, and as the source lets expect",
    "long": "more than twice as long as the reference, and as the source lets expect",
}
TIMES = 3
MAX_WORDS = 4  # of what is repeated
RATIO = 2.0
SLACK = 10  # letters that a text may be shorter or longer without being told


@dataclass(frozen=True)
class Suspicion:
    """place: of the sentence.  kind: one of KINDS.  detail: what is repeated."""

    place: int
    kind: str
    detail: str = ""


def suspicions(
    hypotheses: Sequence[str], references: Sequence[str], sources: Sequence[str] | None = None
) -> list[Suspicion]:
    """In the order of the sentences; of one sentence several kinds, but nothing else of an empty one."""
    found = []
    factor = expansion(references, sources) if sources is not None else 1.0
    for place, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        if not hypothesis.strip():
            if reference.strip():
                found.append(Suspicion(place, "empty"))
            continue
        source = sources[place] if sources is not None else None
        if source is not None and hypothesis.split() == source.split() != reference.split():
            found.append(Suspicion(place, "copied"))
        again = repeated(hypothesis)
        if again is not None and repeated(reference) is None:
            found.append(Suspicion(place, "repeated", again))
        expected = [extent(reference)] + ([] if source is None else [extent(source) * factor])
        length = extent(hypothesis)
        if all(length * RATIO < one and one - length > SLACK for one in expected):
            found.append(Suspicion(place, "short"))
        if all(length > one * RATIO and length - one > SLACK for one in expected):
            found.append(Suspicion(place, "long"))
    return found


def expansion(references: Sequence[str], sources: Sequence[str]) -> float:
    """How many letters of the reference there are for one of the source, in the median."""
    ratios = [extent(r) / extent(s) for r, s in zip(references, sources, strict=True) if r and s]
    return statistics.median(ratios) if ratios else 1.0


def repeated(text: str) -> str | None:
    """What is said again and again; None where nothing is. Marks between words do not count."""
    words = [piece for piece in pieces(text) if any(letter.isalnum() for letter in piece)]
    folded = [word.casefold() for word in words]
    if max(Counter(folded).values(), default=0) < TIMES:
        return None
    for size in range(1, MAX_WORDS + 1):
        run = 0
        for place in range(len(folded) - size):
            run = run + 1 if folded[place] == folded[place + size] else 0
            if run == size * (TIMES - 1):
                start = place + size + 1 - TIMES * size
                return " ".join(words[start : start + size])
    grams = [*zip(*(folded[place:] for place in range(MAX_WORDS)), strict=False)]
    several = Counter(grams)
    often = next((place for place, gram in enumerate(grams) if several[gram] >= TIMES), None)
    return " ".join(words[often : often + MAX_WORDS]) if often is not None else None
