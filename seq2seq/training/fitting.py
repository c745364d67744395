"""trainer.max_tokens=auto: the largest batch that fits in the device's memory, found by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from seq2seq.data.batch import Batch, make_batch
from seq2seq.errors import ConfigError, Problem
from seq2seq.models.base import Model
from seq2seq.text.vocab import Vocab
from seq2seq.training.generators import generators_state, restore_generators
from seq2seq.training.host_memory import available_memory, forget_peak, peak_memory, resident_memory
from seq2seq.training.loss import Loss
from seq2seq.training.options import TrainerOptions
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.run_dir import RunDir
from seq2seq.training.step import update

log = logging.getLogger(__name__)

Parts = tuple[Model, Loss, torch.optim.Optimizer]
Longest = tuple[int | None, int]  # tokens of the longest source, None where there is no source, and target

TOLERANCE = 0.03  # between what fits and what does not, as a share
MARGIN = 0.1  # of a GPU's memory, kept free while trying: for other shapes of batches, and for messages of ranks
CPU_SHARE = 0.5  # of the memory that is free at the start; the rest is for other programs, and for validation
MOST_EXAMPLES = 2**20
CPU_TOKENS = 8192  # no machine's CPU is faster with larger batches


def stored_or_found_max_tokens(run: RunDir, find: Callable[[], int], parallel: Parallel = ALONE) -> int:
    """Found once and stored in the run, so that all its starts have the same batches. Called by all ranks."""
    found = parallel.share(run.read_max_tokens() if parallel.first else None)
    if found is not None:
        log.info("trainer.max_tokens=auto: %s, as this run has found before", f"{found:,}")
        return found
    log.info("trainer.max_tokens=auto: looking for the largest batch that fits in memory")
    found = find()
    log.info("trainer.max_tokens=auto: %s", f"{found:,}")
    if parallel.first:
        run.store_max_tokens(found)
    return found


def find_max_tokens(
    make_parts: Callable[[], Parts],
    longest: Longest,
    options: TrainerOptions,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    parallel: Parallel = ALONE,
    *,
    num_examples: int | None = None,
) -> int:
    """The longest side of the examples times as many of them as fit in one update, of the rank that has least room.

    num_examples: there are no more.  make_parts: what is tried, on the device; it is thrown away, and the generators
    are as before, so that nothing else depends on the search. Raises ConfigError, on all ranks, where one has no room
    for one example.
    """
    source_length, target_length = (1 + (length or 0) for length in longest)
    longer = max(source_length, target_length)
    most = num_examples or MOST_EXAMPLES
    if device.type == "cpu":
        most = min(most, max(1, CPU_TOKENS // longer))
    generators = generators_state(device)
    number = _number_that_fits(make_parts, longest, options, device, autocast, parallel.ranks_here, most)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    restore_generators(generators, device)
    number = min(parallel.gather(number))
    if not number:
        told = (
            f"auto: not even one example as long as the longest ({source_length:,} and {target_length:,} tokens) fits "
            f"in the memory of {device}; what helps: a smaller trainer.max_length or model"
        )
        recompute = "" if options.recompute else ", or trainer.recompute=true"
        raise ConfigError(Problem("trainer.max_tokens", told + recompute))
    return number * longer


def _number_that_fits(
    make_parts: Callable[[], Parts],
    longest: Longest,
    options: TrainerOptions,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    processes: int,
    most: int,
) -> int:
    """Of examples, at most `most`; 0 where not even one does."""
    try:
        trials = _Trials(make_parts(), longest, options, device, autocast)
        if not trials.passes(1):  # the first: from here on there is the optimizer's state, too
            return 0
        if device.type == "cpu":
            return largest(_HostRoom(processes).bounded(trials.passes), most)
        margin = int(MARGIN * torch.cuda.get_device_properties(device).total_memory)
        kept_free = torch.empty(margin, dtype=torch.uint8, device=device)
        number = largest(trials.passes, most)
        del kept_free
    except torch.OutOfMemoryError:
        return 0
    return number


def longest_batch(longest: Longest, *, max_tokens: int) -> Batch:
    """Made-up examples within the budget, but at least two, as long as the longest of the data on both sides."""
    longer = 1 + max(length or 0 for length in longest)
    return _longest_examples(longest, max(2, max_tokens // longer))


def _longest_examples(longest: Longest, number: int) -> Batch:
    sources, targets = (None if length is None else [[Vocab.unk] * length] * number for length in longest)
    assert targets is not None
    return make_batch(sources, targets, range(number))


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, to within TOLERANCE; 0 if none: by doubling, then by halving the
    gap to what does not fit.
    """
    fitting, failing = 0, most + 1
    while failing - fitting > 1 + TOLERANCE * fitting or fitting < most < failing:
        tried = min(2 * fitting or 1, most) if most < failing else (fitting + failing) // 2
        if fits(tried):
            fitting = tried
        else:
            failing = tried
    return fitting


class _Trials:
    """Updates of the parts with batches in which all examples are as long as the longest on both sides."""

    def __init__(
        self,
        parts: Parts,
        longest: Longest,
        options: TrainerOptions,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.model, self.loss, self.optimizer = parts
        self.longest = longest
        self.num_parts = min(options.accumulate, 2)  # with a second one, gradients are there from the beginning
        self.clip_norm = options.clip_norm
        self.device = device
        self.autocast = autocast

    def passes(self, number: int) -> bool:
        """Whether an update with micro-batches of so many examples ends well."""
        batch = _longest_examples(self.longest, number).to(self.device)
        try:
            result = update(
                self.model,
                self.loss,
                self.optimizer,
                [batch] * self.num_parts,
                clip_norm=self.clip_norm,
                autocast=self.autocast,
            )
        except torch.OutOfMemoryError:
            return False
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return result.num_parts == self.num_parts  # otherwise it was cut


class _HostRoom:
    """The part of the machine's memory that batches may take. Since a CPU has no clean end of its memory, what a trial
    will need is foretold from the one before, and it is not made where that is too much.

    processes: on this machine, which share the memory.
    """

    def __init__(self, processes: int) -> None:
        self.before = resident_memory()
        self.room = CPU_SHARE * available_memory() / processes
        self.of_example = 0.0

    def bounded(self, passes: Callable[[int], bool]) -> Callable[[int], bool]:
        """Whether so many examples pass, within the room."""

        def fits(number: int) -> bool:
            if self.of_example * number > self.room:
                return False
            forget_peak()
            passed = passes(number)
            self.of_example = (peak_memory() - self.before) / number
            return passed and self.of_example * number <= self.room

        return fits
