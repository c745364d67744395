"""What of the data is shuffled together. An epoch is some pools, one after the other; each fits in memory.

A pool is a function of the data, the seed, the epoch and its place, so that training goes on from any place.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.batch import Batch, make_batch
from seq2seq.data.encoded import EncodedCorpus, Ints, Longs
from seq2seq.data.variation import Ids, Variation

POOL = 2**20  # examples
NEIGHBOURS = 256  # rows of a corpus larger than a pool that stay together


@dataclass(frozen=True)
class Part:
    """What a pool takes examples from. vary: what is made anew of them at each loading."""

    corpus: EncodedCorpus
    vary: Variation | None = None


@dataclass(frozen=True)
class Pool:
    """Some examples. Example i is row rows[i] of part parts[of_part[i]].

    index: which one of its epoch.  place: plain values, from which `Pools.read` goes on with this pool.
    """

    index: int
    place: Any
    parts: Sequence[Part]
    of_part: NDArray[np.uint16]
    rows: Longs

    def __len__(self) -> int:
        return len(self.rows)

    def lengths(self) -> tuple[Ints, Ints]:
        """Of the sources and of the targets, before anything is varied."""
        found = np.empty((2, len(self)), np.int32)
        for number, part in enumerate(self.parts):
            chosen = np.flatnonzero(self.of_part == number)
            found[:, chosen] = part.corpus.lengths_of(self.rows[chosen])
        return found[0], found[1]

    def batch(self, examples: NDArray[np.integer], seed: int) -> Batch:
        """examples: places in the pool."""
        of_part, rows = self.of_part[examples], self.rows[examples]
        sources: list[Ids] = [()] * len(rows)
        targets: list[Ids] = [()] * len(rows)
        numbers = np.empty(len(rows), np.int64)
        has_sources = False
        for number in np.unique(of_part).tolist():
            part, chosen = self.parts[number], np.flatnonzero(of_part == number).tolist()
            found, said = _loaded(part, rows[chosen].tolist(), seed)
            has_sources |= found is not None
            for i, place in enumerate(chosen):
                targets[place] = said[i]
                if found is not None:
                    sources[place] = found[i]
            numbers[chosen] = part.corpus.numbers[rows[chosen]] * len(self.parts) + number
        return make_batch(sources if has_sources else None, targets, numbers.tolist())


def _loaded(part: Part, rows: Sequence[int], seed: int) -> tuple[Sequence[Ids] | None, Sequence[Ids]]:
    corpus = part.corpus
    sources = None if corpus.sources is None else [corpus.sources[row] for row in rows]
    targets = [corpus.targets[row] for row in rows]
    return (sources, targets) if part.vary is None else part.vary(sources, targets, seed)


def one_pool(index: int, place: Any, parts: Sequence[Part], rows: Sequence[Longs]) -> Pool:
    """rows: of each part."""
    of_part = np.repeat(np.arange(len(parts), dtype=np.uint16), [len(of_part) for of_part in rows])
    return Pool(index, place, parts, of_part, np.concatenate(rows))


class Pools(ABC):
    """Epochs of pools."""

    @abstractmethod
    def read(self, seed: int, epoch: int, place: Any = None) -> Generator[Pool, None, None]:
        """Those of an epoch from a place on, all for None. None of them is empty.

        Raises ValueError for a place that is none.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Plain values; all that the pools depend on but for the seed."""

    @abstractmethod
    def counts_of_lengths(self) -> NDArray[np.float64] | None:
        """About how many examples of an epoch have a longer side of 0, 1, 2, ... tokens; None where nobody can know.

        Exactly so where an epoch is one pool that holds every example once.
        """


class PreparedPools(Pools):
    """Of encoded corpora.

    shares: of each part in what is trained on; None: by the parts' sizes, so that an epoch is every example once. With
    shares an epoch is as many examples, but of a part with a small share only some, the next epoch others, and those
    of a part with a large share come several times.
    """

    def __init__(self, parts: Sequence[Part], shares: Sequence[float] | None = None) -> None:
        self.parts = parts
        self.sizes = [len(part.corpus) for part in parts]
        if not all(self.sizes):
            raise ValueError("a corpus without examples makes no batches")
        total = sum(self.sizes)
        self.per_epoch = self.sizes if shares is None else [max(1, round(total * share)) for share in shares]
        self.num_pools = -(-sum(self.per_epoch) // POOL)

    def read(self, seed: int, epoch: int, place: Any = None) -> Generator[Pool, None, None]:
        start = 0 if place is None else place
        if not isinstance(start, int) or not 0 <= start < self.num_pools:
            raise ValueError(f"no pool {start!r}")
        for index in range(start, self.num_pools):
            rows = [self._rows(number, seed, epoch, index) for number in range(len(self.parts))]
            yield one_pool(index, index, self.parts, rows)

    def _rows(self, number: int, seed: int, epoch: int, index: int) -> Longs:
        """Of a part for a pool: the next ones of its endless sequence, in which pass follows pass."""
        size, per_epoch = self.sizes[number], self.per_epoch[number]
        begin, end = (epoch * per_epoch + per_epoch * i // self.num_pools for i in (index, index + 1))
        if begin % size == 0 and end - begin == size:
            return np.arange(size)
        found = []
        while begin < end:
            turn, first = divmod(begin, size)
            last = min(size, first + end - begin)
            found.append(_rows_of_pass(size, [seed, number, turn], first, last))
            begin += last - first
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def identity(self) -> dict[str, Any]:
        digests = [part.corpus.digest for part in self.parts]
        if len(digests) > 1:
            told = f"{digests} {self.per_epoch}"
            digests = [hashlib.blake2b(told.encode(), digest_size=16).hexdigest()]
        return {"examples": sum(self.sizes), "contents": digests[0]}

    def counts_of_lengths(self) -> NDArray[np.float64]:
        counts = [part.corpus.counts_of_lengths() for part in self.parts]
        total = np.zeros(max(map(len, counts)))
        for of_part, per_epoch, size in zip(counts, self.per_epoch, self.sizes, strict=True):
            total[: len(of_part)] += of_part * (per_epoch / size)
        return total


def _rows_of_pass(size: int, seed: Sequence[int], first: int, last: int) -> Longs:
    """Places first to last of all rows in a random order; rows of a large corpus stay beside their neighbours."""
    generator = np.random.Generator(np.random.PCG64(seed))
    if size <= POOL:
        return generator.permutation(size)[first:last]
    groups = generator.permutation(-(-size // NEIGHBOURS))
    sizes = np.minimum(size - groups * NEIGHBOURS, NEIGHBOURS)
    ends = np.cumsum(sizes)
    begin, end = np.searchsorted(ends, first, side="right"), np.searchsorted(ends, last, side="left") + 1
    rows = np.concatenate([np.arange(g * NEIGHBOURS, min(size, (g + 1) * NEIGHBOURS)) for g in groups[begin:end]])
    skipped = first - int(ends[begin] - sizes[begin])
    return rows[skipped : skipped + last - first]
