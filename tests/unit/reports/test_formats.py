"""Numbers and values as people read them."""

from seq2seq.reports.formats import count, decimal, duration, number_of, probability, setting, signed


def test_decimals() -> None:
    assert decimal(12.345, 1) == "12.3"
    assert decimal(-1.5) == "\u22121.50"
    assert decimal(12345.6) == "12,345.60"
    assert decimal(1.234e9) == "1.23e+09"
    assert decimal(None) == decimal(float("nan")) == "\u2013"
    assert decimal(float("inf")) == "\u221e"
    assert (signed(0.5), signed(-0.5), signed(-0.001)) == ("+0.50", "\u22120.50", "0.00")


def test_counts_and_durations() -> None:
    """Also where rounding makes it the next larger unit."""
    assert [*map(count, (None, 999, 999.7, 1000, 12_345, 999_700, 1_234_567, 61e6, 999_600_000, 2e9))] == [
        *("\u2013", "999", "1k", "1k", "12.3k", "1M", "1.23M", "61M", "1B", "2B"),
    ]
    assert [*map(duration, (None, 0.4, 59.4, 59.8, 90, 3599, 3600, 7500, 86399, 86400, 277_200))] == [
        *("\u2013", "0s", "59s", "1m", "2m", "1h00m", "1h00m", "2h05m", "1d00h", "1d00h", "3d05h"),
    ]
    assert (count(None, "-"), duration(None, "-"), count(float("inf")), duration(float("nan"))) == (
        *("-", "-", "\u2013", "\u2013"),
    )


def test_settings_are_as_they_are_typed() -> None:
    values = [None, True, 1e-3, 0.9, "adamw", [0.9, None], 5, "", " "]
    assert [*map(setting, values)] == ["null", "true", "0.001", "0.9", "adamw", "[0.9, null]", "5", "''", "' '"]


def test_probabilities_and_numbers_of_things() -> None:
    assert [*map(probability, (0.0, 0.0009, 0.012, 1.0))] == ["<0.001", "<0.001", "0.012", "1.000"]
    assert (number_of(1, "run"), number_of(1200, "run")) == ("1 run", "1,200 runs")
