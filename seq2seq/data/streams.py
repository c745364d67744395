"""Data that is read, encoded and filtered while training goes on, and of which nothing is kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.ahead import ahead
from seq2seq.data.corpus import Source
from seq2seq.data.encoded import Block, Digest, EncodedCorpus, Encoder, chained, encode_blocks, sieved
from seq2seq.data.pools import Part, Pool, Pools, one_pool
from seq2seq.data.variation import Variation
from seq2seq.data.workers import encode_in_parallel, usual_workers
from seq2seq.errors import DataError

POOL = 2**16  # examples that are read for a pool; filters take some of them out


@dataclass(frozen=True)
class Stream:
    """One source of training examples. vary: what is made anew of them at each loading."""

    source: Source
    encode: Encoder
    vary: Variation | None = None
    name: str = ""


class StreamedPools(Pools):
    """Pools of the next examples of each stream, one made ready while another is in use.

    An epoch ends when every stream has been read to its end; until then those that have ended begin again. Filters that
    compare examples see those of one pool.

    shares: of each stream in what is read; None: all the same.  workers: processes that encode, of all streams
    together; 0 encodes in this one, None takes a process for each core.
    """

    def __init__(
        self, streams: Sequence[Stream], shares: Sequence[float] | None = None, workers: int | None = None
    ) -> None:
        self.streams = streams
        shares = [1 / len(streams)] * len(streams) if shares is None else shares
        self.sizes = [max(1, round(POOL * share)) for share in shares]
        workers = usual_workers() if workers is None else workers
        self.workers = -(-workers // len(streams))

    def read(self, seed: int, epoch: int, place: Any = None) -> Generator[Pool, None, None]:
        """place: the pool's index, and of each stream its next chunk and whether it has been at its end."""
        number = len(self.streams)
        try:
            index, cursors, ended = (0, [0] * number, [False] * number) if place is None else place
        except TypeError as error:
            raise ValueError(f"no pool {place!r}") from error
        if len(cursors) != number or len(ended) != number:
            raise ValueError(f"no pool {place!r}")
        return ahead(self._read(index, [*cursors], [*ended]), 1)

    def _read(self, index: int, cursors: list[int], ended: list[bool]) -> Iterator[Pool]:
        chunks = [self._chunks(number, cursor) for number, cursor in enumerate(cursors)]
        with ExitStack() as stack:
            stack.callback(_close, chunks)
            while True:
                place = [index, [*cursors], [*ended]]
                parts = []
                for number, stream in enumerate(self.streams):
                    found = next(chunks[number], None)
                    if found is None:
                        ended[number] = True
                        if all(ended):
                            return
                        chunks[number] = self._chunks(number, 0)
                        found = next(chunks[number], None)
                    if found is None:
                        raise DataError(f"{stream.name or 'a part of the data'}: holds no examples that can be used")
                    cursors[number], corpus = found
                    parts.append(Part(corpus, stream.vary))
                yield one_pool(index, place, parts, [np.arange(len(part.corpus)) for part in parts])
                index += 1

    def _chunks(self, number: int, chunk: int) -> Generator[tuple[int, EncodedCorpus], None, None]:
        """What is usable of the examples with the numbers chunk * size to (chunk + 1) * size, and then of the following
        ones, each with the number of the chunk after it; chunks without anything usable are passed over.
        """
        stream, size = self.streams[number], self.sizes[number]
        waiting: list[Block] = []
        with closing(encode_in_parallel(stream.source, stream.encode, self.workers, chunk * size)) as blocks:
            for block in blocks:
                waiting.append(block)
                while len(block.numbers) and block.numbers[-1] >= (chunk + 1) * size:
                    block = chained(waiting)
                    end = int(np.searchsorted(block.numbers, (chunk + 1) * size))
                    chunk += 1
                    yield from _usable(stream, chunk, replace(block.cut(0, end), counts=block.counts))
                    waiting = [block := block.cut(end, len(block.numbers))]
        if waiting:
            yield from _usable(stream, chunk + 1, chained(waiting))

    def identity(self) -> dict[str, Any]:
        """Told by how each stream begins."""
        return {"examples": None, "contents": f"{', '.join(map(str, self.sizes))} of streams {self._beginning}"}

    @cached_property
    def _beginning(self) -> str:
        digest = Digest()
        for stream in self.streams:
            for block in islice(encode_blocks(stream.source, stream.encode), 1):
                for side, (flat, lengths) in enumerate(block.sides):
                    digest.add(side, flat, lengths)
        return digest.result()

    def counts_of_lengths(self) -> NDArray[np.float64] | None:
        return None


def _close(generators: Sequence[Generator[Any, None, None]]) -> None:
    for generator in generators:
        generator.close()


def _usable(stream: Stream, following: int, chunk: Block) -> Iterator[tuple[int, EncodedCorpus]]:
    sieve = stream.encode.sieve.fresh()
    for block in sieved([chunk], sieve):
        if len(block.numbers):
            yield following, block.corpus(sieve.findings())
