"""distinct and exact match, by hand."""

import random

import pytest

from seq2seq.metrics.base import Texts
from seq2seq.metrics.distinct import Distinct
from seq2seq.metrics.exact_match import ExactMatch


def distinct(*lines: str) -> tuple[float, float]:
    found = Distinct().measure(Texts(lines, lines, "en"), confidence=True)
    assert all(score.low is None and score.high is None for score in found.values())
    return found["distinct-1"].score, found["distinct-2"].score


def test_distinct_by_hand() -> None:
    # 8 words, of them 5 different; the pairs i am, am here (twice), you are, are here: no pair goes over two lines.
    assert distinct("I am here.", "am here", "you are here") == pytest.approx((100 * 5 / 8, 100 * 4 / 8))
    assert distinct("a a a a") == (25, 25)
    assert distinct("", "...") == (0, 0)
    assert distinct("\u6211\u662f\u6211") == pytest.approx((100 * 2 / 3, 100 * 2 / 3))


@pytest.mark.parametrize("seed", range(10))
def test_distinct_of_more_lines(seed: int) -> None:
    generator = random.Random(seed)
    lines = [" ".join(generator.choices("abcdefgh", k=generator.randint(1, 9))) for _ in range(12)]
    first, second = distinct(*lines)
    assert 0 < first <= 100
    assert 0 <= second < 100
    assert distinct(*reversed(lines)) == (first, second)
    assert distinct(*lines, *lines) == pytest.approx((first / 2, second / 2))  # the same again is nothing new


def test_exact_match() -> None:
    texts = Texts(["a b", " a  b ", "A b", ""], ["a b", "a b", "a b", ""], "en")
    cased, lower = (ExactMatch(lowercase=on).measure(texts, confidence=True)[""] for on in (False, True))
    assert (cased.score, lower.score) == (75, 100)
    assert cased.low is not None
    assert cased.low <= 75 <= (cased.high or 0)
    assert (lower.low, lower.high) == (100, 100)
    assert "|case:mixed|" in cased.signature
    assert "|case:lc|" in lower.signature
