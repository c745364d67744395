import json

from seq2seq.data.corpus import Example, ListSource
from seq2seq.data.encoded import encode_source
from seq2seq.data.filters import ControlCharacters, Duplicates, Sieve
from seq2seq.data.report import data_report, told
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import CharacterTokenizer


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
            "shortened": 0,
    }  # fmt: skip
    assert report["faults"]["duplicates"] == {
        "fault": "there before", "action": "drop", "count": 1, "examined": 5,
        "examples": [{"line": 3, "source": "one two", "target": "eins zwei"}],
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
