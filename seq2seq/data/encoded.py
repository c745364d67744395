"""A whole split as token ids, in flat arrays: 4.5 million sentence pairs take about 1 GB."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import Example, Source
from seq2seq.errors import DataError
from seq2seq.text.tokenizer import Tokenizer

CHUNK = 4096  # examples that are encoded together: enough to keep a tokenizer's threads busy, small in memory


class Rows:
    """Rows of ids of any lengths: row i is flat[offsets[i] : offsets[i + 1]]. flat int32, offsets int64."""

    def __init__(self, flat: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self.flat = flat
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        """A view; index counts from 0 and must not be negative."""
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)


class EncodedCorpus:
    """The usable examples of a split, without bos and eos, in the order of the split.

    numbers: the examples' numbers in the split, int64.  examples: their text, where it was kept.  num_read: how many
    the split holds; dropped_empty and dropped_long: how many of them were left out, and why.  sources: None for text
    alone.
    """

    def __init__(
        self,
        sources: Rows | None,
        targets: Rows,
        numbers: NDArray[np.int64],
        examples: Sequence[Example] | None = None,
        dropped_empty: int = 0,
        dropped_long: int = 0,
    ) -> None:
        self.sources = sources
        self.targets = targets
        self.numbers = numbers
        self.examples = examples
        self.dropped_empty = dropped_empty
        self.dropped_long = dropped_long

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def num_read(self) -> int:
        return len(self) + self.dropped_empty + self.dropped_long

    @property
    def source_lengths(self) -> NDArray[np.int64]:
        return np.zeros(len(self), np.int64) if self.sources is None else self.sources.lengths

    @property
    def target_lengths(self) -> NDArray[np.int64]:
        return self.targets.lengths


def encode_source(
    source: Source,
    source_tokenizer: Tokenizer | None,
    target_tokenizer: Tokenizer,
    *,
    max_length: int | None,
    keep_text: bool = False,
    progress: Callable[[int], None] | None = None,
) -> EncodedCorpus:
    """Reads all of `source`. Leaves out examples with a side of no tokens or of more than max_length (bos and eos not
    counted). `progress` hears after each chunk how many more examples have been read. source_tokenizer: None for text
    alone.

    Raises DataError where no example remains.
    """
    sources, targets = _RowsWriter(), _RowsWriter()
    numbers = array("q")
    texts: list[Example] | None = [] if keep_text else None
    num_read = dropped_empty = dropped_long = 0
    examples = source.read()
    while chunk := list(islice(examples, CHUNK)):
        sides = [(targets, target_tokenizer.encode_batch([example.target for example in chunk]))]
        if source_tokenizer is not None:
            sides.append((sources, source_tokenizer.encode_batch([example.source for example in chunk])))
        lengths = np.stack([_lengths(ids) for _, ids in sides])
        empty = lengths.min(axis=0) == 0
        long = ~empty & (lengths.max(axis=0) > (max_length or np.inf))
        kept: list[int] = np.flatnonzero(~(empty | long)).tolist()
        for rows, ids in sides:
            rows.add([ids[i] for i in kept])
        numbers.extend(chunk[i].number for i in kept)
        if texts is not None:
            texts.extend(chunk[i] for i in kept)
        num_read += len(chunk)
        dropped_empty += int(empty.sum())
        dropped_long += int(long.sum())
        if progress is not None:
            progress(len(chunk))
    if not numbers:
        raise DataError(_nothing_left(num_read, dropped_empty, dropped_long, max_length))
    source_rows = None if source_tokenizer is None else sources.rows()
    return EncodedCorpus(
        source_rows, targets.rows(), np.frombuffer(numbers, np.int64), texts, dropped_empty, dropped_long
    )


class _RowsWriter:
    """Grows in place, where joining a list of arrays would need twice the memory at the end."""

    def __init__(self) -> None:
        self.flat = array("i")
        self.lengths = array("q")

    def add(self, rows: list[list[int]]) -> None:
        lengths = _lengths(rows)
        flat = np.fromiter(chain.from_iterable(rows), np.intc, count=int(lengths.sum()))
        self.flat.frombytes(flat.tobytes())
        self.lengths.frombytes(lengths.tobytes())

    def rows(self) -> Rows:
        offsets = np.zeros(len(self.lengths) + 1, np.int64)
        np.cumsum(np.frombuffer(self.lengths, np.int64), out=offsets[1:])
        return Rows(np.frombuffer(self.flat, np.intc), offsets)


def _lengths(rows: list[list[int]]) -> NDArray[np.int64]:
    return np.fromiter(map(len, rows), np.int64, count=len(rows))


def _nothing_left(num_read: int, dropped_empty: int, dropped_long: int, max_length: int | None) -> str:
    if not num_read:
        return "there are no examples"
    reasons = []
    if dropped_empty:
        reasons.append(f"{dropped_empty:,} have an empty side")
    if dropped_long:
        reasons.append(f"{dropped_long:,} are longer than max_length={max_length} tokens")
    return f"none of the {num_read:,} examples can be used: {', '.join(reasons)}"
