"""The training loop: updates, reports, validations, checkpoints; exact resume."""

from __future__ import annotations

import logging
import math
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
from seq2seq.training.checkpoint import CheckpointStore
from seq2seq.training.compiled import CompiledLayers
from seq2seq.training.evaluator import Validator
from seq2seq.training.generators import generators_state, restore_generators
from seq2seq.training.interrupts import Interrupts, Stopped
from seq2seq.training.loss import Loss
from seq2seq.training.options import TrainerOptions
from seq2seq.training.reporters import Reporter
from seq2seq.training.schedules import Schedule
from seq2seq.training.step import StepResult, update
from seq2seq.training.strategies import ONE_PROCESS, Strategy

log = logging.getLogger(__name__)

HOPELESS = "no hope left"
UNREAD = 100  # steps whose batches may be kept until somebody looks at their loss


class Diverged(UserError):
    """The loss, the gradient or a weight is no longer a number."""


@dataclass
class Progress:
    """Where training stands: all of the loop's own state that a resume needs."""

    step: int = 0
    seconds: float = 0.0  # spent in this loop, over all starts
    best: float | None = None
    validations_without_gain: int = 0
    validated_step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)  # of the newest validation
    loss_sum: float = 0.0  # over the steps since the last report
    num_tokens: int = 0  # in those steps
    trained_tokens: int = 0  # target tokens of all ranks, over all starts
    gradient_norm: float = 0.0  # of the newest step


