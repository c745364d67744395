"""Learning-rate schedules: functions of the step alone, so that a resumed run has nothing to restore."""

import math
from abc import ABC, abstractmethod

from seq2seq.registry import Family, NonNegativeInt, Probability


class Schedule(ABC):
    """Constructed as `Schedule(max_steps, *, options)`; max_steps is None where training ends by another rule."""

    @abstractmethod
    def factor(self, step: int) -> float:
        """What the optimizer's lr is multiplied by in update number `step`, counted from 1."""


schedules: Family[Schedule] = Family("schedule", Schedule)


@schedules.register("constant")
class Constant(Schedule):
    """The full learning rate after the warm-up; with a cool-down as in Haegele et al. (2024), arXiv:2405.18392.

    Options:
        warmup: steps in which the learning rate grows linearly to its peak
        cooldown: share of trainer.max_steps, the last ones, in which it falls linearly to zero
    """

    def __init__(self, max_steps: int | None, *, warmup: NonNegativeInt = 0, cooldown: Probability = 0.0) -> None:
        if cooldown and max_steps is None:
            raise ValueError("cooldown needs trainer.max_steps")
        self.warmup = warmup
        self.cooldown = cooldown * (max_steps or 0)
        self.max_steps = max_steps or 0

    def factor(self, step: int) -> float:
        return _warm_up(step, self.warmup) * _cool_down(step, self.cooldown, self.max_steps)


@schedules.register("inverse_sqrt")
class InverseSqrt(Schedule):
    """After the warm-up, falls with the square root of the step (Vaswani et al. 2017, arXiv:1706.03762).

    Options:
        warmup: steps in which the learning rate grows linearly to its peak
        cooldown: share of trainer.max_steps, the last ones, in which it falls linearly to zero
    """

    def __init__(self, max_steps: int | None, *, warmup: NonNegativeInt = 4000, cooldown: Probability = 0.0) -> None:
        if cooldown and max_steps is None:
            raise ValueError("cooldown needs trainer.max_steps")
        self.warmup = warmup
        self.cooldown = cooldown * (max_steps or 0)
        self.max_steps = max_steps or 0

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return _warm_up(step, self.warmup)
        return math.sqrt(max(self.warmup, 1) / step) * _cool_down(step, self.cooldown, self.max_steps)


@schedules.register("linear")
class Linear(Schedule):
    """After the warm-up, falls in a straight line that ends at trainer.max_steps.

    Options:
        warmup: steps in which the learning rate grows linearly to its peak
        final: fraction of the peak learning rate in the last step
    """

    def __init__(self, max_steps: int | None, *, warmup: NonNegativeInt = 0, final: Probability = 0.0) -> None:
        self.max_steps = _known_end(max_steps, warmup, "linear")
        self.warmup = warmup
        self.final = final

    def factor(self, step: int) -> float:
        remaining = 1.0 - _progress(step, self.warmup, self.max_steps)
        return _warm_up(step, self.warmup) * (self.final + (1.0 - self.final) * remaining)


@schedules.register("cosine")
class Cosine(Schedule):
    """After the warm-up, falls along half a cosine that ends at trainer.max_steps (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts).

    Options:
        warmup: steps in which the learning rate grows linearly to its peak
        final: fraction of the peak learning rate in the last step
    """

    def __init__(self, max_steps: int | None, *, warmup: NonNegativeInt = 0, final: Probability = 0.0) -> None:
        self.max_steps = _known_end(max_steps, warmup, "cosine")
        self.warmup = warmup
        self.final = final

    def factor(self, step: int) -> float:
        remaining = (1.0 + math.cos(math.pi * _progress(step, self.warmup, self.max_steps))) / 2.0
        return _warm_up(step, self.warmup) * (self.final + (1.0 - self.final) * remaining)


def _known_end(max_steps: int | None, warmup: int, name: str) -> int:
    if max_steps is None:
        raise ValueError(f"{name} needs trainer.max_steps")
    if warmup >= max_steps:
        raise ValueError(f"warmup ({warmup}) must be less than the steps of the run ({max_steps})")
    return max_steps


def _cool_down(step: int, cooldown: float, max_steps: int) -> float:
    """1 until `cooldown` steps before the end, 0 from the end on."""
    return min(max((max_steps - step) / cooldown, 0.0), 1.0) if cooldown else 1.0


def _warm_up(step: int, warmup: int) -> float:
    return step / warmup if step < warmup else 1.0


def _progress(step: int, warmup: int, max_steps: int) -> float:
    """0 until the end of the warm-up, 1 from max_steps on."""
    return min(max((step - warmup) / (max_steps - warmup), 0.0), 1.0)
