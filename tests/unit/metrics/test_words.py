import pytest

from seq2seq.metrics.words import count_words, sentences, words

RUSSIAN = "\u043f\u0440\u0438\u0432\u0435\u0442"
HINDI = "\u0939\u093f\u0928\u094d\u0926\u0940"  # with vowel signs, which are no letters


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat, the CAT!", ["the", "cat", "the", "cat"]),
        ("it's 3.14_x", ["it", "s", "3", "14", "x"]),
        ("Stra\u00dfe \u00dcber caf\u00e9", ["stra\u00dfe", "\u00fcber", "caf\u00e9"]),
        ("cafe\u0301", ["caf\u00e9"]),  # the accent apart is the same letter
        (f"{RUSSIAN.upper()}, {RUSSIAN}", [RUSSIAN, RUSSIAN]),
        ("\u6211\u662fDJ\u3002", ["\u6211", "\u662f", "dj"]),
        (f"{HINDI} \u0939\u0948\u0964", [HINDI, "\u0939\u0948"]),
        ("... !?", []),
        ("", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("a b, c .", 4),
        ("", 0),
        ("  a  ", 1),
        ("na\u00efve caf\u00e9.", 2),
        ("\u6211\u662fDJ\u3002", 3),
        ("\u6211 \u662f", 2),
    ],
)
def test_numbers_of_words(text: str, number: int) -> None:
    assert count_words(text) == number


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One here. Two there!  Three?", ["One here.", "Two there!", "Three?"]),
        ("No end", ["No end"]),
        ("3.14 is one", ["3.14 is one"]),
        ("\u597d\u3002\u662f\uff1f", ["\u597d\u3002", "\u662f\uff1f"]),
        ("", []),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found
