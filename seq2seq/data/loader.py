"""Batches of an encoded corpus: examples of like length together, under a budget of tokens.

The order of an epoch is a function of (seed, epoch) alone, so a place in it is two numbers, and going on from there
reads nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.batch import Batch, make_batch
from seq2seq.data.encoded import EncodedCorpus
from seq2seq.errors import CheckpointError

Indices = NDArray[np.int64]


class Loader:
    """The endless stream of training batches of one rank.

    max_tokens: the budget of a batch: its examples times its longest side, eos and padding counted. An example over the
    budget is a batch of its own. Nothing is dropped. The ranks take turns, batch by batch, and all have the same number
    of batches in an epoch: the last turn is filled up with the epoch's first batches, at most world_size - 1 of them.

    epoch, position: the place of the next batch; position counts this rank's batches in the epoch.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        *,
        max_tokens: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ) -> None:
        if not len(corpus):
            raise ValueError("a corpus without examples makes no batches")
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}, but must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, but must be at least 0 and below world_size, {world_size}")
        self.corpus = corpus
        self.max_tokens = max_tokens
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.epoch = 0
        self.position = 0
        self._keys = _sort_keys(corpus)
        self._bounds = _batch_bounds(_longest(corpus), max_tokens)
        self._planned: int | None = None
        self._examples: Indices = np.zeros(0, np.int64)
        self._batches: Indices = np.zeros(0, np.int64)

    @property
    def batches_per_epoch(self) -> int:
        """Of this rank, the same for each."""
        num_batches = len(self._bounds) - 1
        return -(-num_batches // self.world_size)

    def next_batch(self) -> Batch:
        if self._planned != self.epoch:
            self._plan()
        turn = self.position * self.world_size + self.rank
        batch = self._batches[turn % len(self._batches)]
        examples = self._examples[self._bounds[batch] : self._bounds[batch + 1]]
        self.position += 1
        if self.position == self.batches_per_epoch:
            self.epoch, self.position = self.epoch + 1, 0
        return _collate(self.corpus, examples)

    def state_dict(self) -> dict[str, Any]:
        """The same on every rank. `taken` counts the batches of the epoch that all ranks together have had."""
        return {"epoch": self.epoch, "taken": self.position * self.world_size, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on at the exact place. With another world_size, that may repeat up to world_size - 1 batches.

        Raises CheckpointError where the state is of other data or settings, which would make another order.
        """
        missing = {"epoch", "taken", *self._identity()} - state.keys()
        if missing:
            raise CheckpointError(f"the stored place in the training data lacks {', '.join(sorted(missing))}")
        differing = [
            f"{name} was {state[name]}, is {value}" for name, value in self._identity().items() if state[name] != value
        ]
        if differing:
            raise CheckpointError(f"the stored place belongs to other training data: {'; '.join(differing)}")
        if state["epoch"] < 0 or not 0 <= state["taken"] < len(self._bounds) - 1:
            raise CheckpointError(
                f"the stored place in the training data, epoch {state['epoch']}, batch {state['taken']}, does not exist"
            )
        self.epoch = state["epoch"]
        self.position = state["taken"] // self.world_size

    def _identity(self) -> dict[str, Any]:
        """All that the order of the batches depends on."""
        return {
            "examples": len(self.corpus),
            "contents": self.corpus.digest,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "shuffle": self.shuffle,
        }

    def _plan(self) -> None:
        """Examples of equal lengths, and then the batches, change places from epoch to epoch.

        The sequence of lengths is the same in every epoch, and so are the bounds of the batches.
        """
        num_batches = len(self._bounds) - 1
        if self.shuffle:
            generator = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
            mixed = generator.permutation(len(self.corpus))
            self._examples = mixed[np.argsort(self._keys[mixed], kind="stable")]
            self._batches = generator.permutation(num_batches)
        else:
            self._examples = np.argsort(self._keys, kind="stable")
            self._batches = np.arange(num_batches)
        self._planned = self.epoch


def ordered_batches(corpus: EncodedCorpus, max_tokens: int) -> Iterator[Batch]:
    """Every example once, short ones first, in the same order at each call: for validation."""
    examples = np.argsort(_sort_keys(corpus), kind="stable")
    bounds = _batch_bounds(_longest(corpus), max_tokens)
    for start, end in pairwise(bounds):
        yield _collate(corpus, examples[start:end])


def _longest(corpus: EncodedCorpus) -> Indices:
    """The longer side of each example, eos counted."""
    longest: Indices = np.maximum(corpus.source_lengths, corpus.target_lengths).astype(np.int64) + 1
    return longest


def _sort_keys(corpus: EncodedCorpus) -> Indices:
    """By the longer side, then by how much longer the source is: both sides of a batch need little padding.

    The second rises and falls in turn, so that a batch over two lengths of the longer side holds neighbours too.
    """
    longest = _longest(corpus)
    difference = corpus.source_lengths.astype(np.int64) - corpus.target_lengths
    keys: Indices = longest * (2 * longest.max()) + np.where(longest % 2, difference, -difference)
    return keys


def _batch_bounds(longest: Indices, max_tokens: int) -> Indices:
    """Cuts the examples, sorted by length, into batches as full as they can be: batch i is bounds[i] : bounds[i + 1].

    Goes through the different lengths, not through the examples.
    """
    bounds = [0]
    end = 0
    lengths, counts = np.unique(longest, return_counts=True)
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        size = max(1, max_tokens // length)
        if end - bounds[-1] >= size:  # the shorter ones are too many to be joined by one of this length
            bounds.append(end)
        end += count
        bounds.extend(range(bounds[-1] + size, end + 1, size))
    if bounds[-1] < end:
        bounds.append(end)
    return np.array(bounds, np.int64)


def _collate(corpus: EncodedCorpus, examples: Indices) -> Batch:
    sources = None if corpus.sources is None else [corpus.sources[i] for i in examples]
    return make_batch(sources, [corpus.targets[i] for i in examples], corpus.numbers[examples].tolist())
