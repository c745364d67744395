import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import yaml

from seq2seq.binding import options_of
from seq2seq.cli.overrides import config_folder
from seq2seq.data import filters as module
from seq2seq.data.corpus import Example, ListSource
from seq2seq.data.documents import SentencesBefore
from seq2seq.data.encoded import Counts, encode_source
from seq2seq.data.filters import (
    Characters,
    ControlCharacters,
    Duplicates,
    FewLetters,
    Filter,
    HeldOut,
    Identical,
    LengthRatio,
    Script,
    Sieve,
    Surroundings,
    filters,
)
from seq2seq.plugins import load_components
from seq2seq.text.plain import ByteTokenizer

Texts = Sequence[tuple[str, str]]
load_components()


def examples(texts: Texts, first: int = 0) -> list[Example]:
    return [Example(source, target, number) for number, (source, target) in enumerate(texts, start=first)]


def found(one: Filter, *texts: tuple[str, str]) -> list[bool]:
    return one.finds(one.examine(examples(texts))).tolist()


def seen_against(one: Filter, source: str | None, target: str, held_out: Texts = ()) -> Filter:
    one.learn(Surroundings(source, target, lambda: examples(held_out)))
    return one


def test_duplicates() -> None:
    texts = [("a", "b"), ("a", "c"), ("a", "b"), ("x", "b"), ("a\nb", ""), ("a", "b")]
    assert found(Duplicates(), *texts) == [False, False, True, False, False, True]
    assert found(Duplicates(of="source"), *texts) == [False, True, True, False, False, True]
    assert found(Duplicates(of="target"), *texts) == [False, False, True, True, False, True]


def test_duplicates_far_apart() -> None:
    one = Duplicates()
    hashes = np.random.default_rng(1).integers(0, 2**64, 200_000, dtype=np.uint64)
    hashes[150_000] = hashes[3]
    hashes[199_999] = hashes[199_990]
    results = np.concatenate([one.finds(part) for part in np.split(hashes, 50)])
    assert np.flatnonzero(results).tolist() == [150_000, 199_999]


def test_identical() -> None:
    texts = [("One two three", "one  two THREE"), ("One two", "one two"), ("one two three", "eins zwei drei")]
    assert found(Identical(), *texts) == [True, False, False]
    assert found(Identical(min_words=2), *texts) == [True, True, False]


def test_characters() -> None:
    assert found(Characters(limit=3), ("abc", "abc"), ("abcd", ""), ("", "abcd")) == [False, True, True]


def test_length_ratio() -> None:
    one = LengthRatio(limit=2.0, slack=2)
    texts = [("x" * 10, "x" * 4), ("x" * 10, "x" * 3), ("x" * 3, "x" * 10), ("", "x" * 30)]
    assert found(one, *texts) == [False, True, True, False]


def test_length_ratio_of_scripts_that_say_more_with_a_character() -> None:
    english = (
        "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience"
        " and should act towards one another in a spirit of brotherhood."
    )
    chinese = (
        "\u4eba\u4eba\u751f\u800c\u81ea\u7531,\u5728\u5c0a\u4e25\u548c\u6743\u5229\u4e0a\u4e00\u5f8b\u5e73\u7b49\u3002\u4ed6\u4eec\u8d4b\u6709"
        "\u7406\u6027\u548c\u826f\u5fc3,\u5e76\u5e94\u4ee5\u5144\u5f1f\u5173\u7cfb\u7684\u7cbe\u795e\u76f8\u5bf9\u5f85\u3002"
    )
    assert len(english) > 3 * (len(chinese) + 10)
    pairs = [(english, chinese), (chinese, english), (english, chinese[:12]), (english[:20], chinese)]
    assert found(LengthRatio(limit=2.5), *pairs) == [False, False, True, True]


def test_few_letters() -> None:
    texts = [
        ("\U0001f600\U0001f600", "Haha"),
        ("ok", "12:30"),
        ("3 cats", "3 Katzen"),
        ("", "x"),
        ("\u4f60\u597d", "hi"),
    ]
    assert found(FewLetters(), *texts) == [True, True, False, False, False]
    assert found(FewLetters(min_share=0.9), ("ab1", "abc")) == [True]


def test_control_characters() -> None:
    texts = [("a\tb", "a"), ("a\x07", "a"), ("a", "\ufffd"), ("a\x9f", "a"), ("\u200ba", "\u2028")]
    assert found(ControlCharacters(), *texts) == [False, True, True, True, False]


def test_script() -> None:
    one = seen_against(Script(), "en", "ru")
    texts = [
        ("house", "\u0434\u043e\u043c"),
        ("\u0434\u043e\u043c", "house"),
        ("house", "USB \u0434\u043e\u043c\u0430"),
        ("caf\u00e9", "123"),
        ("\u05d0\u05d1", "\u0434\u043e\u043c"),
    ]
    assert found(one, *texts) == [False, True, False, False, True]
    chinese = seen_against(Script(), "en", "zh")
    name = "\u6211\u5728Facebook\u4e0a"  # 3 Han characters and 8 Latin ones
    assert found(chinese, ("on Facebook", name), (name, "\u4eba"), ("x", "human \u4eba")) == [False, True, True]
    unknown = seen_against(Script(), "xx", "de_AT")
    assert found(unknown, ("\u05d0\u05d1", "Haus"), ("x", "\u05d0\u05d1")) == [False, True]
    assert found(seen_against(Script(), None, "ja"), ("", "\u30ab\u30bf\u3072\u6f22"), ("", "kata")) == [False, True]


