import json

import numpy as np
import pytest

from seq2seq.data.corpus import Example, ListSource
from seq2seq.data.encoded import EncodedCorpus, Rows, encode_source, offsets_of
from seq2seq.data.filters import ControlCharacters, Duplicates, Sieve
from seq2seq.data.report import WINDOW, data_report, shifted, told
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import CharacterTokenizer


def corpus_of(source_lengths: np.ndarray, target_lengths: np.ndarray) -> EncodedCorpus:
    def rows(lengths: np.ndarray) -> Rows:
        return Rows((np.full(int(lengths.sum()), 5, np.int32), offsets_of(lengths)))

    return EncodedCorpus(rows(source_lengths), rows(target_lengths), np.arange(len(source_lengths)) + 10)


@pytest.mark.parametrize("by", [1, -1, 3])
def test_a_shift_is_found_where_it_is(by: int) -> None:
    generator = np.random.default_rng(5)
    source = generator.integers(3, 60, 20 * WINDOW)
    target = np.maximum(1, source + generator.integers(-3, 4, len(source)))
    begin, end = 5 * WINDOW, 12 * WINDOW
    moved = target.copy()
    moved[begin:end] = np.roll(target[begin:end], by)
    assert shifted(corpus_of(source, target)) == []
    assert shifted(corpus_of(source, moved)) == [{"first": 10 + begin, "last": 10 + end - 1, "by": by}]
    assert shifted(corpus_of(source, generator.permutation(target))) == []


def test_what_is_reported_and_told() -> None:
    texts = [
        ("one two", "eins zwei"),
        ("", "x"),
        ("one two", "eins zwei"),
        ("bell \x07 here", "Glocke"),
        ("y", "y" * 50),
    ]
    source = ListSource([Example(*pair, number) for number, pair in enumerate(texts)])
    tokenizer = CharacterTokenizer()
    tokenizer.train(["one two eins zwei bell here y"])
    sieve = Sieve({"duplicates": Duplicates(), "control_characters": ControlCharacters(action="count")})
    corpus = encode_source(source, tokenizer, tokenizer, max_length=20, sieve=sieve)
    report = data_report(corpus, source, TokenizerPair(tokenizer, tokenizer))
    assert json.loads(json.dumps(report)) == report
    assert report["examples"] == {
        "read": 5, "used": 2, "with an empty side": 1, "with too many tokens": 1, "found by filters": 1,
    }  # fmt: skip
    assert report["faults"]["duplicates"] == {
        "fault": "there before", "action": "drop", "count": 1, "examined": 5,
        "examples": [{"number": 2, "source": "one two", "target": "eins zwei"}],
    }  # fmt: skip
    assert report["source"]["mean"] == (7 + 11) / 2
    assert report["target"]["longest"] == 9
    assert sum(report["target"]["histogram"]["counts"]) == 2
    assert report["source"]["unknown"] == 1 / 18
    assert report["target"]["tokens per word"] == (9 + 1 + 9 + 6 + 50) / (2 + 1 + 2 + 1 + 1)
    lines = list(told(report))
    assert lines[:4] == [
        "examples: 2 of 5 can be used",
        "  1 with an empty side, left out",
        "  1 with too many tokens, left out",
        "  1 found by filters, left out",
    ]
    assert "duplicates: 1 there before, left out" in lines
    assert "  3: one two | eins zwei" in lines
    assert "control_characters: 1 control characters, or what could not be decoded, kept" in lines
    assert r"  4: bell \x07 here | Glocke" in lines
    assert all(len(line) <= 79 for line in lines)


def test_without_spaces_tokens_are_told_of_a_character() -> None:
    texts = [("one two", "\u4e00\u4e8c"), ("two", "\u4e8c\u3002")]
    source = ListSource([Example(*pair, number) for number, pair in enumerate(texts)])
    tokenizer = CharacterTokenizer()
    tokenizer.train([text for pair in texts for text in pair])
    corpus = encode_source(source, tokenizer, tokenizer, max_length=None)
    report = data_report(corpus, source, TokenizerPair(tokenizer, tokenizer))
    assert json.loads(json.dumps(report)) == report
    assert report["source"]["tokens per word"] == 10 / 3
    assert report["target"]["tokens per word"] is None
    assert list(told(report))[1:3] == [
        "source: 5.0 tokens, 99% up to 7, longest 7; 3.33 a word, 0.00% unknown",
        "target: 2.0 tokens, 99% up to 2, longest 2; 1.00 a character, 0.00% unknown",
    ]
