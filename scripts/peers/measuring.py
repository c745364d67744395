"""What the adapters of the peers share: the work that they are given, the clock, and the checks.

An adapter is run by the Python of its peer's own environment, which has torch but not this project, as

    python -P -m peers.NAME RUN_FILE

(-P, so that `import eole` finds the peer and not the adapter of that name). It trains on the batches of the work, with
the peer's own training loop, for work.num_steps updates. The clock needs no help: it hears of every update from
torch.optim. The adapter tells what it fed (`Recorder.count`), and at the end what the peer itself has counted, so that
`Recorder.finish` can refuse a measurement of other work than the one asked for.
"""

from __future__ import annotations

import json
import math
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flops import num_parameters, training_flops
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

BOS, EOS, PAD, UNK = 2, 3, 0, 1  # of the ids in the work


@dataclass(frozen=True)
class Pairs:
    """A batch: ids without bos and eos."""

    sources: list[list[int]]
    targets: list[list[int]]

    def tensors(self, *, pad: int = PAD, unk: int = UNK) -> tuple[Tensor, Tensor]:
        """source (B,S): tokens, eos.  target (B,T+1): bos, tokens, eos. Both padded at the right."""
        ids = {PAD: pad, UNK: unk}
        sources = [[ids.get(token, token) for token in row] + [EOS] for row in self.sources]
        targets = [[BOS, *(ids.get(token, token) for token in row), EOS] for row in self.targets]
        return _padded(sources, pad), _padded(targets, pad)

    @property
    def source_lengths(self) -> list[int]:
        """eos counted."""
        return [len(row) + 1 for row in self.sources]

    @property
    def target_lengths(self) -> list[int]:
        """eos counted: the label tokens."""
        return [len(row) + 1 for row in self.targets]


def _padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


def lengths_of(rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.long)


@dataclass(frozen=True)
class Work:
    """What every peer has to do. sizes: num_layers, d_model, d_ff, num_heads, vocabulary.

    untimed, timed, profiled: numbers of updates, in this order.  started: when the process was started, time.time().
    overrides: arguments of seq2seq-train, for ours alone.
    """

    folder: str
    sizes: dict[str, int]
    dropout: float
    label_smoothing: float
    lr: float
    clip_norm: float
    max_tokens: int
    seed: int
    threads: int
    untimed: int
    timed: int
    profiled: int
    precision: str
    compile: bool
    device: str
    overrides: list[str]
    started: float
    output: str

    @classmethod
    def from_arguments(cls) -> Work:
        """Reads the file that is named on the command line, and sets the threads and the seed."""
        work = cls(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        torch.set_num_threads(work.threads)
        torch.manual_seed(work.seed)
        return work

    @property
    def num_steps(self) -> int:
        return self.untimed + self.timed + self.profiled

    def batches(self) -> Iterator[Pairs]:
        """One for each step."""
        with (Path(self.folder) / "batches.jsonl").open(encoding="utf-8") as lines:
            for _, line in zip(range(self.num_steps), lines, strict=False):
                yield Pairs(*json.loads(line))


class Recorder:
    """The times of the updates, and what was fed to them. per_step: batches of one update."""

    def __init__(self, work: Work, per_step: int = 1) -> None:
        self.work = work
        self.per_step = per_step
        self.tokens: list[int] = []  # of each batch: the target tokens, padding not counted
        self.flops: list[float] = []
        self.real = self.places = 0  # tokens of both sides, and places for them
        self.clock = Clock(work.device)
        self.num_steps = 0
        self.startup = 0.0
        self.memory = 0
        self.events: list[tuple[str, float]] = []
        self.profiler: torch.profiler.profile | None = None
        self.hook = register_optimizer_step_post_hook(self._after_step)

    def count(self, source_lengths: Sequence[int], target_lengths: Sequence[int], places: int) -> None:
        """One batch as the model sees it. Lengths with eos; places: the sizes of its source and label tensors."""
        self.tokens.append(sum(target_lengths))
        self.flops.append(training_flops(self.work.sizes, source_lengths, target_lengths))
        self.real += sum(source_lengths) + sum(target_lengths)
        self.places += places

    def batches(self, *, pad: int = PAD, unk: int = UNK) -> Iterator[tuple[Pairs, Tensor, Tensor]]:
        """The batches of the work with their tensors, counted as they are taken."""
        for pairs in self.work.batches():
            source, target = pairs.tensors(pad=pad, unk=unk)
            self.count(pairs.source_lengths, pairs.target_lengths, source.numel() + target[:, 1:].numel())
            yield pairs, source, target

    def _after_step(self, *_: object) -> None:
        self.clock.tick()
        self.num_steps += 1
        work = self.work
        if self.num_steps == 1:
            self.clock.wait()
            self.startup = time.time() - work.started
        if self.num_steps == work.untimed + work.timed:
            self.clock.wait()
            self.memory = peak_memory(work.device)
            if work.profiled:
                self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
                self.profiler.start()
        elif self.profiler is not None and self.num_steps == work.num_steps:
            self.profiler.stop()
            self.events = [(event.key, event.self_cpu_time_total / 1e6) for event in self.profiler.key_averages()]

    def finish(
        self,
        model: nn.Module,
        loss_of_a_batch: Callable[[], float],
        *,
        losses: Sequence[float],
        label_tokens: int,
        precision: str,
        versions: dict[str, str],
    ) -> None:
        """Writes what was found. losses: of each step, a token's; label_tokens: what the peer counted, in all steps.

        Raises SystemExit where the work was not the one asked for.
        """
        work, steps = self.work, self.num_steps
        parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        problems = [
            *unlike("updates", steps, work.num_steps),
            *unlike("label tokens", label_tokens, sum(self.tokens[: steps * self.per_step])),
            *unlike("threads", torch.get_num_threads(), work.threads),
            *sized(parameters, work.sizes),
            *falling(losses),
            *dropping(model, loss_of_a_batch, work.dropout),
        ]
        if problems:
            raise SystemExit("; ".join(problems))
        self.hook.remove()
        self.clock.wait()
        first, last = work.untimed, work.untimed + work.timed
        per_step = self.per_step
        found = {
            "tokens": [sum(self.tokens[i * per_step : (i + 1) * per_step]) for i in range(first, last)],
            "flops": [sum(self.flops[i * per_step : (i + 1) * per_step]) for i in range(first, last)],
            "seconds": [self.clock.between(i - 1, i) for i in range(first, last)],
            "padding": 1 - self.real / self.places,
            "memory": self.memory,
            "startup": self.startup,
            "parameters": parameters,
            "losses": list(losses),
            "precision": precision,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, **versions},
            "events": self.events,
        }
        Path(work.output).write_text(json.dumps(found), encoding="utf-8")