def test_held_out() -> None:
    one = seen_against(HeldOut(), "en", "de", [("A b", "C d"), ("E", "F")])
    assert found(one, ("a  B", "c d"), ("A b", "F"), ("A b", "x"), ("x", "C d")) == [True, True, False, False]
    text_alone = seen_against(HeldOut(), None, "de", [("", "C d")])
    assert found(text_alone, ("", "c D"), ("", "c")) == [True, False]


class Odd(Filter):
    fault = "odd"

    def __init__(self, action: Any, needs_all: bool = False) -> None:
        self.action = action
        self.needs_all = needs_all  # type: ignore[misc]

    def examine(self, examples: Sequence[Example]) -> Any:
        return np.array([example.number % 2 == 1 for example in examples], bool)


def test_a_sieve_drops_counts_and_keeps_the_first() -> None:
    sieve = Sieve({"kept": Odd("count"), "left out": Odd("drop")})
    for first in (0, 5):
        part = examples([("a", "b")] * 5, first)
        keeps = sieve.keeps(np.array([e.number for e in part]), sieve.examine(part))
        assert [e.number for e, keep in zip(part, keeps, strict=True) if keep] == [
            n for n in range(first, first + 5) if n % 2 == 0
        ]
    findings = sieve.findings()
    assert [(f.count, f.first, f.action, f.of_all) for f in findings.values()] == [
        (5, [1, 3, 5], "count", False),
        (5, [1, 3, 5], "drop", True),
    ]


def test_of_a_large_split_a_sample_is_seen_where_that_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL", 4)
    monkeypatch.setattr(module, "EVERY", 3)
    sieve = Sieve({"sample": Odd("count"), "all": Odd("count", needs_all=True), "drop": Odd("drop")})
    part = examples([("a", "b")] * 12)
    sieve.keeps(np.arange(12), sieve.examine(part))
    assert sieve.counts == {"sample": 3, "all": 6, "drop": 6}  # 1 and 3, and of 6, 9: 9


def test_encoding_leaves_out_what_filters_drop() -> None:
    tokenizer = ByteTokenizer()
    tokenizer.train(["a"])
    texts = [("a", "b"), ("a", "b"), ("", "b"), ("c", "d"), ("c", "d"), ("e", "f")]
    sieve = Sieve({"duplicates": Duplicates()})
    corpus = encode_source(
        ListSource(examples(texts)), tokenizer, tokenizer, max_length=None, sieve=sieve, keep_text=True
    )
    assert corpus.numbers.tolist() == [0, 3, 5]
    assert corpus.examples is not None
    assert [example.source for example in corpus.examples] == ["a", "c", "e"]
    assert [tokenizer.decode(corpus.targets[i].tolist()) for i in range(3)] == ["b", "d", "f"]
    assert corpus.counts == Counts(read=6, empty=1, filtered=2)
    assert corpus.findings["duplicates"].first == [1, 4]


@pytest.mark.parametrize("choice", ["usual", "strict"])
def test_the_choices_show_every_filter_and_option(choice: str) -> None:
    text = (config_folder() / "data" / "filters" / f"{choice}.yaml").read_text(encoding="utf-8")
    shown = yaml.safe_load(text)
    assert set(shown) == set(filters.components)
    optional = {"language", "swapped"} if choice == "usual" else set()  # they need a library
    assert {name for name, options in shown.items() if options is None} == optional
    for name in shown.keys() - optional:
        options = shown[name]
        assert set(options) == set(options_of(filters.components[name]))
        assert options["action"] == ("drop" if choice == "strict" else "count")


def test_the_options_of_every_filter_are_described() -> None:
    for component in filters.components.values():
        described = re.findall(r"^ +(\w+): ", (component.__doc__ or "").partition("Options:")[2], flags=re.MULTILINE)
        assert set(described) == set(options_of(component))


def test_filters_see_the_sentence_alone_but_for_duplicates() -> None:
    """Two sentences before it would make the source many times as long; the same sentence elsewhere is no duplicate."""
    context = SentencesBefore(before=2, separator="<sep>", max_characters=600)
    lines = ["one sentence of some length", "another sentence of some length", "one sentence of some length"]
    read = [f"<b> {line}" for line in context.with_context(lines)]
    documents = [Example(source, "ein Satz von einiger Laenge", number) for number, source in enumerate(read)]
    for chosen, found in ((context, 0), (None, 1)):
        sieve = Sieve({"length_ratio": LengthRatio(limit=2.5), "duplicates": Duplicates()}, ["<b>"], chosen)
        sieve.keeps(np.arange(3), sieve.examine(documents))
        assert sieve.counts == {"length_ratio": found, "duplicates": 0}
    assert sieve.plain(documents[0]).source == lines[0]
