"""Intervals of means over lines."""

import math

import numpy as np
import pytest

from seq2seq.metrics.base import bootstrap_interval, mean_of_lines, means, perplexity


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_of_a_mean(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.gamma(1.0, 20.0, size=int(generator.integers(30, 200)))
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert values.min() <= low < values.mean() < high <= values.max()
    assert bootstrap_interval(values[::1] + 7) == pytest.approx((low + 7, high + 7))
    assert bootstrap_interval(3 * values) == pytest.approx((3 * low, 3 * high))
    # Near to the normal approximation, and narrower of more lines.
    half = 1.96 * values.std() / len(values) ** 0.5
    assert (high - low) / 2 == pytest.approx(half, rel=0.25)
    more_low, more_high = bootstrap_interval(np.tile(values, 9))
    assert (high - low) / (more_high - more_low) == pytest.approx(3, rel=0.3)


def test_the_interval_holds_the_true_mean_in_95_of_100_cases() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(100):
        low, high = bootstrap_interval(100.0 * (generator.random(60) < 0.4))
        held += low <= 40 <= high
    assert 86 <= held <= 99


def test_lines_that_are_alike_have_no_width() -> None:
    assert bootstrap_interval(np.full(9, 25.0)) == (25, 25)
    assert bootstrap_interval(np.array([12.5])) == (12.5, 12.5)


def test_the_signature_tells_of_the_interval() -> None:
    values = np.array([0.0, 100.0, 100.0, 100.0])
    score = mean_of_lines(values, "case:mixed", confidence=True)
    assert (score.score, score.signature) == (75, "nrefs:1|bs:1000|seed:12345|case:mixed")
    plain = mean_of_lines(values, "case:mixed", confidence=False)
    assert (plain.score, plain.signature, plain.low, plain.high) == (75, "nrefs:1|case:mixed", None, None)


def test_means_of_what_all_parts_have() -> None:
    parts = [{"loss": 1.0, "word_perplexity": 4.0, "only": 1.0}, {"loss": 2.0, "word_perplexity": 9.0}]
    assert means(parts) == pytest.approx({"loss": 1.5, "word_perplexity": 6.0})
    assert means(parts[:1]) == pytest.approx(parts[0])


def test_perplexities_beyond_the_largest_number() -> None:
    assert perplexity(2.0) == math.exp(2)
    assert perplexity(1537.0) == math.inf
    assert means([{"perplexity": 4.0}, {"perplexity": math.inf}]) == {"perplexity": math.inf}
