import pickle
import random
from typing import Any

import pytest

from seq2seq.data.corpus import Example
from seq2seq.data.encoded import Encoder
from seq2seq.data.reading import Reading
from seq2seq.errors import ConfigError
from seq2seq.text.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer
from seq2seq.text.tokenizer import Tokenizer

WORDS = ["the", "cat", "house", "summarize:", "in", "a", "garden,", "wonderful", "caf\u00e9", "now", "\u4e2d\u6587"]
TEMPLATES = [None, "summarize: {source}", "Text: {source} Summary:", "{source}</end>", "sum:{source}"]
SYMBOLS = ["<2de>", "<turn>"]


def text(generator: random.Random, longest: int = 12) -> str:
    return " ".join(generator.choices(WORDS, k=generator.randint(1, longest)))


@pytest.fixture(scope="module", params=["characters", "bytes", "words", "unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    kinds = {"characters": CharacterTokenizer, "bytes": ByteTokenizer, "words": WordTokenizer}
    kind = kinds.get(request.param)
    made: Tokenizer = kind() if kind else SentencePieceTokenizer(vocab_size=330, model_type=request.param)
    generator = random.Random(1)
    made.train([text(generator) for _ in range(200)] + ["sum: Text: Summary: </end> <2de>"] * 20, SYMBOLS)
    return made


@pytest.mark.parametrize("truncate", ["left", "right"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_short_is_whole_and_what_is_long_keeps_its_surroundings(
    tokenizer: Tokenizer, template: str | None, truncate: Any
) -> None:
    generator = random.Random(7)
    whole = Reading(template, tags=("<2de>",))
    texts = [f"{generator.choice(['', '<2de> '])}{text(generator)}" for _ in range(60)]
    full, nothing = whole.sources(tokenizer, texts)
    assert not nothing.any()
    assert full == tokenizer.encode_batch([whole.text(one) for one in texts])
    before, after = (template or "{source}").split("{source}")
    for limit in sorted({max(map(len, full)) - 1, 45, 50}):
        reading = Reading(template, truncate, limit, tags=("<2de>",))
        read, shortened = reading.sources(tokenizer, texts)
        assert shortened.tolist() == [len(ids) > limit for ids in full]
        for one, short, ids, was_long in zip(texts, read, full, shortened, strict=True):
            if not was_long:
                assert short == ids
                continue
            assert len(short) == limit
            said = tokenizer.decode(short).replace(" ", "")
            tag = "<2de> " if one.startswith("<2de> ") else ""
            head, own, tail = (
                tokenizer.decode(tokenizer.encode(part)).replace(" ", "")
                for part in (before + tag, one.removeprefix(tag), after)
            )
            assert said.startswith(head)
            assert said.endswith(tail)
            kept = said[len(head) : len(said) - len(tail)].strip("\ufffd")  # which stands for a part of a character
            assert own.startswith(kept) if truncate == "right" else own.endswith(kept)
    assert pickle.loads(pickle.dumps(reading)) == reading


class Couples(Tokenizer):
    """Two characters a token, so that a token goes over the border of template and text."""

    shared = True

    def train(self, lines: Any, symbols: Any = ()) -> None: ...
    def encode(self, text: str) -> list[int]:
        couples = [text[i : i + 2] for i in range(0, len(text), 2)]
        return [1000 * ord(couple[0]) + ord(couple[1:] or "\0") for couple in couples]

    def decode(self, ids: Any) -> str:
        return "".join(chr(number // 1000) + chr(number % 1000) for number in ids).replace("\0", "")

    def save(self, folder: Any) -> None: ...
    @classmethod
    def load(cls, folder: Any) -> Any: ...


@pytest.mark.parametrize(("truncate", "kept"), [("right", "ab:uv./!"), ("left", "ab:yz./!")])
def test_a_token_over_the_border_is_taken_apart(truncate: Any, kept: str) -> None:
    reading = Reading("ab:{source}./!", truncate, 5)
    read, shortened = reading.sources(Couples(), ["uvwxyz"])
    assert (Couples().decode(read[0]), shortened.tolist()) == (kept, [True])


def test_texts() -> None:
    reading = Reading("say: {source}!")
    assert [reading.text(one) for one in ("a", "", "  ", "{source}")] == ["say: a!", "", "  ", "say: {source}!"]
    assert Reading().text("a") == "a"


def test_targets_lose_their_end() -> None:
    tokenizer = ByteTokenizer()
    rows, shortened = Reading(max_target_tokens=3).targets(tokenizer, ["abcd", "abc", ""])
    assert [tokenizer.decode(ids) for ids in rows] == ["abc", "abc", ""]
    assert shortened.tolist() == [True, False, False]
    rows, shortened = Reading(max_source_tokens=1).targets(tokenizer, ["abcd"])
    assert (len(rows[0]), shortened.tolist()) == (4, [False])


def test_limits_take_the_place_of_leaving_out() -> None:
    """A side without a limit is still left out where it is too long; each example is counted once."""
    tokenizer = ByteTokenizer()
    pairs = [("a" * 9, "b"), ("a" * 9, "b" * 9), ("a", "b" * 5), ("", "b" * 9), ("a", "b" * 6)]
    examples = [Example(source, target, number) for number, (source, target) in enumerate(pairs)]

    def numbers(reading: Reading, max_length: int | None = 5) -> tuple[list[int], int, int, int]:
        block = Encoder(tokenizer, tokenizer, max_length, reading=reading)(examples)
        assert max(block.sides[0][1].max(), block.sides[1][1].max()) <= 9
        counts = block.counts
        return block.numbers.tolist(), counts.empty, counts.long, counts.shortened

    assert numbers(Reading()) == ([2], 1, 3, 0)
    assert numbers(Reading(max_source_tokens=7)) == ([0, 2], 1, 2, 1)
    assert numbers(Reading(max_target_tokens=5)) == ([2, 4], 1, 2, 1)
    assert numbers(Reading(max_source_tokens=7, max_target_tokens=7)) == ([0, 1, 2, 4], 1, 0, 2)
    assert numbers(Reading(max_source_tokens=7), None) == ([0, 1, 2, 4], 1, 0, 2)


@pytest.mark.parametrize(
    ("reading", "source", "message"),
    [
        (Reading("ab{source}c", "right", 3), "wwww", "is 3, but the template alone has 3 tokens: set more"),
        (Reading(None, "left", 2, tags=("<t>",)), "<t> www", "is 2, but the tag alone has 4 tokens: set more"),
        (Reading("a{source}", "left", 5, tags=("t",)), "t wwww", None),
        (Reading("{source}a", tags=("t",), max_source_tokens=3), "t w",
             "is 3, but template and tag alone have 3 tokens: set more"),
    ],
)  # fmt: skip
def test_no_room_is_told(reading: Reading, source: str, message: str | None) -> None:
    if message is None:
        assert ByteTokenizer().decode(reading.sources(ByteTokenizer(), [source])[0][0]) == "at ww"
        return
    with pytest.raises(ConfigError) as caught:
        reading.sources(ByteTokenizer(), [source])
    assert str(caught.value) == f"data.max_source_tokens: {message}"


@pytest.mark.parametrize(
    ("reading", "has_source", "messages"),
    [
        (Reading(), True, []),
        (Reading("a {source}", "left", 3, 4), True, []),
        (Reading(max_target_tokens=4), False, []),
        (
            Reading("a"),
            True,
            ["data.template: is 'a', without {source}, the place of the source; for example 'summarize: {source}'"],
        ),
        (
            Reading("{source}{source}"),
            True,
            [
                "data.template: is '{source}{source}', with more than one {source}, the place of the source; for "
                "example 'summarize: {source}'"
            ],
        ),
        (Reading("a\n{source}"), True, ["data.template: has a line break, but a source is one line"]),
        (Reading(truncate="left"), True, ["data.truncate: left has no effect without data.max_source_tokens"]),
        (
            Reading("a {source}", max_source_tokens=3),
            False,
            [
                "data.template: stands around sources, and the data is text alone, without any",
                "data.max_source_tokens: the data is text alone, without a source: set max_target_tokens",
            ],
        ),
    ],
)
def test_what_cannot_be(reading: Reading, has_source: bool, messages: list[str]) -> None:
    assert [str(problem) for problem in reading.problems(has_source)] == messages
