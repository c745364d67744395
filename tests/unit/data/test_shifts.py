import numpy as np
import pytest

from seq2seq.data import shifts
from seq2seq.data.encoded import EncodedCorpus, Rows, offsets_of
from seq2seq.data.shifts import shifted

NEAR = 8  # examples by which a border may be wrong


def corpus_of(source_lengths: np.ndarray, target_lengths: np.ndarray) -> EncodedCorpus:
    def rows(lengths: np.ndarray) -> Rows:
        return Rows((np.full(int(lengths.sum()), 5, np.int32), offsets_of(lengths)))

    return EncodedCorpus(rows(source_lengths), rows(target_lengths), np.arange(len(source_lengths)) + 10)


def lengths(size: int) -> tuple[np.ndarray, np.ndarray]:
    """As of captions: most of about the same length, and translations a fifth longer or shorter."""
    generator = np.random.default_rng(5)
    source = np.maximum(3, generator.lognormal(2.6, 0.4, size)).astype(int)
    return source, np.maximum(1, source * generator.normal(1.05, 0.15, size)).astype(int)


@pytest.mark.parametrize("by", [1, -1, 3])
@pytest.mark.parametrize(("begin", "end"), [(500, 700), (0, 300), (300, 999), (2100, 4003), (4700, 5000)])
@pytest.mark.parametrize("chunk", [1000, 2**17])
def test_a_shift_is_found_where_it_is(
    by: int, begin: int, end: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shifts, "CHUNK", chunk // shifts.STRIDE * shifts.STRIDE)
    source, target = lengths(5000)
    moved = target.copy()
    moved[begin:end] = np.roll(target[begin:end], by)
    (found,) = shifted(corpus_of(source, moved))
    assert found["by"] == by
    assert abs(found["first"] - 10 - begin) <= NEAR
    assert abs(found["last"] - 10 - (end - 1)) <= NEAR


def test_a_missing_line_moves_all_after_it() -> None:
    source, target = lengths(2000)
    (found,) = shifted(corpus_of(source[:-1], np.delete(target, 1200)))
    assert found["by"] == -1
    assert abs(found["first"] - 10 - 1200) <= NEAR
    assert found["last"] > 10 + 1998 - NEAR


def test_two_shifts_are_told_in_order() -> None:
    source, target = lengths(5000)
    moved = target.copy()
    moved[3000:3400] = np.roll(target[3000:3400], 1)
    moved[1000:1400] = np.roll(target[1000:1400], -2)
    assert [(part["by"], round((part["first"] - 10) / 100)) for part in shifted(corpus_of(source, moved))] == [
        (-2, 10),
        (1, 30),
    ]


def test_nothing_is_found_where_nothing_is_shifted() -> None:
    source, target = lengths(50_000)
    assert shifted(corpus_of(source, target)) == []
    assert shifted(corpus_of(source, np.random.default_rng(1).permutation(target))) == []
    assert shifted(corpus_of(source[:100], np.roll(target[:100], 1))) == []  # too few
    assert shifted(corpus_of(np.sort(source), np.roll(np.sort(target), 1))) == []  # neighbours are alike
    alone = EncodedCorpus(None, corpus_of(source, target).targets, np.arange(50_000))
    assert shifted(alone) == []
