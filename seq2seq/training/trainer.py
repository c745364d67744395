"""The training loop: updates, reports, validations, checkpoints; exact resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from seq2seq.data.batch import Batch
from seq2seq.data.loader import Loader
from seq2seq.errors import ConfigError, UserError
from seq2seq.models.base import Model
from seq2seq.search.translator import Interrupted
from seq2seq.training.checkpoint import LOWER_IS_BETTER, CheckpointStore
from seq2seq.training.evaluator import Validator
from seq2seq.training.interrupts import Interrupts, Stopped
from seq2seq.training.loss import Loss
from seq2seq.training.options import TrainerOptions
from seq2seq.training.reporters import Reporter
from seq2seq.training.schedules import Schedule
from seq2seq.training.step import StepResult, update

log = logging.getLogger(__name__)


class Diverged(UserError):
    """The loss is no longer a number."""


@dataclass
class Progress:
    """Where training stands: all of the loop's own state that a resume needs."""

    step: int = 0
    seconds: float = 0.0  # spent in this loop, over all starts
    best: float | None = None
    validations_without_gain: int = 0
    validated_step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)  # of the newest validation


@dataclass
class Trainer:
    """Trains a model until a limit, a signal, or no more gain.

    describe: a batch as a few lines of text, for the message about a loss that is not finite.
    """

    model: Model
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loader: Loader
    validator: Validator | None
    checkpoints: CheckpointStore
    reporters: Sequence[Reporter]
    options: TrainerOptions
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    describe: Callable[[Batch], str]
    on_step: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.base_lr = float(self.optimizer.defaults["lr"])
        self.window: list[tuple[StepResult, Sequence[Batch]]] = []  # the steps since the last report
        self.window_start = time.monotonic()
        self.clock = time.monotonic()
        self.saved_step = 0

    def train(self) -> Progress:
        """Raises Stopped after a signal, Diverged at a loss that is not finite; both leave good checkpoints behind."""
        with Interrupts() as interrupts:
            self.window_start = self.clock = time.monotonic()
            self.model.train()
            if self.progress.step and self._due(self.options.validate_every):
                self._validate(interrupts)  # a signal may have come between this step and its validation
            while not self._finished() and not interrupts:
                self._step()
                if self._due(self.options.log_every):
                    self._report()
                gained = self._due(self.options.validate_every) and self._validate(interrupts)
                if not interrupts and (gained or self._due(self._save_every)):
                    self._save()
            if not interrupts:
                self._validate(interrupts)
            self._save()
            if interrupts:
                self._stop(interrupts)
        return self.progress

    def _due(self, every: int) -> bool:
        return self.progress.step % every == 0

    @property
    def _save_every(self) -> int:
        return self.options.save_every or self.options.validate_every

    def _finished(self) -> bool:
        options, progress = self.options, self.progress
        return (
            (options.max_steps is not None and progress.step >= options.max_steps)
            or (options.max_epochs is not None and self.loader.epoch >= options.max_epochs)
            or (options.patience is not None and progress.validations_without_gain >= options.patience)
        )

    def _step(self) -> None:
        micro_batches = self._next_micro_batches()
        for group in self.optimizer.param_groups:
            group["lr"] = self.base_lr * self.schedule.factor(self.progress.step + 1)
        moved = [batch.to(self.device) for batch in micro_batches]
        clip_norm = self.options.clip_norm
        try:
            result = update(self.model, self.loss, self.optimizer, moved, clip_norm=clip_norm, autocast=self.autocast)
        except torch.OutOfMemoryError as error:
            raise ConfigError(f"out of memory: lower trainer.max_tokens (now {self.options.max_tokens})") from error
        self.progress.step += 1
        self.window.append((result, micro_batches))
        if self.device.type == "cpu":  # on a GPU looking would wait for the step: there it is done at reports
            self._check_finite(len(self.window) - 1)
        self.on_step(self.progress.step, {})

    def _next_micro_batches(self) -> list[Batch]:
        """Fewer than `accumulate` only at the end of the last epoch."""
        batches = [self.loader.next_batch()]
        while len(batches) < self.options.accumulate:
            if self.options.max_epochs is not None and self.loader.epoch >= self.options.max_epochs:
                break
            batches.append(self.loader.next_batch())
        return batches

    def _check_finite(self, first: int = 0) -> None:
        """Raises Diverged with the first step since the last check whose loss or gradient is not finite."""
        for index in range(first, len(self.window)):
            result, micro_batches = self.window[index]
            if not (torch.isfinite(result.loss) & torch.isfinite(result.gradient_norm)):
                step = self.progress.step - len(self.window) + index + 1
                what = "gradient" if torch.isfinite(result.loss) else "loss"
                examples = "\n".join(self.describe(batch) for batch in micro_batches)
                last = self.checkpoints.last(1)
                kept = f"the newest checkpoint, of step {last[0].step:,}, is whole" if last else "nothing was saved yet"
                raise Diverged(
                    f"the {what} is not finite at step {step:,}; {kept}\n{examples}\n"
                    "what helps: a smaller optimizer.lr, a longer schedule.warmup, trainer.clip_norm=1, "
                    "trainer.precision=fp32, or taking a broken example out of the data"
                )

    def _report(self) -> None:
        """One line of numbers on the steps since the last one."""
        if not self.window:
            return
        self._check_finite()
        num_tokens = sum(result.num_tokens for result, _ in self.window)
        loss = sum(result.loss.item() for result, _ in self.window) / num_tokens
        now = time.monotonic()
        values = {
            "train/loss": loss,
            "train/lr": float(self.optimizer.param_groups[0]["lr"]),
            "train/gradient_norm": self.window[-1][0].gradient_norm.item(),
            "train/tokens_per_second": num_tokens / (now - self.window_start),
            "train/epoch": self.loader.epoch + self.loader.position / self.loader.batches_per_epoch,
        }
        for reporter in self.reporters:
            reporter.scalars(self.progress.step, self._seconds(), values)
        self.on_step(self.progress.step, values)
        self.window, self.window_start = [], time.monotonic()

    def _validate(self, interrupts: Interrupts) -> bool:
        """Whether the metric is better than ever before. A validation that a signal ends is done again at resume."""
        progress = self.progress
        if self.validator is None or progress.validated_step == progress.step:
            return False
        self._report()
        try:
            metrics, hypotheses = self.validator(lambda: bool(interrupts))
        except Interrupted:
            return False
        progress.metrics, progress.validated_step = metrics, progress.step
        value = metrics[self.options.metric]
        sign = -1 if self.options.metric in LOWER_IS_BETTER else 1
        gained = progress.best is None or sign * value > sign * progress.best
        progress.best = value if gained else progress.best
        progress.validations_without_gain = 0 if gained else progress.validations_without_gain + 1
        values = {f"validation/{name}": number for name, number in metrics.items()}
        examples = self.validator.examples[: self.options.samples]
        rows = [(e.source, e.target, h) for e, h in zip(examples, hypotheses, strict=False)]
        for reporter in self.reporters:
            reporter.scalars(progress.step, self._seconds(), values)
            reporter.samples(progress.step, rows)
        self.window_start = time.monotonic()
        self.saved_step = -1  # a checkpoint of this step that is there already lacks these metrics
        return gained

    def _save(self) -> None:
        if self.saved_step == self.progress.step:
            return
        self._check_finite()
        progress = self.progress
        metrics = progress.metrics if progress.validated_step == progress.step else {}
        self._seconds()
        self.checkpoints.save(progress.step, self.model, self.state_dict(), metrics)
        self.saved_step = progress.step

    def _stop(self, interrupts: Interrupts) -> None:
        assert interrupts.received is not None
        step = self.progress.step
        raise Stopped(f"stopped at step {step:,} and saved; the same command continues", interrupts.received)

    def _seconds(self) -> float:
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now
        return self.progress.seconds

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, but for the weights; tensors and plain values only."""
        generators = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "progress": vars(self.progress).copy(),
            "optimizer": self.optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            "generators": generators,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.saved_step = self.progress.step
        self.optimizer.load_state_dict(state["optimizer"])
        self.loader.load_state_dict(state["loader"])
        torch.set_rng_state(state["generators"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["generators"]:
            torch.cuda.set_rng_state(state["generators"]["cuda"], self.device)
