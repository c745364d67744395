import pickle
import sys

import pytest

from seq2seq.data.corpus import Example
from seq2seq.data.filters import Filter, Surroundings, filters
from seq2seq.data.language import Language, Swapped
from seq2seq.errors import ConfigError
from seq2seq.registry import Factory

ENGLISH = [
    "The train from the coast arrives an hour late because of the snow.",
    "Nobody knew where the old keys had been hidden all these years.",
    "She wrote a long letter to her sister and never sent it.",
]
GERMAN = [
    "Der Zug von der K\u00fcste kommt wegen des Schnees eine Stunde zu sp\u00e4t an.",
    "Niemand wusste, wo die alten Schl\u00fcssel all die Jahre versteckt gewesen waren.",
    "Sie schrieb ihrer Schwester einen langen Brief und schickte ihn nie ab.",
]
FRENCH = "Personne ne savait o\u00f9 les vieilles cl\u00e9s avaient \u00e9t\u00e9 cach\u00e9es pendant des ann\u00e9es."
ARABIC = (
    "\u0648\u0635\u0644 \u0627\u0644\u0642\u0637\u0627\u0631 \u0645\u062a\u0623\u062e\u0631\u0627 "
    "\u0628\u0633\u0628\u0628 \u0627\u0644\u062b\u0644\u062c \u0641\u064a \u0627\u0644\u0645\u062f\u064a\u0646\u0629"
)


def found(one: Filter, *texts: tuple[str, str], languages: tuple[str | None, str] = ("en", "de")) -> list[bool]:
    one.learn(Surroundings(*languages, list))
    copy = pickle.loads(pickle.dumps(one))  # as sent to a process
    examples = [Example(source, target, number) for number, (source, target) in enumerate(texts)]
    return copy.finds(copy.examine(examples)).tolist()


RIGHT = list(zip(ENGLISH, GERMAN, strict=True))


def test_right_pairs_are_not_found() -> None:
    for one in (Language(), Swapped()):
        assert found(one, *RIGHT) == [False] * 3
        assert found(one, *RIGHT, languages=("en_GB", "de-AT")) == [False] * 3


def test_a_side_in_any_other_language_is_found() -> None:
    wrong = [(FRENCH, GERMAN[0]), (ENGLISH[0], FRENCH), (ENGLISH[0], ENGLISH[1]), (ARABIC, GERMAN[0])]
    assert found(Language(), *wrong) == [True] * 4
    assert found(Swapped(), *wrong) == [False] * 4
    assert found(Language(), ("", FRENCH), ("", GERMAN[0]), languages=(None, "de")) == [True, False]


def test_sides_that_changed_places_are_found_by_both() -> None:
    swapped = [(german, english) for english, german in RIGHT]
    assert found(Swapped(), *swapped) == found(Language(), *swapped) == [True] * 3
    assert found(Swapped(), *swapped, languages=("de", "en")) == [False] * 3
    assert found(Swapped(), ("", GERMAN[0]), languages=(None, "en")) == [False]


def test_short_sides_and_what_is_no_language_are_not_found() -> None:
    odd = [
        "12345 67890 12345 67890 12345 67890",
        "\U0001f600" * 40,
        "x" * 100_000,
        "",
        "https://a.example/b?c=1&d=2&e=3",
    ]
    assert found(Language(), *((text, text) for text in odd)) == [False] * len(odd)
    assert found(Language(), ("Guten Morgen", "Bonjour")) == [False]
    assert found(Language(min_characters=0, min_probability=0.1), ("Guten Morgen", "Guten Tag")) == [True]
    assert found(Language(min_probability=0.9999), (FRENCH[:40], GERMAN[0])) == [False]
    assert found(Swapped(), ("Guten Morgen", "Good morning")) == [False]
    assert found(Swapped(min_characters=3), ("Guten Morgen, meine Damen", "Good morning, everybody")) == [True]


def test_an_unknown_language_is_not_looked_at() -> None:
    assert found(Language(), (FRENCH, GERMAN[0]), (ENGLISH[0], FRENCH), languages=("qqq", "de")) == [False, True]
    assert found(Swapped(), (GERMAN[0], FRENCH), languages=("qqq", "de")) == [False]


def test_languages_that_are_written_in_like_ways_count_as_one() -> None:
    norwegian = "Ingen visste hvor de gamle n\u00f8klene hadde v\u00e6rt gjemt i alle disse \u00e5rene."
    assert found(Language(), (ENGLISH[0], norwegian), languages=("en", "nb")) == [False]
    assert found(Language(), (ENGLISH[0], norwegian), languages=("en", "da")) == [True]
    assert found(Swapped(), (norwegian, norwegian), languages=("nn", "nb")) == [False]


@pytest.mark.parametrize("name", ["language", "swapped"])
def test_a_missing_library_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    factory = Factory(filters.components[name], name, {}, f"filters.{name}")
    with pytest.raises(ConfigError) as caught:
        factory()
    assert str(caught.value) == (
        f"filters.{name}: the library `py3langid` is missing: "
        "pip install 'seq2seq[language]', or set null to do without"
    )
