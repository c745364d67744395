from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from seq2seq.data import encoded
from seq2seq.data.corpus import Example, Source
from seq2seq.data.encoded import Counts, EncodedCorpus, Rows, encode_source
from seq2seq.errors import DataError
from seq2seq.text.tokenizer import Tokenizer


class Numbers(Tokenizer):
    """Text is numbers with spaces between; an id is the number plus `offset`."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def train(self, lines: Iterable[str]) -> None: ...

    def encode(self, text: str) -> list[int]:
        return [int(word) + self.offset for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(str(number - self.offset) for number in ids)

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls()


class Pairs(Source):
    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = pairs

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        for number, (source, target) in enumerate(self.pairs):
            yield Example(source, target, number)


PAIRS = Pairs(("1 2", "7"), ("", "8"), ("3", "9 10 11 12"), ("4", "  "), ("5", "13 14 15"), ("", "1 2 3 4 5"))


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_ids_numbers_and_counts(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(encoded, "CHUNK", chunk)
    heard: list[int] = []
    corpus = encode_source(PAIRS, Numbers(), Numbers(100), max_length=3, progress=heard.append)
    assert len(corpus) == 2
    assert [corpus.sources[i].tolist() for i in range(2)] == [[1, 2], [5]]
    assert [corpus.targets[i].tolist() for i in range(2)] == [[107], [113, 114, 115]]
    assert corpus.numbers.tolist() == [0, 4]
    assert corpus.source_lengths.tolist() == [2, 1]
    assert corpus.target_lengths.tolist() == [1, 3]
    assert corpus.counts == Counts(read=6, empty=3, long=1)
    assert heard == [min(chunk, 6 - done) for done in range(0, 6, chunk)]
    assert corpus.examples is None


def test_ids_are_views_of_32_bits() -> None:
    corpus = encode_source(PAIRS, Numbers(), Numbers(), max_length=None)
    assert len(corpus) == 3
    for row in (corpus.sources[1], corpus.targets[1]):
        assert row.dtype == np.int32
        assert row.base is not None
    assert corpus.numbers.dtype == np.int64


def test_kept_text_belongs_to_the_kept_examples() -> None:
    corpus = encode_source(PAIRS, Numbers(), Numbers(), max_length=3, keep_text=True)
    assert corpus.examples == [Example("1 2", "7", 0), Example("5", "13 14 15", 4)]


def test_nothing_left_says_why() -> None:
    pairs = Pairs(("", "1"), ("1 2 3", "1"), ("1", "1 2 3 4"), ("", ""))
    with pytest.raises(DataError) as caught:
        encode_source(pairs, Numbers(), Numbers(), max_length=2)
    assert str(caught.value) == (
        "none of the 4 examples can be used: 2 have an empty side, 2 are longer than max_length=2 tokens"
    )
    with pytest.raises(DataError, match="there are no examples"):
        encode_source(Pairs(), Numbers(), Numbers(), max_length=2)


def test_numbers_in_parts_are_as_one_array() -> None:
    whole = np.array([0, 2, 3, 7, 11, 12, 20])
    numbers = encoded.Numbers(whole[:3], whole[3:6], whole[6:])
    assert len(numbers) == 7
    assert list(numbers) == whole.tolist()
    for places in (np.array([6, 0, 3, 3, 5]), np.zeros(0, np.int64)):
        assert numbers[places].tolist() == whole[places].tolist()
    assert numbers[2:5].tolist() == whole[2:5].tolist()
    assert numbers[5:99].tolist() == whole[5:].tolist()


def test_lengths_are_those_of_the_rows() -> None:
    sources, targets = [3, 1, 2, 5, 1], [1, 1, 4, 2, 6]

    def rows(lengths: list[int]) -> Rows:
        return Rows(*((np.full(sum(part), 9, np.int32), np.cumsum([0, *part])) for part in (lengths[:3], lengths[3:])))

    corpus = EncodedCorpus(rows(sources), rows(targets), np.arange(5))
    assert corpus.longest() == (5, 6)
    assert corpus.counts_of_lengths().tolist() == [0, 1, 0, 1, 1, 1, 1]
    some = np.array([4, 0, 3, 0])
    assert [side.tolist() for side in corpus.lengths_of(some)] == [[1, 3, 5, 3], [6, 1, 2, 1]]
    alone = EncodedCorpus(None, rows(targets), np.arange(5))
    assert alone.longest() == (0, 6)
    assert [side.tolist() for side in alone.lengths_of(some)] == [[0] * 4, [6, 1, 2, 1]]
