from collections import Counter

import numpy as np
import pytest

from seq2seq.data import pools
from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.data.pools import Part, PreparedPools


def corpus(size: int) -> EncodedCorpus:
    """Of the lengths 1, 2, 3, 1, ... on the one side and 2 on the other, in Rows of several parts as on disk."""

    def rows(lengths: list[int]) -> Rows:
        parts = [lengths[begin : begin + 16] for begin in range(0, size, 16)]
        return Rows(*((np.full(sum(part), 5, np.int32), np.cumsum([0, *part])) for part in parts))

    return EncodedCorpus(rows([1 + number % 3 for number in range(size)]), rows([2] * size), np.arange(size))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "POOL", 32)
    monkeypatch.setattr(pools, "NEIGHBOURS", 5)


def taken(found: PreparedPools, epoch: int, seed: int = 1) -> list[Counter[int]]:
    """How often each row of each part is in an epoch."""
    counters: list[Counter[int]] = [Counter() for _ in found.parts]
    for pool in found.read(seed, epoch):
        for part, row in zip(pool.of_part.tolist(), pool.rows.tolist(), strict=True):
            counters[part][row] += 1
    return counters


@pytest.mark.parametrize("sizes", [[20], [32], [33], [101], [20, 7], [70, 40, 1]])
def test_an_epoch_is_every_example_once(sizes: list[int]) -> None:
    found = PreparedPools([Part(corpus(size)) for size in sizes])
    for epoch in range(3):
        assert taken(found, epoch) == [Counter(range(size)) for size in sizes]
        lengths = [len(pool) for pool in found.read(1, epoch)]
        assert len(lengths) == -(-sum(sizes) // 32)
        assert max(lengths) - min(lengths) <= len(sizes)


def test_pools_change_with_epoch_and_seed_and_hold_neighbours_together() -> None:
    found = PreparedPools([Part(corpus(101))])
    first = [pool.rows.tolist() for pool in found.read(1, 0)]
    assert first != [pool.rows.tolist() for pool in found.read(1, 1)]
    assert first != [pool.rows.tolist() for pool in found.read(2, 0)]
    steps = np.diff(np.concatenate(first))
    assert (steps == 1).mean() > 0.7  # 4 of 5
    assert set(first[0]) != set(range(len(first[0])))


def test_shares_over_epochs() -> None:
    """Half of 60 examples of each: the 20 one and a half times an epoch, the 40 three times in four epochs."""
    found = PreparedPools([Part(corpus(20)), Part(corpus(40))], [0.5, 0.5])
    assert [sum(counter.values()) for counter in taken(found, 0)] == [30, 30]
    totals: list[Counter[int]] = [Counter(), Counter()]
    for epoch in range(4):
        for total, counter in zip(totals, taken(found, epoch), strict=True):
            total.update(counter)
            assert max(total.values()) - min(total[row] for row in range(20)) <= 1  # none comes before the others have
    assert set(totals[0].values()) == {6}
    assert set(totals[1].values()) == {3}
    assert len(totals[1]) == 40


def test_a_small_share_is_still_seen() -> None:
    found = PreparedPools([Part(corpus(40)), Part(corpus(40))], [0.999, 0.001])
    assert [sum(counter.values()) for counter in taken(found, 0)] == [80, 1]


def test_reading_from_any_place() -> None:
    found = PreparedPools([Part(corpus(70)), Part(corpus(31))], [0.3, 0.7])
    whole = [(pool.place, pool.rows.tolist()) for pool in found.read(1, 2)]
    for number, (place, _) in enumerate(whole):
        assert [(pool.place, pool.rows.tolist()) for pool in found.read(1, 2, place)] == whole[number:]
    for place in (-1, len(whole), "0", [0]):
        with pytest.raises(ValueError, match="no pool"):
            next(found.read(1, 2, place))


def test_counts_of_lengths() -> None:
    alone = PreparedPools([Part(corpus(70))])
    assert alone.counts_of_lengths().tolist() == [0, 0, 47, 23]  # a side of 2 tokens at least, of 3 every third
    mixed = PreparedPools([Part(corpus(60)), Part(corpus(30))], [0.8, 0.2])
    np.testing.assert_allclose(mixed.counts_of_lengths(), [0, 0, 60, 30])


def test_lengths_of_a_pool() -> None:
    for pool in PreparedPools([Part(corpus(70)), Part(corpus(31))]).read(1, 0):
        sources, targets = pool.lengths()
        assert sources.tolist() == [1 + row % 3 for row in pool.rows]
        assert set(targets.tolist()) == {2}


def test_identity_tells_other_data_and_shares() -> None:
    one, two = Part(corpus(40)), Part(corpus(50))
    made = [([one], None), ([two], None), ([one, two], None), ([two, one], None), ([one, two], [0.5, 0.5])]
    assert len({str(PreparedPools(parts, shares).identity()) for parts, shares in made}) == len(made)
    assert PreparedPools([one]).identity() == PreparedPools([Part(corpus(40))]).identity()
