import torch

from seq2seq.data.batch import Batch, make_batch

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
