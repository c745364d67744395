import torch

from seq2seq.data.batch import Batch, batch_as_text, make_batch
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import WordTokenizer

SOURCES = [[5, 6, 7], [8], [9, 10, 11, 12], [4, 4]]
TARGETS = [[7], [6, 5], [4, 4, 4], [9, 8, 7, 6, 5]]


def assert_equal(first: Batch, second: Batch) -> None:
    for name, value in vars(second).items():
        other = getattr(first, name)
        assert torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value, name


def test_halves_are_the_batches_of_their_examples() -> None:
    first, second = make_batch(SOURCES[:3], TARGETS[:3], [20, 21, 22]).halves()
    assert_equal(first, make_batch(SOURCES[:1], TARGETS[:1], [20]))
    assert_equal(second, make_batch(SOURCES[1:3], TARGETS[1:3], [21, 22]))
    assert [half.numbers for half in first.halves()] == [(20,)]


def test_halves_of_text_alone() -> None:
    halves = make_batch(None, TARGETS, [0, 1, 2, 3]).halves()
    for half, start in zip(halves, (0, 2), strict=True):
        assert_equal(half, make_batch(None, TARGETS[start : start + 2], [start, start + 1]))


def test_a_message_shows_the_first_three_examples_as_text() -> None:
    source, target = WordTokenizer(), WordTokenizer()
    source.train(iter(["a b c d e f g h i"]))
    target.train(iter(["q r s t u v w x y"]))
    sources = [source.encode(text) for text in ("a b", "c", "d e f", "g")]
    targets = [target.encode(text) for text in ("q r", "s", "t u v", "w")]
    batch = make_batch(sources, targets, [20, 21, 4, 22])
    assert batch_as_text(TokenizerPair(source, target), lambda number: ("", number), batch).splitlines() == [
        "a batch of 4 examples; the first of them:",
        "  line 21: a b ||| q r",
        "  line 22: c ||| s",
        "  line 5: d e f ||| t u v",
    ]
    alone = make_batch(None, targets[:1], [5])
    lines = batch_as_text(TokenizerPair(None, target), lambda number: ("news", number - 5), alone).splitlines()
    assert lines[1:] == ["  news, line 1: q r"]
