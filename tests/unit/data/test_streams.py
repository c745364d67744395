from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice

import pytest

from seq2seq.data import streams
from seq2seq.data.corpus import Example, ListSource, Source
from seq2seq.data.encoded import Encoder
from seq2seq.data.filters import Duplicates, Sieve
from seq2seq.data.loader import Loader
from seq2seq.data.streams import Stream, StreamedPools
from seq2seq.errors import DataError
from seq2seq.text.plain import ByteTokenizer


class Endless(Source):
    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        return (Example("a", "b" * (1 + number % 3), number) for number in count(start))


class Broken(ListSource):
    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        yield from super().read(shard, start)
        raise DataError("corpus.en, line 7: broken")


def few(*targets: str) -> ListSource:
    return ListSource([Example("a", target, number) for number, target in enumerate(targets)])


def stream(source: Source, sieve: Sieve | None = None) -> Stream:
    tokenizer = ByteTokenizer()
    return Stream(source, Encoder(tokenizer, tokenizer, None, sieve or Sieve({})))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POOL", 8)
    monkeypatch.setattr("seq2seq.data.encoded.CHUNK", 3)


def test_what_never_ends_is_read_pool_by_pool() -> None:
    with closing(StreamedPools([stream(Endless())], workers=0).read(1, 0)) as found:
        pools = list(islice(found, 3))
    assert [pool.parts[0].corpus.numbers.tolist() for pool in pools] == [[*range(n, n + 8)] for n in (0, 8, 16)]
    assert [pool.index for pool in pools] == [0, 1, 2]


def test_a_short_stream_begins_again_until_the_long_one_has_ended() -> None:
    found = StreamedPools([stream(few(*"abc")), stream(few(*"abcdefghijk"))], workers=0)
    numbers = [[part.corpus.numbers.tolist() for part in pool.parts] for pool in found.read(1, 0)]
    assert numbers == [[[0, 1, 2], [0, 1, 2, 3]], [[0, 1, 2], [4, 5, 6, 7]], [[0, 1, 2], [8, 9, 10]]]


def test_shares_are_those_of_a_pool() -> None:
    found = StreamedPools([stream(Endless()), stream(Endless())], [0.75, 0.25], workers=0)
    with closing(found.read(1, 0)) as pools:
        assert [len(part.corpus) for part in next(pools).parts] == [6, 2]


def test_filters_compare_within_a_pool() -> None:
    texts = ["x", "x", "y", "", *"abcd", "x", "e"]
    found = StreamedPools([stream(few(*texts), Sieve({"duplicates": Duplicates()}))], workers=0)
    assert [pool.parts[0].corpus.numbers.tolist() for pool in found.read(1, 0)] == [[0, 2, 4, 5, 6, 7], [8, 9]]
    (first, _) = found.read(1, 0)
    assert first.parts[0].corpus.findings["duplicates"].count == 1


def test_pools_without_anything_usable_are_passed_over() -> None:
    found = StreamedPools([stream(few(*"ab", *[""] * 21, "c"))], workers=0)
    assert [pool.parts[0].corpus.numbers.tolist() for pool in found.read(1, 0)] == [[0, 1], [23]]


def test_nothing_usable_is_told() -> None:
    with pytest.raises(DataError, match="the training data holds no examples that can be used"):
        Loader(StreamedPools([stream(few("", ""))], workers=0), max_tokens=9, seed=1).next_batch()
    mixed = StreamedPools([stream(few("", "")), stream(Endless())], workers=0)
    with pytest.raises(DataError, match="one of the streams that are mixed holds no examples that can be used"):
        Loader(mixed, max_tokens=9, seed=1).next_batch()


def test_a_fault_of_the_source_is_told() -> None:
    loader = Loader(StreamedPools([stream(Broken(few(*"abc").examples))], workers=0), max_tokens=1, seed=1)
    with pytest.raises(DataError, match=r"corpus\.en, line 7: broken"):
        loader.next_batch()


def test_places_that_are_none() -> None:
    found = StreamedPools([stream(Endless())], workers=0)
    for place in (3, [0, [1, 2], [False]], [0, [1], []]):
        with pytest.raises(ValueError, match="no pool"):
            found.read(1, 0, place)
