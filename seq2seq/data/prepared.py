"""Encoded corpora on disk: made once for a source, its tokenizers and limits, and mapped into memory by every run.

CACHE/prepared/KEY/   data.arrow (Arrow IPC: number, target, and source if any), about.json
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2seq.data.corpus import Source
from seq2seq.data.encoded import (
    Block,
    Counts,
    Digest,
    EncodedCorpus,
    Encoder,
    Ints,
    Numbers,
    Rows,
    chained,
    nothing_left,
    offsets_of,
    sieved,
    watched,
)
from seq2seq.data.filters import Finding
from seq2seq.data.workers import encode_in_parallel
from seq2seq.errors import DataError
from seq2seq.text.storage import flush

if TYPE_CHECKING:
    import pyarrow

FORMAT = 2
ROWS = 2**16  # of a part
SIDES = ("target", "source")


class Damaged(Exception):
    """A prepared corpus that is not whole."""


def prepare(
    source: Source,
    encode: Encoder,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> EncodedCorpus:
    """Opens what lies in the folder, or first makes it: all of it or, if the process is killed, nothing.

    Of several processes that ask for the same folder one makes it, and the others wait.

    Raises DataError where no example remains, OSError where it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock")):
        try:
            return open_prepared(folder)
        except Damaged:
            pass
        partial = folder.with_name(f"{folder.name}.partial")
        for left in (folder, partial):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        try:
            blocks = watched(encode_in_parallel(source, encode, workers), progress)
            _write(sieved(blocks, encode.sieve), partial, encode)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.replace(folder)
        return open_prepared(folder)


def key_of(*parts: Any) -> str:
    """A name for what is made of these."""
    text = json.dumps([FORMAT, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def content_of(folder: Path) -> list[str]:
    """What lies in a folder, by name and hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]


def open_prepared(folder: Path) -> EncodedCorpus:
    """Raises Damaged where it is not there or not whole."""
    import pyarrow

    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / "data.arrow")))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        if about["format"] != FORMAT or sum(batch.num_rows for batch in batches) != about["examples"]:
            raise Damaged(folder)
        targets, sources = (_rows(batches, side) for side in SIDES)
        numbers = Numbers(*(batch.column("number").to_numpy() for batch in batches))
        assert targets is not None
        findings = {name: Finding(**found) for name, found in about["findings"].items()}
        return EncodedCorpus(sources, targets, numbers, None, Counts(**about["counts"]), about["digest"], findings)
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise Damaged(folder) from error


def _rows(batches: list[pyarrow.RecordBatch], side: str) -> Rows | None:
    if side not in batches[0].schema.names:
        return None
    columns = [batch.column(side) for batch in batches]
    return Rows(*((column.values.to_numpy(), column.offsets.to_numpy()) for column in columns))


def _write(blocks: Iterable[Block], folder: Path, encode: Encoder) -> None:
    import pyarrow

    sides = SIDES if encode.source_tokenizer is not None else SIDES[:1]
    schema = pyarrow.schema([("number", pyarrow.int64()), *((side, pyarrow.list_(pyarrow.int32())) for side in sides)])
    digest, counts, examples = Digest(), Counts(), 0
    with pyarrow.OSFile(str(folder / "data.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, schema) as writer:

        def counted() -> Iterator[Block]:
            nonlocal counts, examples
            for block in blocks:
                counts += block.counts
                examples += len(block.numbers)
                for side, (flat, lengths) in enumerate(block.sides):
                    digest.add(side, flat, lengths)
                yield block

        for part in _in_parts(counted()):
            columns = [pyarrow.array(part.numbers), *(_lists(*side) for side in part.sides)]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))
    if not examples:
        raise DataError(nothing_left(counts, encode.max_length))
    about = {
        "format": FORMAT,
        "examples": examples,
        "counts": asdict(counts),
        "digest": digest.result(),
        "findings": {name: asdict(found) for name, found in encode.sieve.findings().items()},
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for path in (folder / "data.arrow", folder / "about.json", folder):
        flush(path)


def _lists(flat: Ints, lengths: Ints) -> pyarrow.ListArray:
    import pyarrow

    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets_of(lengths).astype(np.int32)), pyarrow.array(flat))


def _in_parts(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same rows, ROWS in each but the last."""
    waiting: list[Block] = []
    number = 0
    for block in blocks:
        waiting.append(block)
        number += len(block.numbers)
        if number >= ROWS:
            joined = chained(waiting)
            for begin in range(0, number - ROWS + 1, ROWS):
                yield joined.cut(begin, begin + ROWS)
            done = number // ROWS * ROWS
            waiting, number = [joined.cut(done, number)], number - done
    if number:
        yield chained(waiting)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Of several processes one at a time is inside."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
