"""A whole split as token ids, in flat arrays: in memory, or on disk and mapped into memory."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import Example, Source
from seq2seq.data.filters import Finding, Sieve
from seq2seq.data.reading import Reading
from seq2seq.errors import DataError
from seq2seq.text.tokenizer import Tokenizer

CHUNK = 4096  # examples that are encoded together: enough to keep a tokenizer's threads busy, small in memory

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


class Rows:
    """Rows of ids of any lengths, in parts of equally many rows but for the last.

    Row i of a part is flat[offsets[i] : offsets[i + 1]]; flat int32.
    """

    def __init__(self, *parts: tuple[Ints, NDArray[np.integer]]) -> None:
        self.parts = parts
        self._rows_of_part = max(1, len(parts[0][1]) - 1)

    def __len__(self) -> int:
        return self._rows_of_part * (len(self.parts) - 1) + len(self.parts[-1][1]) - 1

    def __getitem__(self, index: int) -> Ints:
        """A view; index counts from 0 and must not be negative."""
        part, row = divmod(int(index), self._rows_of_part)
        flat, offsets = self.parts[part]
        return flat[offsets[row] : offsets[row + 1]]

    @property
    def lengths(self) -> Ints:
        return np.concatenate([np.diff(offsets).astype(np.int32) for _, offsets in self.parts])

    @property
    def longest(self) -> int:
        return max(int(np.diff(offsets).max(initial=0)) for _, offsets in self.parts)

    def lengths_of(self, rows: Longs) -> Ints:
        """The same of some rows."""
        lengths = np.empty(len(rows), np.int32)
        of_part, in_part = np.divmod(rows, self._rows_of_part)
        for part in np.unique(of_part):
            chosen = of_part == part
            offsets = self.parts[part][1]
            lengths[chosen] = offsets[in_part[chosen] + 1] - offsets[in_part[chosen]]
        return lengths


class Numbers:
    """The numbers of examples in parts of equally many but for the last, which are not joined: a long array to read."""

    def __init__(self, *parts: Longs) -> None:
        self.parts = parts
        self._of_part = max(1, len(parts[0]))

    def __len__(self) -> int:
        return self._of_part * (len(self.parts) - 1) + len(self.parts[-1])

    def __getitem__(self, places: Longs | slice) -> Longs:
        if isinstance(places, slice):
            places = np.arange(*places.indices(len(self)))
        numbers = np.empty(len(places), np.int64)
        of_part, in_part = np.divmod(places, self._of_part)
        for part in np.unique(of_part):
            chosen = of_part == part
            numbers[chosen] = self.parts[part][in_part[chosen]]
        return numbers

    def __iter__(self) -> Iterator[int]:
        return (number for part in self.parts for number in part.tolist())


@dataclass(frozen=True)
class Counts:
    """Examples that a split holds, and those that were left out: an empty side, too many tokens, filters.

    shortened: of the others, those that lost tokens; filters may have left out some of them.
    """

    read: int = 0
    empty: int = 0
    long: int = 0
    filtered: int = 0
    shortened: int = 0

    def __add__(self, other: Counts) -> Counts:
        parts = (mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        return Counts(*parts)


class EncodedCorpus:
    """The usable examples of a split, without bos and eos, in the order of the split.

    sources: None for text alone.  numbers: the examples' numbers in the split.  examples: their text, where it was
    kept.  digest: of all ids in their order; two corpora with the same one are the same.  findings: of the filters.
    """

    def __init__(
        self,
        sources: Rows | None,
        targets: Rows,
        numbers: Longs | Numbers,
        examples: Sequence[Example] | None = None,
        counts: Counts | None = None,
        digest: str | None = None,
        findings: Mapping[str, Finding] | None = None,
    ) -> None:
        self.sources = sources
        self.targets = targets
        self.numbers = numbers
        self.examples = examples
        self.counts = counts or Counts(read=len(numbers))
        self.findings = findings or {}
        self._digest = digest

    def __len__(self) -> int:
        return len(self.numbers)

    def lengths_of(self, rows: Longs) -> tuple[Ints, Ints]:
        """Of the sources and of the targets."""
        targets = self.targets.lengths_of(rows)
        return np.zeros_like(targets) if self.sources is None else self.sources.lengths_of(rows), targets

    def longest(self) -> tuple[int, int]:
        """The longest source and the longest target, 0 where there are no sources."""
        return 0 if self.sources is None else self.sources.longest, self.targets.longest

    def counts_of_lengths(self) -> NDArray[np.int64]:
        """How many examples there are whose longer side has 0, 1, 2, ... tokens."""
        counts = np.zeros(max(self.longest()) + 1, np.int64)
        for part, (_, offsets) in enumerate(self.targets.parts):
            longer = np.diff(offsets)
            if self.sources is not None:
                longer = np.maximum(longer, np.diff(self.sources.parts[part][1]))
            counts += np.bincount(longer, minlength=len(counts))
        return counts

    @property
    def source_lengths(self) -> Ints:
        return np.zeros(len(self), np.int32) if self.sources is None else self.sources.lengths

    @property
    def target_lengths(self) -> Ints:
        return self.targets.lengths

    @cached_property
    def digest(self) -> str:
        if self._digest is not None:
            return self._digest
        digest = Digest()
        for side, rows in enumerate((self.targets, self.sources)):
            for flat, offsets in rows.parts if rows is not None else ():
                digest.add(side, flat, np.diff(offsets))
        return digest.result()


class Digest:
    """The same however the rows are cut into pieces."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[int, str], hashlib.blake2b] = {}

    def add(self, side: int, flat: Ints, lengths: NDArray[np.integer]) -> None:
        for kind, values in (("ids", flat.astype(np.int32)), ("lengths", lengths.astype(np.int32))):
            self._hashes.setdefault((side, kind), hashlib.blake2b(digest_size=16)).update(values.tobytes())

    def result(self) -> str:
        parts = "".join(f"{side}{kind}{found.hexdigest()}" for (side, kind), found in sorted(self._hashes.items()))
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Block:
    """Some encoded examples, in their order. sides: flat ids and lengths of the target, and of the source if any.

    values: what the filters examine, a value for each example.
    """

    numbers: Longs
    sides: list[tuple[Ints, Ints]]
    counts: Counts
    examples: list[Example]
    values: list[NDArray[Any]] = field(default_factory=list)

    def cut(self, begin: int, end: int) -> Block:
        """Its examples from begin on, up to end; without texts and counts."""

        def rows(flat: Ints, lengths: Ints) -> tuple[Ints, Ints]:
            start, stop = int(lengths[:begin].sum()), int(lengths[:end].sum())
            return flat[start:stop], lengths[begin:end]

        sides = [rows(*side) for side in self.sides]
        return Block(self.numbers[begin:end], sides, Counts(), [], [found[begin:end] for found in self.values])

    def corpus(self, findings: Mapping[str, Finding] | None = None) -> EncodedCorpus:
        targets, *sources = (Rows((flat, offsets_of(lengths))) for flat, lengths in self.sides)
        return EncodedCorpus(
            sources[0] if sources else None, targets, self.numbers, None, self.counts, findings=findings
        )


