"""Training batches: examples of like length together, under a budget of tokens.

The order of an epoch is a function of (seed, epoch) alone, so a place in it is a few numbers, and going on from there
encodes nothing again but the pool that it is in.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.batch import Batch, make_batch
from seq2seq.data.encoded import EncodedCorpus, Ints
from seq2seq.data.pools import Part, Pool, Pools, PreparedPools
from seq2seq.errors import CheckpointError, DataError

Indices = NDArray[np.int64]


class Loader:
    """The endless stream of training batches of one rank.

    max_tokens: the budget of a batch: its examples times its longest side, eos and padding counted. An example over the
    budget is a batch of its own. Nothing is dropped. The ranks take turns, batch by batch, and all have the same number
    of batches in an epoch: the last turn is filled up with the first batches of its pool, at most world_size - 1.

    batches_per_epoch: of this rank; about, where an epoch is not every example once in one pool, and None where nobody
    can know.

    epoch, position: the place of the next batch; position counts this rank's batches in the epoch.
    """

    def __init__(
        self,
        data: EncodedCorpus | Pools,
        *,
        max_tokens: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}, but must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, but must be at least 0 and below world_size, {world_size}")
        self.pools = data if isinstance(data, Pools) else PreparedPools([Part(data)])
        self.max_tokens = max_tokens
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.position = 0
        counts = self.pools.counts_of_lengths()
        self.batches_per_epoch = None if counts is None else -(-_num_batches(counts, max_tokens) // world_size)
        self._coming: Generator[_Planned, None, None] | None = None
        self._next: _Planned | None = None

    @property
    def part_of_epoch(self) -> float:
        """How much of the epoch is done, 0 where nobody can know."""
        return min(1.0, self.position / self.batches_per_epoch) if self.batches_per_epoch else 0.0

    def next_batch(self) -> Batch:
        """Raises DataError where no example can be used, or the data cannot be read."""
        if self._next is None:
            self._open(None, 0)
        turn: list[_Planned] = []
        while self._next is not None and len(turn) < self.world_size:
            turn.append(self._next)
            self._advance()
        self.position += 1
        if self._next is None:
            self.epoch, self.position = self.epoch + 1, 0
        if self.rank < len(turn):
            return turn[self.rank].batch()
        last = turn[-1].plan
        return last.batch((self.rank - len(turn)) % len(last))

    def longest_batch(self) -> Batch:
        """Of the longest examples of an epoch's first pool."""
        with closing(self.pools.read(self.seed, 0)) as found:
            plan = _Plan(next(found), self.max_tokens, (self.seed, 0, 0))
        return plan.batch(int(plan.batches.argmax()))

    def state_dict(self) -> dict[str, Any]:
        """The same on every rank. `taken` counts the batches of the epoch, and of its pool, that all ranks together
        have had.
        """
        pool, of_pool = (None, 0) if self._next is None else (self._next.plan.pool.place, self._next.number)
        place = {"epoch": self.epoch, "taken": self.position * self.world_size}
        return {**place, "pool": pool, "taken_of_pool": of_pool, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on at the exact place, whatever the world_size.

        Raises CheckpointError where the state is of other data or settings, which would make another order.
        """
        taken = state.get("taken")
        state = {"pool": 0 if taken else None, "taken_of_pool": taken, **state}  # what an older one lacks
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise CheckpointError(f"the stored place in the training data lacks {', '.join(sorted(missing))}")
        differing = [
            f"{name} was {state[name]}, is {value}" for name, value in self._identity().items() if state[name] != value
        ]
        if differing:
            raise CheckpointError(f"the stored place belongs to other training data: {'; '.join(differing)}")
        epoch, of_pool = state["epoch"], state["taken_of_pool"]
        if epoch < 0 or not self._found(epoch, state["pool"], of_pool):
            raise CheckpointError(
                f"the stored place in the training data, epoch {epoch}, batch {of_pool}, does not exist"
            )
        self.position = state["taken"] // self.world_size

    def _found(self, epoch: int, place: Any, taken: int) -> bool:
        self.epoch = epoch
        if place is None:  # the beginning of an epoch
            self._close()
            return taken == 0
        try:
            self._open(place, taken)
        except ValueError:
            return False
        return self._next is not None and (self._next.plan.pool.place, self._next.number) == (place, taken)

    def _open(self, place: Any, taken: int) -> None:
        self._close()
        self._coming = self._planned(self.epoch, place, taken)
        self._advance()
        if self._next is None and place is None:
            raise DataError("the training data holds no examples that can be used")

    def _close(self) -> None:
        if self._coming is not None:
            self._coming.close()
        self._coming, self._next = None, None

    def _advance(self) -> None:
        assert self._coming is not None
        self._next = next(self._coming, None)

    def _planned(self, epoch: int, place: Any, taken: int) -> Generator[_Planned, None, None]:
        """The batches of the epoch from a place on."""
        for pool in self.pools.read(self.seed, epoch, place):
            plan = _Plan(pool, self.max_tokens, (self.seed, epoch, pool.index))
            for number in range(taken, len(plan)):
                yield _Planned(plan, number)
            taken = 0

    def _identity(self) -> dict[str, Any]:
        """All that the order of the batches depends on."""
        return {**self.pools.identity(), "seed": self.seed, "max_tokens": self.max_tokens}


class _Plan:
    """The batches of a pool, in a random order of examples of equal lengths, and then of batches."""

    def __init__(self, pool: Pool, max_tokens: int, seed: tuple[int, ...]) -> None:
        self.pool = pool
        self.seed = seed
        generator = np.random.Generator(np.random.PCG64(seed))
        lengths = pool.lengths()
        keys = _sort_keys(*lengths)
        mixed = generator.permutation(len(pool))
        self.examples = mixed[np.argsort(keys[mixed], kind="stable")]
        self.bounds = _batch_bounds(np.bincount(_longest(*lengths)), max_tokens)
        self.batches = generator.permutation(len(self.bounds) - 1)

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, number: int) -> Batch:
        chosen = self.batches[number]
        examples = self.examples[self.bounds[chosen] : self.bounds[chosen + 1]]
        seed = np.random.SeedSequence([*self.seed, number]).generate_state(1)[0]
        return self.pool.batch(examples, int(seed))


@dataclass(frozen=True)
class _Planned:
    plan: _Plan
    number: int

    def batch(self) -> Batch:
        return self.plan.batch(self.number)


def ordered_batches(corpus: EncodedCorpus, max_tokens: int) -> Iterator[Batch]:
    """Every example once, short ones first, in the same order at each call: for validation."""
    lengths = corpus.source_lengths, corpus.target_lengths
    examples = np.argsort(_sort_keys(*lengths), kind="stable")
    for start, end in pairwise(_batch_bounds(np.bincount(_longest(*lengths)), max_tokens)):
        chosen = examples[start:end]
        sources = None if corpus.sources is None else [corpus.sources[i] for i in chosen]
        yield make_batch(sources, [corpus.targets[i] for i in chosen], corpus.numbers[chosen].tolist())


def _longest(source_lengths: Ints, target_lengths: Ints) -> Ints:
    """The longer side of each example, eos counted."""
    longest: Ints = np.maximum(source_lengths, target_lengths) + 1
    return longest


def _sort_keys(source_lengths: Ints, target_lengths: Ints) -> Indices:
    """By the longer side, then by how much longer the source is: both sides of a batch need little padding.

    The second rises and falls in turn, so that a batch over two lengths of the longer side holds neighbours too.
    """
    longest = _longest(source_lengths, target_lengths).astype(np.int64)
    difference = source_lengths.astype(np.int64) - target_lengths
    keys: Indices = longest * (2 * longest.max()) + np.where(longest % 2, difference, -difference)
    return keys


def _num_batches(counts: NDArray[np.float64], max_tokens: int) -> int:
    """counts: of the examples with a longer side of 0, 1, 2, ... tokens without eos."""
    return len(_batch_bounds(np.concatenate([[0], np.rint(counts).astype(np.int64)]), max_tokens)) - 1


def _batch_bounds(counts: NDArray[np.integer], max_tokens: int) -> Indices:
    """Cuts examples, sorted by length, into batches as full as they can be: batch i is bounds[i] : bounds[i + 1].

    counts: of the examples with the length 0, 1, 2, ..., eos counted.
    """
    bounds = [0]
    end = 0
    lengths = np.flatnonzero(counts)
    for length, count in zip(lengths.tolist(), counts[lengths].tolist(), strict=True):
        size = max(1, max_tokens // length)
        if end - bounds[-1] >= size:  # the shorter ones are too many to be joined by one of this length
            bounds.append(end)
        end += count
        bounds.extend(range(bounds[-1] + size, end + 1, size))
    if bounds[-1] < end:
        bounds.append(end)
    return np.array(bounds, np.int64)