@dataclass
class Trainer:
    """Trains a model until a limit, a signal, or no more gain.

    describe: a batch as a few lines of text, for the message about a loss that is not finite.  strategy: of several
    ranks all run this loop in step; the first alone reports and writes checkpoints.  is_hopeless: asked with the
    metrics of each validation whether training may end for that.
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
    strategy: Strategy = ONE_PROCESS
    compiled: CompiledLayers | None = None
    on_step: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    is_hopeless: Callable[[int, Mapping[str, float]], bool] = lambda step, metrics: False
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.parallel = self.strategy.parallel
        self.base_lr = float(self.optimizer.defaults["lr"])
        self.unread: list[tuple[StepResult, Sequence[Batch]]] = []  # the steps that _read_results has not seen yet
        self.timed_tokens = 0  # since timed_from
        self.timed_from = time.monotonic()
        self.clock = time.monotonic()
        self.saved_step = 0
        self.hopeless = False

    def compile(self, batch: Batch) -> None:
        """What there is to compile, for a batch that has to be the same at every start of a run."""
        if self.compiled is None:
            return
        moved, mode = batch.to(self.device), self.options.compile
        try:
            self.compiled.warm_up(self.model, self.loss, moved, self.device, self.autocast, mode=mode)
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory() from error

    def train(self) -> Progress:
        """Raises Stopped after a signal, Diverged at a loss that is not finite; both leave good checkpoints behind."""
        with Interrupts(shared=not self.parallel.alone, quiet=not self.parallel.first) as interrupts:
            if not self.parallel.alone:
                self.parallel.interrupts = interrupts
            self.timed_from = self.clock = time.monotonic()
            self.model.train()
            self._validate_and_save(interrupts)  # at resume, where a signal came before or in this step's validation
            while not self.reached_limit and not interrupts:
                self._step()
                if self._due(self.options.log_every):
                    self._report()
                self._validate_and_save(interrupts)
            if not interrupts:
                self._report()
                self._validate(interrupts)
            self._save(stopgap=not self.reached_limit)
            if interrupts:
                self._stop(interrupts)
        return self.progress

    @property
    def reached_limit(self) -> str:
        """The key of the limit that training has reached, or HOPELESS; empty where it goes on."""
        options, progress = self.options, self.progress
        if options.max_steps is not None and progress.step >= options.max_steps:
            return "trainer.max_steps"
        if options.max_epochs is not None and self.loader.epoch >= options.max_epochs:
            return "trainer.max_epochs"
        if options.patience is not None and progress.validations_without_gain >= options.patience:
            return "trainer.patience"
        return HOPELESS if self.hopeless else ""

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do, not even the last validation."""
        validated = self.validator is None or self.progress.validated_step == self.progress.step
        return bool(self.reached_limit) and validated

    def _due(self, every: int) -> bool:
        return self.progress.step % every == 0

    def _validate_and_save(self, interrupts: Interrupts) -> None:
        """What is due at this step and not done yet."""
        saved_before = self.saved_step == self.progress.step
        gained = self._due(self.options.validate_every) and self._validate(interrupts)
        lasting = gained or self._due(self.options.save_every or self.options.validate_every)
        if lasting or saved_before:
            self._save(stopgap=not lasting)

    def _step(self) -> None:
        micro_batches = self._next_micro_batches()
        for group in self.optimizer.param_groups:
            group["lr"] = self.base_lr * self.schedule.factor(self.progress.step + 1)
        moved = [batch.to(self.device) for batch in micro_batches]
        try:
            result = update(
                self.model,
                self.loss,
                self.optimizer,
                moved,
                clip_norm=self.options.clip_norm,
                autocast=self.autocast,
                strategy=self.strategy,
            )
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory() from error
        self.progress.step += 1
        if result.num_parts > len(moved):
            self._tell_halved(moved, result.num_parts)
        self.timed_tokens += result.num_tokens
        self.unread.append((result, micro_batches))
        if self.device.type == "cpu" or len(self.unread) >= UNREAD:  # on a GPU reading would wait for the step
            self._read_results()
        self.on_step(self.progress.step, {})

    def _out_of_memory(self) -> ConfigError:
        return ConfigError(f"out of memory: lower trainer.max_tokens (now {self.options.token_budget})")

    def _tell_halved(self, micro_batches: Sequence[Batch], num_parts: int) -> None:
        shapes = ", ".join(f"{len(b.numbers)} x {b.source.size(1)} and {b.target.size(1)}" for b in micro_batches)
        log.warning(
            "step %s did not fit in memory (examples x source and target tokens: %s) and was done in %d parts; "
            "where this happens often, a smaller trainer.max_tokens (now %s) is faster",
            *(f"{self.progress.step:,}", shapes, num_parts, f"{self.options.max_tokens:,}"),
        )

    def _next_micro_batches(self) -> list[Batch]:
        """Fewer than `accumulate` only at the end of the last epoch."""
        batches = [self.loader.next_batch()]
        while len(batches) < self.options.accumulate:
            if self.options.max_epochs is not None and self.loader.epoch >= self.options.max_epochs:
                break
            batches.append(self.loader.next_batch())
        return batches

    def _read_results(self) -> None:
        """Adds up the steps since the last call.

        Raises Diverged with the first whose loss or gradient is not finite.
        """
        progress = self.progress
        unread, self.unread = self.unread, []
        for step, (result, micro_batches) in enumerate(unread, progress.step - len(unread) + 1):
            loss, norm = result.loss.item(), result.gradient_norm.item()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                examples = self._broken_examples(result, micro_batches)
                raise self._diverged("gradient" if math.isfinite(loss) else "loss", step, examples)
            progress.loss_sum += loss
            progress.num_tokens += result.num_tokens
            progress.trained_tokens += result.num_tokens
            progress.gradient_norm = norm

    def _broken_examples(self, result: StepResult, micro_batches: Sequence[Batch]) -> str:
        """Of the ranks whose own loss is not finite; of all where only the gradient is not."""
        blameless = math.isfinite(result.own_loss.item()) and not math.isfinite(result.loss.item())
        own = [] if blameless else [self.describe(batch) for batch in micro_batches]
        told = [text for of_rank in self.parallel.gather(own) for text in of_rank]
        return "\n".join(told[: len(micro_batches)])

    def _diverged(self, what: str, step: int, examples: str = "") -> Diverged:
        last = self.checkpoints.last(1)
        kept = f"the newest checkpoint, of step {last[0].step:,}, is whole" if last else "nothing was saved yet"
        advice = (
            "what helps, in a new run: a smaller optimizer.lr, a longer schedule.warmup, trainer.clip_norm=1, "
            "trainer.precision=fp32, or taking a broken example out of the data"
        )
        told = [f"the {what} is not finite at step {step:,}; {kept}", examples, advice]
        return Diverged("\n".join(filter(None, told)))

    def _report(self) -> None:
        """One line of numbers on the steps since the last one."""
        self._read_results()
        progress = self.progress
        if not progress.num_tokens:
            return
        values = {
            "train/loss": progress.loss_sum / progress.num_tokens,
            "train/lr": float(self.optimizer.param_groups[0]["lr"]),
            "train/gradient_norm": progress.gradient_norm,
            "train/tokens_per_second": self.timed_tokens / (time.monotonic() - self.timed_from),
            "train/epoch": self.loader.epoch + self.loader.part_of_epoch,
            "train/tokens": float(progress.trained_tokens),
        }
        for reporter in self.reporters:
            reporter.scalars(progress.step, self._seconds(), values)
        self.on_step(progress.step, values)
        progress.loss_sum, progress.num_tokens = 0.0, 0
        self.timed_tokens, self.timed_from = 0, time.monotonic()

    def _validate(self, interrupts: Interrupts) -> bool:
        """Whether the metric is better than ever before. A validation that a signal ends is done again at resume."""
        progress = self.progress
        if self.validator is None or progress.validated_step == progress.step:
            return False
        self._report()
        try:
            metrics, translations = self.validator(lambda: interrupts.pending is not None or bool(interrupts))
        except Interrupted:
            self.parallel.wait()  # and agree on the signal
            return False
        if not math.isfinite(metrics["loss"]):
            raise self._diverged("validation loss", progress.step)
        progress.metrics, progress.validated_step = metrics, progress.step
        value, sign = metrics[self.checkpoints.metric], self.checkpoints.sign
        gained = progress.best is None or sign * value > sign * progress.best
        progress.best = value if gained else progress.best
        progress.validations_without_gain = 0 if gained else progress.validations_without_gain + 1
        values = {f"validation/{name}": number for name, number in metrics.items()}
        if gained:
            values["validation/best"] = 1.0
        shown = translations[: self.options.samples]
        rows = [(e.source, e.target, t.text) for e, t in zip(self.validator.examples, shown, strict=False)]
        maps = self.validator.attention_maps(shown)
        for reporter in self.reporters:
            reporter.scalars(progress.step, self._seconds(), values)
            reporter.samples(progress.step, rows)
            reporter.attention(progress.step, maps)
        judged = self.is_hopeless(progress.step, metrics) if self.parallel.first else None
        self.hopeless = bool(self.parallel.share(judged))
        self.timed_from = time.monotonic()
        self.saved_step = -1  # a checkpoint of this step that is there already lacks these metrics
        return gained

    def _save(self, *, stopgap: bool) -> None:
        """stopgap: no checkpoint would be written here, had no signal come."""
        progress = self.progress
        if self.saved_step == progress.step:
            return
        self._read_results()
        for name, weight in self.model.named_parameters():
            if not self.strategy.whole(weight.detach().isfinite().all()):
                raise self._diverged(f"weight {name}", progress.step)
        metrics = progress.metrics if progress.validated_step == progress.step else {}
        self._seconds()
        training = self.state_dict()
        self.checkpoints.save(progress.step, self.model, training, metrics, stopgap=stopgap, strategy=self.strategy)
        self.parallel.wait()  # until it is there
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
        """All that the next step depends on, but for the weights; tensors and plain values only. Called by all ranks.

        The same for any number of ranks, but for the generators, of which each has its own.
        """
        generators, *others = self.parallel.gather(generators_state(self.device))
        return {
            "progress": vars(self.progress).copy(),
            "optimizer": self.strategy.optimizer_state(self.optimizer),
            "loader": self.loader.state_dict(),
            "generators": generators,
            "generators_of_other_ranks": others,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.saved_step = self.progress.step
        self.strategy.load_optimizer_state(self.optimizer, state["optimizer"])
        self.loader.load_state_dict(state["loader"])
        generators = [state["generators"], *state.get("generators_of_other_ranks", ())]
        if self.parallel.rank < len(generators):  # others begin as they were seeded
            restore_generators(generators[self.parallel.rank], self.device)