def chained(blocks: Sequence[Block]) -> Block:
    """One block, of the same examples; without texts."""

    def both(parts: Iterable[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
        flat, lengths = zip(*parts, strict=True)
        return np.concatenate(flat), np.concatenate(lengths)

    sides = [both(parts) for parts in zip(*(block.sides for block in blocks), strict=True)]
    values = [np.concatenate(found) for found in zip(*(block.values for block in blocks), strict=True)]
    counts = sum((block.counts for block in blocks), Counts())
    return Block(np.concatenate([block.numbers for block in blocks]), sides, counts, [], values)


@dataclass(frozen=True)
class Encoder:
    """Examples -> a Block. Leaves out examples with a side of no tokens or of more than max_length (bos and eos not
    counted), but for sides that `reading` shortens. source_tokenizer: None for text alone. sieve: what else to examine;
    `sieved` leaves out by it.
    """

    source_tokenizer: Tokenizer | None
    target_tokenizer: Tokenizer
    max_length: int | None
    sieve: Sieve = field(default_factory=lambda: Sieve({}))
    reading: Reading = field(default_factory=Reading)

    def __call__(self, examples: Sequence[Example]) -> Block:
        targets, shortened = self.reading.targets(self.target_tokenizer, [example.target for example in examples])
        sides = [targets]
        if self.source_tokenizer is not None:
            sources, of_source = self.reading.sources(self.source_tokenizer, [example.source for example in examples])
            sides.append(sources)
            shortened = shortened | of_source
        lengths = np.stack([_lengths(ids) for ids in sides])
        limits = [limit or np.inf for limit in reversed(self.reading.limits(self.max_length))][: len(sides)]
        empty = lengths.min(axis=0) == 0
        long = ~empty & (lengths > np.array(limits)[:, None]).any(axis=0)
        kept: list[int] = np.flatnonzero(~(empty | long)).tolist()
        return Block(
            np.fromiter((examples[i].number for i in kept), np.int64, count=len(kept)),
            [_flat([ids[i] for i in kept], of_side[kept]) for ids, of_side in zip(sides, lengths, strict=True)],
            Counts(len(examples), int(empty.sum()), int(long.sum()), shortened=int(shortened[kept].sum())),
            [examples[i] for i in kept],
            [values[kept] for values in self.sieve.examine(examples)],
        )


def encode_blocks(source: Source, encode: Encoder) -> Iterator[Block]:
    examples = source.read()
    while chunk := list(islice(examples, CHUNK)):
        yield encode(chunk)


def sieved(blocks: Iterable[Block], sieve: Sieve) -> Iterator[Block]:
    """Without the examples that filters leave out, and without what was examined."""
    for block in blocks:
        keeps = sieve.keeps(block.numbers, block.values)
        if keeps.all():
            yield replace(block, values=[])
            continue
        sides = [(flat[np.repeat(keeps, lengths)], lengths[keeps]) for flat, lengths in block.sides]
        counts = block.counts + Counts(filtered=int((~keeps).sum()))
        yield Block(block.numbers[keeps], sides, counts, [e for e, k in zip(block.examples, keeps, strict=False) if k])


def encode_source(
    source: Source,
    source_tokenizer: Tokenizer | None,
    target_tokenizer: Tokenizer,
    *,
    max_length: int | None,
    keep_text: bool = False,
    progress: Callable[[int], None] | None = None,
    sieve: Sieve | None = None,
    reading: Reading | None = None,
) -> EncodedCorpus:
    """Reads all of `source` into memory, as Encoder says. `progress` hears after each block how many more examples have
    been read.

    Raises DataError where no example remains.
    """
    sieve = sieve or Sieve({})
    encode = Encoder(source_tokenizer, target_tokenizer, max_length, sieve, reading or Reading())
    sides = [_Growing() for _ in range(1 if source_tokenizer is None else 2)]
    numbers, texts, counts = array("q"), list[Example](), Counts()
    for block in sieved(watched(encode_blocks(source, encode), progress), sieve):
        for side, (flat, lengths) in zip(sides, block.sides, strict=True):
            side.add(flat, lengths)
        numbers.frombytes(block.numbers.tobytes())
        if keep_text:
            texts.extend(block.examples)
        counts += block.counts
    if not numbers:
        raise DataError(nothing_left(counts, max_length))
    targets, *sources = (side.rows() for side in sides)
    return EncodedCorpus(
        sources[0] if sources else None,
        targets,
        np.frombuffer(numbers, np.int64),
        texts if keep_text else None,
        counts,
        findings=sieve.findings(),
    )


def watched(blocks: Iterable[Block], progress: Callable[[int], None] | None) -> Iterator[Block]:
    """The same blocks; progress hears of each, how many examples it was made of."""
    for block in blocks:
        yield block
        if progress is not None:
            progress(block.counts.read)


def nothing_left(counts: Counts, max_length: int | None) -> str:
    if not counts.read:
        return "there are no examples"
    reasons = []
    if counts.empty:
        reasons.append(f"{counts.empty:,} have an empty side")
    if counts.long:
        reasons.append(f"{counts.long:,} are longer than max_length={max_length} tokens")
    if counts.filtered:
        reasons.append(f"{counts.filtered:,} were left out by data/filters")
    return f"none of the {counts.read:,} examples can be used: {', '.join(reasons)}"


class _Growing:
    """Grows in place, where joining a list of arrays would need twice the memory at the end."""

    def __init__(self) -> None:
        self.flat = array("i")
        self.lengths = array("i")

    def add(self, flat: Ints, lengths: Ints) -> None:
        self.flat.frombytes(flat.tobytes())
        self.lengths.frombytes(lengths.tobytes())

    def rows(self) -> Rows:
        return Rows((np.frombuffer(self.flat, np.intc), offsets_of(np.frombuffer(self.lengths, np.intc))))


def offsets_of(lengths: NDArray[np.integer]) -> Longs:
    """(N,) -> (N + 1,): where rows of these lengths begin and end."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _lengths(rows: list[list[int]]) -> Ints:
    return np.fromiter(map(len, rows), np.int32, count=len(rows))


def _flat(rows: list[list[int]], lengths: Ints) -> tuple[Ints, Ints]:
    return np.fromiter(chain.from_iterable(rows), np.int32, count=int(lengths.sum())), lengths
