"""Outputs that look wrong."""

import pytest

from seq2seq.reports.suspicious import expansion, repeated, suspicions


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a b c d e", None),
        ("no no", None),
        ("no no no", "no"),
        ("No, no, NO!", "No"),
        ("x the cat the cat the cat y", "the cat"),
        ("the cat the cat the dog", None),
        ("a b c a b c a b c", "a b c"),
        ("a b c d, a b c d; a b c d", "a b c d"),
        ("A b c d x a b c d y a B c d", "A b c d"),
        ("a b c x a b c y a b c", None),
        ("a b c d e a b c d e", None),
        ("\u4e00\u4e8c\u4e00\u4e8c\u4e00\u4e8c", "\u4e00 \u4e8c"),
        ("- - - -", None),
        ("", None),
    ],
)
def test_repetitions(text: str, what: str | None) -> None:
    assert repeated(text) == what


def kinds(hypothesis: str, reference: str, source: str | None = None) -> list[str]:
    found = suspicions([hypothesis], [reference], None if source is None else [source])
    return [one.kind for one in found]


def test_empty_copied_and_repeated() -> None:
    assert kinds(" ", "ein Haus", "a house") == ["empty"]
    assert kinds("", "", "a house") == []
    assert kinds("a  house", "ein Haus", "a house") == ["copied"]
    assert kinds("Berlin", "Berlin", "Berlin") == []
    assert kinds("ja ja ja", "ja und ja", "yes") == ["repeated"]
    assert kinds("ja ja ja", "ja ja ja ja", "yes") == []


def test_lengths_are_wrong_for_both_the_reference_and_the_source() -> None:
    long, other, short = "one two three four five six seven", "a b c d e f g h i j k l m n o p", "word"
    references = [long, long, long, short]
    sources = [other, other, "some", other]  # of about one letter for a letter
    told = suspicions([short, other.upper(), "phrase", short], references, sources)
    assert [(one.place, one.kind) for one in told] == [(0, "short")]
    told = suspicions([long] * 4, [long, short, short, long], [other, other, "some", "thing"])
    assert [(one.place, one.kind) for one in told] == [(2, "long")]
    assert kinds(short, long) == ["short"]


def test_a_few_letters_more_or_less_are_nothing() -> None:
    assert kinds("Hi", "Hello") == kinds("Good evening", "Hello") == []


def test_expansion_is_the_median_in_letters() -> None:
    assert expansion(["aaaa", "bb", "cccccc"], ["aa", "bb", "cc"]) == 2
    assert expansion(["\u4e00\u4e8c"], ["six ab"]) == 1  # a Han character counts three
    assert expansion([""], [""]) == 1
