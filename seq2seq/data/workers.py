"""Encoding by several processes: each reads its share of a split, and the blocks come out in the order of the split."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import numpy as np

from seq2seq.data import encoded
from seq2seq.data.corpus import Example, Source
from seq2seq.data.encoded import Block, Counts, Encoder, Ints, offsets_of
from seq2seq.errors import DataError, UserError

ALONE = 2**16  # examples after which starting other processes pays
BLOCK = 2**14  # numbers that the processes go through before they are joined
MOST_WORKERS = 16
INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def encode_in_parallel(
    source: Source, encode: Encoder, workers: int | None = None, start: int = 0
) -> Generator[Block, None, None]:
    """As encode_blocks from a place on; the blocks are others, what is in them is the same.

    workers: processes beside this one; None: one for each core where there are several.  What cannot be sent to other
    processes, as a plugin's source may be, is encoded in this one.
    """
    workers = usual_workers() if workers is None else workers
    num_read = 0
    examples = source.read(start=start)
    while chunk := list(islice(examples, encoded.CHUNK)):
        yield encode(chunk)
        num_read += len(chunk)
        if num_read >= ALONE and workers and (job := _packed(source, encode)) is not None:
            yield from _from_workers(job, chunk[-1].number + 1, workers)
            return


def usual_workers() -> int:
    """Processes beside this one."""
    cores = min(available_cores(), MOST_WORKERS)
    return cores if cores > 1 else 0


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _packed(source: Source, encode: Encoder) -> bytes | None:
    try:
        return pickle.dumps((source, encode))
    except (pickle.PicklingError, TypeError, AttributeError):
        return None


def _from_workers(job: bytes, start: int, workers: int) -> Iterator[Block]:
    context = get_context("spawn")  # a fork would copy locks that torch's threads may hold
    processes = list[SpawnProcess]()
    connections = list[Connection]()
    try:
        for worker in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, job, (worker, workers), start), daemon=True)
            with _uninterrupted():
                process.start()
            theirs.close()
            processes.append(process)
            connections.append(ours)
        while blocks := [block for connection in connections if (block := _received(connection)) is not None]:
            yield join(blocks)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Interrupts wait until the end; a process that is started inside never sees them."""
    resource_tracker.ensure_running()  # starting the first process would, and let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _received(connection: Connection) -> Block | None:
    """None after the last block. Raises what the process met."""
    try:
        found = connection.recv()
    except EOFError as error:
        raise DataError("a process that encodes the data has died: was its memory not enough?") from error
    if isinstance(found, BaseException):
        raise found
    assert found is None or isinstance(found, Block)
    return found


def _work(connection: Connection, job: bytes, shard: tuple[int, int], start: int) -> None:
    """Sends a block for every BLOCK numbers from `start` on, an empty one where the shard has none there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS - {signal.SIGINT})  # of Ctrl-C the reader of blocks decides
    try:
        source, encode = pickle.loads(job)
        examples = source.read(shard, start)
        end = start + BLOCK
        pending = list[Example]()
        for example in examples:
            while example.number >= end:
                connection.send(_encoded(encode, pending))
                pending, end = [], end + BLOCK
            pending.append(example)
        connection.send(_encoded(encode, pending))
        while True:  # others may have more
            connection.send(None)
    except BrokenPipeError:
        pass  # nobody reads any more
    except UserError as error:
        connection.send(error)
    except Exception as error:
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _encoded(encode: Encoder, examples: Sequence[Example]) -> Block:
    """Without the texts, which are not needed and would have to be sent."""
    iterator = iter(examples)
    blocks = [encode(chunk) for chunk in iter(lambda: list(islice(iterator, encoded.CHUNK)), [])]
    return join(blocks or [encode([])])


def join(blocks: Sequence[Block]) -> Block:
    """One block, in the order of the numbers."""
    numbers = np.concatenate([block.numbers for block in blocks])
    order = np.argsort(numbers, kind="stable")
    sides = [_ordered(side, order) for side in zip(*(block.sides for block in blocks), strict=True)]
    values = [np.concatenate(found)[order] for found in zip(*(block.values for block in blocks), strict=True)]
    return Block(numbers[order], sides, sum((block.counts for block in blocks), Counts()), [], values)


def _ordered(parts: Sequence[tuple[Ints, Ints]], order: np.ndarray) -> tuple[Ints, Ints]:
    """The rows of all parts, in this order."""
    flat, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    begins, lengths = offsets_of(lengths)[:-1][order], lengths[order]
    offsets = offsets_of(lengths)
    places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths)
    return flat[places], lengths
