"""What training will take, time and memory, told beforehand from a few real updates."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from seq2seq.data.batch import Batch
from seq2seq.data.loader import Loader
from seq2seq.training.host_memory import forget_peak, peak_memory
from seq2seq.training.step import StepResult, update
from seq2seq.training.trainer import Trainer

SECONDS = 5.0  # that are timed, in
FEWEST, MOST = 5, 100  # updates


def forecast(trainer: Trainer, total_steps: int | None) -> dict[str, Any]:
    """Plain values, ready for JSON. Called by all ranks, with a trainer that is thrown away.

    The longest batch comes second, when the optimizer has its state; then one update that tells how many there is time
    for, and those. Raises OutOfMemoryError where an update cannot be made.
    """
    loader, parallel, device = trainer.loader, trainer.parallel, trainer.device
    accumulate = trainer.options.accumulate
    trainer.model.train()
    for group in trainer.optimizer.param_groups:
        group["lr"] = trainer.base_lr * trainer.schedule.factor(1)
    _forget_peak(device)
    _update(trainer, _next_batches(loader, accumulate))
    longest = loader.longest_batch()
    copies = min(accumulate, 2)  # with a second one, gradients are there from the beginning
    parts = _update(trainer, [longest] * copies).num_parts // copies
    begin = _now(device)
    _update(trainer, _next_batches(loader, accumulate))
    num_updates = parallel.share(min(MOST, max(FEWEST, math.ceil(SECONDS / (_now(device) - begin)))))
    examples = tokens = padding = places = 0
    begin = _now(device)
    for _ in range(num_updates):
        batches = _next_batches(loader, accumulate)
        tokens += _update(trainer, batches).num_tokens
        examples += sum(len(batch.numbers) for batch in batches)
        places += sum(_places(batch) for batch in batches)
        padding += sum(_places(batch) - batch.num_tokens - batch.num_source_tokens for batch in batches)
    seconds = _now(device) - begin
    seconds_of_update = seconds / num_updates
    return {
        "device": str(device),
        "updates timed": num_updates,
        "examples per second": parallel.total(examples) / seconds,
        "target tokens per second": tokens / seconds,
        "padding": padding / places,
        "batches in an epoch": loader.batches_per_epoch,
        "minutes of an epoch": _times(loader.batches_per_epoch, seconds_of_update / accumulate / 60),
        "updates": total_steps,
        "minutes of the run": _times(total_steps, seconds_of_update / 60),
        "longest batch": {
            "examples": len(longest.numbers),
            "source tokens": longest.source.size(1),
            "target tokens": longest.target.size(1),
            "parts": parts,
        },
        "peak memory": max(parallel.gather(_peak(device))),
    }


def _times(number: int | None, minutes: float) -> float | None:
    return None if number is None else number * minutes


def failed(error: Exception) -> dict[str, Any] | None:
    """In the place of a forecast, where there was no memory; None for other faults."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return {"failed": "out of memory: lower trainer.max_tokens, or take a smaller model"}
    return None


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """Lines of at most 79 characters, but for faults."""
    if "failed" in found:
        yield f"an update was tried and failed: {found['failed']}"
        return
    speeds = (f"{found[f'{name} per second']:,.0f} {name}" for name in ("examples", "target tokens"))
    yield f"training: {' and '.join(speeds)} a second on {found['device']}"
    if found["batches in an epoch"] is not None:
        batches, padding = f"{found['batches in an epoch']:,}", f"{found['padding']:.1%}"
        yield f"an epoch: {batches} batches, {padding} padding, about {_duration(found['minutes of an epoch'])}"
    if found["updates"] is not None:
        duration = _duration(found["minutes of the run"])
        yield f"the run: up to {found['updates']:,} updates, about {duration} without validations"
    longest = found["longest batch"]
    shape = f"{longest['examples']:,} x {longest['source tokens']:,} and {longest['target tokens']:,} tokens"
    yield f"longest batch: {shape}; peak memory {found['peak memory'] / 2**30:.1f} GiB"
    if longest["parts"] > 1:
        yield f"  it did not fit in memory and was done in {longest['parts']} parts"


def _next_batches(loader: Loader, number: int) -> list[Batch]:
    return [loader.next_batch() for _ in range(number)]


def _update(trainer: Trainer, batches: list[Batch]) -> StepResult:
    return update(
        trainer.model,
        trainer.loss,
        trainer.optimizer,
        [batch.to(trainer.device) for batch in batches],
        clip_norm=trainer.options.clip_norm,
        autocast=trainer.autocast,
        strategy=trainer.strategy,
    )


def _places(batch: Batch) -> int:
    return batch.source.numel() + batch.target.numel()


def _now(device: torch.device) -> float:
    """After all that the device has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        forget_peak()


def _peak(device: torch.device) -> int:
    """In bytes: of the GPU what tensors took, of a CPU what the process took."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()


def _duration(minutes: float) -> str:
    if minutes < 2:
        return f"{60 * minutes:.0f} seconds"
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"
