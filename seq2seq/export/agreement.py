"""How far two engines give the same translations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.search.translator import Translation


@dataclass(frozen=True)
class Agreement:
    """tokens: the share of places with the same token, of the places in the longer output, each with its end.
    sentences: the share of outputs that are the same from beginning to end.
    """

    tokens: float
    sentences: float


def agreement(ours: Sequence[Translation], theirs: Sequence[Translation]) -> Agreement:
    """Of translations of the same lines, one at least."""
    places = same_places = same_outputs = 0
    for mine, other in zip(ours, theirs, strict=True):
        pairs = zip((target for _, target in mine.parts), (target for _, target in other.parts), strict=True)
        same_outputs += 1
        for one, two in pairs:
            same = sum(a == b for a, b in zip(one, two, strict=False)) + (len(one) == len(two))
            longer = max(len(one), len(two)) + 1
            places += longer
            same_places += same
            if same < longer:
                same_outputs -= 1
                break
    return Agreement(same_places / max(places, 1), same_outputs / len(ours))