class Clock:
    """Takes the times of ticks. On a GPU it is the GPU that does, when its work comes to them: nothing has to wait."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device.startswith("cuda")
        self.ticks: list[Any] = []

    def tick(self) -> None:
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.ticks.append(event)
        else:
            self.ticks.append(time.perf_counter())

    def wait(self) -> None:
        """Until the GPU has done its work."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def between(self, first: int, second: int) -> float:
        """Seconds from one tick to another; on a GPU after `wait`."""
        if self.on_gpu:
            return float(self.ticks[first].elapsed_time(self.ticks[second])) / 1000
        return float(self.ticks[second] - self.ticks[first])


def peak_memory(device: str = "cpu") -> int:
    """Bytes: the most that the process has held so far; on a GPU, what torch has allocated there."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def unlike(name: str, found: int, expected: int) -> list[str]:
    return [] if found == expected else [f"{found:,} {name} instead of {expected:,}"]


def sized(parameters: int, sizes: Mapping[str, int]) -> list[str]:
    """The matrices, and no more than biases and norms beside them, in which the peers differ."""
    matrices = num_parameters(sizes)
    others = sizes["vocabulary"] + sizes["num_layers"] * (30 * sizes["d_model"] + 2 * sizes["d_ff"])
    fits = matrices <= parameters <= matrices + others
    return [] if fits else [f"{parameters:,} parameters instead of some {matrices:,}"]


def falling(losses: Sequence[float]) -> list[str]:
    """The mean of the last steps has to be below that of the first ones."""
    part = max(1, len(losses) // 4)
    first, last = (sum(some) / len(some) for some in (losses[:part], losses[-part:]))
    falls = math.isfinite(last) and last < first
    return [] if falls else [f"the loss does not fall: from {first:.3f} to {last:.3f}"]


def dropping(model: nn.Module, loss_of_a_batch: Callable[[], float], dropout: float) -> list[str]:
    """In training the same batch has another loss each time; in evaluation it has not."""
    with torch.no_grad():
        model.train()
        training = {loss_of_a_batch() for _ in range(3)}
        model.eval()
        evaluation = {round(loss_of_a_batch(), 4) for _ in range(2)}
    problems = []
    if (len(training) > 1) != (dropout > 0):
        problems.append(f"dropout is {dropout}, and yet the loss of a batch is {sorted(training)}")
    if len(evaluation) > 1:
        problems.append(f"without dropout the loss of a batch is {sorted(evaluation)}")
    return problems
