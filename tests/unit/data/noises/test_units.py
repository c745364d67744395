import random
from collections import Counter

import pytest

from seq2seq.data.noises.units import placed, replaced, spoilt_of, units_of


@pytest.mark.parametrize(
    ("text", "units", "between"),
    [
        ("", [], " "),
        ("  the  cat ", ["the", "cat"], " "),
        ("gr\u00fc\u00df dich", ["gr\u00fc\u00df", "dich"], " "),
        ("\ub098\ub294 \uac04\ub2e4", ["\ub098\ub294", "\uac04\ub2e4"], " "),  # Korean has spaces
        ("averyveryverylongwordwithoutanyspaces", ["averyveryverylongwordwithoutanyspaces"], " "),
        ("the word \u8a9e is Japanese", ["the", "word", "\u8a9e", "is", "Japanese"], " "),
        (" \u4f60\u597d\uff01 ", ["\u4f60", "\u597d", "\uff01"], ""),
        (
            "\u6211\u7528\u7684\u662f Python 3\u3002",
            ["\u6211", "\u7528", "\u7684", "\u662f", " Python", " 3", "\u3002"],
            "",
        ),
        ("\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48", ["\u0e17\u0e35\u0e48", "\u0e19\u0e35\u0e48"], ""),  # Thai, with marks
        ("\u30ac\u30ae\u304b\u3099", ["\u30ac", "\u30ae", "\u304b\u3099"], ""),
    ],
)
def test_units(text: str, units: list[str], between: str) -> None:
    assert units_of(text) == (units, between)


def test_the_share_of_spoilt_units_is_right_on_average() -> None:
    generator = random.Random(1)
    counts = [spoilt_of(11, 0.25, generator) for _ in range(4000)]
    assert set(counts) == {2, 3}
    assert sum(counts) / len(counts) == pytest.approx(2.75, abs=0.03)


def test_one_unit_at_least_is_spoilt_and_one_stays() -> None:
    generator = random.Random(1)
    assert {spoilt_of(1, 0.9, generator) for _ in range(100)} == {0}
    assert {spoilt_of(2, 0.01, generator) for _ in range(100)} == {1}
    assert {spoilt_of(4, 0.99, generator) for _ in range(100)} == {3}


def test_spans_are_in_order_and_do_not_touch_and_are_anywhere() -> None:
    generator = random.Random(1)
    begins = Counter[int]()
    for _ in range(3000):
        spans = placed([1, 3], 7, generator)
        assert sorted(end - begin for begin, end in spans) == [1, 3]
        (first, first_end), (second, second_end) = spans
        assert 0 <= first < first_end < second < second_end <= 7
        begins[first] += 1
    # 3 units outside leave 4 gaps, and 6 ways to choose two of them: the first one is gap 0 in 3, 1 in 2, 2 in 1.
    assert [begins[gap] / 3000 for gap in range(3)] == pytest.approx([3 / 6, 2 / 6, 1 / 6], abs=0.03)


def test_replaced() -> None:
    assert replaced(list("abcdef"), [(0, 1), (3, 5), (6, 6)], ["X", "Y", "Z", "unused"]) == [
        "X",
        "b",
        "c",
        "Y",
        "f",
        "Z",
    ]
    assert replaced(["a"], [], []) == ["a"]
