"""What the adapters of the translation benchmark share: the work, the clock, and the checks.

The weights are random, so nothing would end an output where it should: every search is held to the length that the
work names for a batch, and has to give outputs of that length.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.measuring import EOS, Pairs, Work, peak_memory


@dataclass(frozen=True)
class SearchWork(Work):
    """beam_size: hypotheses side by side. The parts of a Work that are for training have no effect."""

    beam_size: int

    def sources(self) -> Iterator[tuple[Pairs, int]]:
        """Batches without targets, and the number of tokens that each output of one has to have, eos counted."""
        with (Path(self.folder) / "sources.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                rows, length = json.loads(line)
                yield Pairs(rows, [[]] * len(rows)), length


Translate = Callable[[Pairs, int], Sequence[Sequence[int]]]  # the best output of each source


def measure(
    work: SearchWork, translate: Translate, *, precision: str, versions: dict[str, str], at_a_time: int = 1
) -> None:
    """Translates all batches, the first of them once more before, and writes what was found.

    at_a_time: batches that are translated side by side.
    Raises SystemExit where an output is not as long as it has to be.
    """
    batches = list(work.sources())
    translate(*batches[0])
    startup = time.time() - work.started
    with ThreadPoolExecutor(at_a_time) as pool:
        start = time.perf_counter()
        outputs = list((pool.map if at_a_time > 1 else map)(translate, *zip(*batches, strict=True)))
        seconds = time.perf_counter() - start
    for (pairs, length), found_ones in zip(batches, outputs, strict=True):
        problems = wrong(found_ones, len(pairs.sources), length)
        if problems:
            raise SystemExit(problems)
    found: dict[str, Any] = {
        "sentences": sum(len(pairs.sources) for pairs, _ in batches),
        "tokens": sum(len(pairs.sources) * length for pairs, length in batches),
        "seconds": seconds,
        "memory": peak_memory(),
        "startup": startup,
        "precision": precision,
        "versions": versions,
    }
    Path(work.output).write_text(json.dumps(found), encoding="utf-8")


def wrong(outputs: Sequence[Sequence[int]], number: int, length: int) -> str:
    """What is wrong with the outputs of a batch; empty where nothing is. An eos at the end may be there or not."""
    if len(outputs) != number:
        return f"{len(outputs)} outputs for {number} sources"
    lengths = {len(output) - (list(output[-1:]) == [EOS]) for output in outputs}
    right = lengths <= {length - 1, length}
    return "" if right else f"outputs of {min(lengths)} to {max(lengths)} tokens instead of {length - 1} and eos"
