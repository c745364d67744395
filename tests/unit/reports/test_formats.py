"""Numbers and values as people read them."""

import pytest

from seq2seq.reports.formats import count, decimal, duration, number_of, probability, setting, signed


def test_decimals() -> None:
    assert decimal(12.345, 1) == "12.3"
    assert decimal(-1.5) == "\u22121.50"
    assert decimal(12345.6) == "12,345.60"
    assert decimal(1.234e9) == "1.23e+09"
    assert decimal(None) == decimal(float("nan")) == "\u2013"
    assert decimal(float("inf")) == "\u221e"
    assert (signed(0.5), signed(-0.5), signed(-0.001)) == ("+0.50", "\u22120.50", "0.00")


@pytest.mark.parametrize(
    ("value", "told"), [(None, "\u2013"), (999, "999"), (1234, "1.23k"), (61e6, "61M"), (1.5e9, "1.5B")]
)
def test_counts(value: float | None, told: str) -> None:
    assert count(value) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "\u2013"),
        (5.4, "5 s"),
        (90, "2 min"),
        (3599, "1 h 00 min"),
        (3700, "1 h 02 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


def test_settings_are_as_they_are_typed() -> None:
    values = [None, True, 1e-3, 0.9, "adamw", [0.9, None], 5, "", " "]
    assert [*map(setting, values)] == ["null", "true", "0.001", "0.9", "adamw", "[0.9, null]", "5", "''", "' '"]


def test_probabilities_and_numbers_of_things() -> None:
    assert [*map(probability, (0.0, 0.0009, 0.012, 1.0))] == ["<0.001", "<0.001", "0.012", "1.000"]
    assert (number_of(1, "run"), number_of(1200, "run")) == ("1 run", "1,200 runs")
