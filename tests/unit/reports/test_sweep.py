"""What a sweep varied, and what that explains."""

import math

import numpy as np
import pytest

from seq2seq.reports.sweep import Aspect, aspects, importance

from .comparisons import sweep, system


def test_keys_that_vary_together_are_one_aspect() -> None:
    comparison = sweep()
    found = aspects(comparison.systems, ["model.d_model", "model.name", "optimizer.lr", "trainer.seed"])
    assert [(one.key, list(one.others)) for one in found] == [("model.name", ["model.d_model"]), ("optimizer.lr", [])]
    assert found[0].label == "model.name +1"
    assert found[1].values == [1e-2, 1e-2, 1e-3, 1e-3] * 2  # the best first


def test_what_is_the_same_in_all_is_no_aspect_and_an_absent_key_is_a_value() -> None:
    systems = [system("a", config={"x": 1, "y": [1, 2]}), system("b", config={"x": 1})]
    assert [(one.key, one.values) for one in aspects(systems, ["x", "y", "z"])] == [("y", [[1, 2], None])]


def test_what_follows_from_a_pretrained_model_is_no_setting() -> None:
    systems = [system(name, config={"model.path": name, "model.architecture.config.d_ff": name}) for name in "ab"]
    found = aspects(systems, ["model.path", "model.architecture.config.d_ff"])
    assert [(one.key, list(one.others)) for one in found] == [("model.path", [])]


def test_numbers_over_a_wide_range_have_a_logarithmic_axis() -> None:
    def of(*values: object) -> Aspect:
        return Aspect("k", [], values)

    assert of(1e-4, 1e-3).is_logarithmic
    assert not of(1e-3, 2e-3).is_logarithmic
    assert not of(0, 100).is_logarithmic
    assert not of(True, False).is_numeric
    assert not of("1", 2).is_numeric
    assert not of(1.0, math.inf).is_numeric
    assert of(3, 1, 2, 1).choices == [1, 2, 3]
    assert of("b", "a", "b").choices == ["b", "a"]


def test_importance_is_the_share_of_variance_between_the_values() -> None:
    """Beside numpy: 1 - the mean variance within the parts / the variance of all."""
    generator = np.random.default_rng(3)
    scores = generator.normal(size=12)
    values = ["a"] * 5 + ["b"] * 3 + ["c"] * 4
    (found,) = importance([Aspect("k", [], values)], scores.tolist())
    parts = [scores[:5], scores[5:8], scores[8:]]
    within = sum(part.var() * len(part) for part in parts)
    assert found.share == pytest.approx(1 - within / (scores.var() * 12))
    assert found.by_chance == pytest.approx(2 / 11)


def test_chance_is_what_shuffled_values_explain_on_average() -> None:
    generator = np.random.default_rng(4)
    values = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    shares = []
    for _ in range(3000):
        (found,) = importance([Aspect("k", [], values)], generator.normal(size=12).tolist())
        shares.append(found.share)
    assert np.mean(shares) == pytest.approx(2 / 11, abs=0.01)


def test_the_most_important_is_first_and_what_tells_nothing_is_left_out() -> None:
    weak, strong = Aspect("weak", [], [1, 2, 1, 2]), Aspect("strong", [], ["x", "x", "y", "y"])
    all_different = Aspect("seconds", [], [1, 2, 3, 4])
    finer = Aspect("finer", [], ["x", "x", "y", "z"])  # explains more, but has more values to do so
    found = importance([weak, all_different, finer, strong], [1.0, 2.0, 11.0, 11.1])
    assert [one.aspect.key for one in found] == ["strong", "finer", "weak"]
    assert found[0].share == pytest.approx(1 - 0.505 / np.var([1.0, 2.0, 11.0, 11.1]) / 4)
    assert found[1].share > found[0].share
    assert importance([weak], [5.0] * 4) == []
    assert importance([Aspect("k", [], [1, 1])], [5.0, 6.0]) == []
