"""Where the two sides of a corpus are shifted against each other: a line that one side lacks moves all after it.

Long sentences have long translations, so the lengths of the sides go together; where they go together some places on
instead, and not in their own places, the sides are shifted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.encoded import EncodedCorpus

WINDOW = 128  # neighbours that are looked at together; shifted parts that are hardly longer may be missed
STRIDE = 32  # from one window to the next
CHUNK = 2**17  # examples at a time
SHIFTS = tuple(n for distance in range(1, 6) for n in (distance, -distance))
LIKE, MORE = 0.6, 0.3  # correlation at the shifted places, and how much more than at their own

Floats = NDArray[np.float64]


def shifted(corpus: EncodedCorpus) -> list[dict[str, int]]:
    """In the order of the corpus. first, last: numbers in the split, true to some examples; by: so many lines later
    (negative: earlier) than its source the target of an example stands.
    """
    if corpus.sources is None or len(corpus) < WINDOW:
        return []
    source, target = corpus.source_lengths, corpus.target_lengths
    parts = [part for by in SHIFTS for part in _joined(_windows(source, target, by))]
    found = []
    for begin, end, by in sorted(parts):
        first, last = _borders(source, target, begin, end, by)
        if last - first < WINDOW // 2:  # a few outliers
            continue
        numbers = corpus.numbers[np.array([first, last - 1])]
        found.append({"first": int(numbers[0]), "last": int(numbers[1]), "by": by})
    return found


Part = tuple[int, int, int]  # begin, end, by


def _windows(source: NDArray[np.int32], target: NDArray[np.int32], by: int) -> Iterator[Part]:
    """The windows where the sides go together `by` places on and not at their own."""
    furthest = max(SHIFTS)
    for begin in range(0, len(source), CHUNK):
        before = max(0, begin - furthest)
        end = min(len(source), begin + CHUNK + WINDOW)
        x, y = (np.log1p(side[before : end + furthest].astype(np.float64)) for side in (source, target))
        x, own, there = _shifted_by(x, y, begin - before, end - before, by)
        usual, elsewhere = _correlations(x, own), _correlations(x, there)
        for window in np.flatnonzero((elsewhere > LIKE) & (elsewhere > usual + MORE)).tolist():
            yield begin + window * STRIDE, begin + window * STRIDE + WINDOW, by


def _shifted_by(x: Floats, y: Floats, begin: int, end: int, by: int) -> tuple[Floats, Floats, Floats]:
    """x and y from begin to end, and y `by` places on, where it holds what is there; beyond the ends its mean."""
    there = np.full(end - begin, y.mean() if len(y) else 0.0)
    first, last = max(0, begin + by), min(len(y), end + by)
    there[first - by - begin : last - by - begin] = y[first:last]
    return x[begin:end], y[begin:end], there


def _correlations(x: Floats, y: Floats) -> Floats:
    """Of the windows that begin at 0, STRIDE, 2 * STRIDE, ..."""
    if len(x) < WINDOW:
        return np.zeros(0)

    def sums(values: Floats) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray((total[WINDOW:] - total[:-WINDOW])[::STRIDE])

    x, y = x - x.mean(), y - y.mean()
    of_x, of_y = sums(x), sums(y)
    products = sums(x * y) - of_x * of_y / WINDOW
    squares = (sums(x * x) - of_x**2 / WINDOW) * (sums(y * y) - of_y**2 / WINDOW)
    correlations: Floats = products / np.sqrt(np.maximum(squares, 1e-9))
    return correlations


def _joined(parts: Iterator[Part]) -> list[Part]:
    """Windows that overlap or touch become one part."""
    joined: list[Part] = []
    for begin, end, by in parts:
        if joined and begin <= joined[-1][1] + STRIDE:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]), by)
        else:
            joined.append((begin, end, by))
    return joined


def _borders(source: NDArray[np.int32], target: NDArray[np.int32], begin: int, end: int, by: int) -> tuple[int, int]:
    """The stretch around the windows in which the shifted places fit better than their own, in sum the most."""
    begin, end = max(0, begin - WINDOW), min(len(source), end + WINDOW)
    before = max(0, begin - abs(by))
    x, y = (np.log1p(side[before : end + abs(by)].astype(np.float64)) for side in (source, target))
    middle, spread = (x.mean(), y.mean()), (x.std() or 1.0, y.std() or 1.0)
    x, y = ((side - mean) / deviation for side, mean, deviation in zip((x, y), middle, spread, strict=True))
    x, own, there = _shifted_by(x, y, begin - before, end - before, by)
    gain = np.concatenate([[0.0], np.cumsum((x - own) ** 2 - (x - there) ** 2)])
    lowest = np.minimum.accumulate(gain)
    last = int((gain - lowest).argmax())
    first = int(gain[: last + 1].argmin())
    return begin + first, begin + max(last, first + 1)
