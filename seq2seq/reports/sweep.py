"""What a sweep varied, and how much of the scores that explains."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.reports.comparison import SEED, System

DERIVED = "model.architecture."  # what is inside a pretrained model, which follows from its path


@dataclass(frozen=True)
class Aspect:
    """A key of the config, and those that always vary together with it.  values: of each system; None is absent."""

    key: str
    others: Sequence[str]
    values: Sequence[Any]

    @property
    def label(self) -> str:
        return f"{self.key} +{len(self.others)}" if self.others else self.key

    @property
    def is_numeric(self) -> bool:
        """Whether all values are finite numbers, which have places on an axis."""
        return all(
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            for value in self.values
        )

    @property
    def is_logarithmic(self) -> bool:
        """Whether the largest is 8 times the smallest or more."""
        return self.is_numeric and min(self.values) > 0 and max(self.values) >= 8 * min(self.values)

    @property
    def choices(self) -> list[Any]:
        """The different values: numbers in their order, others as they come."""
        found = {_identity(value): value for value in self.values}
        return sorted(found.values()) if self.is_numeric else list(found.values())

    def place_of(self, value: Any) -> int:
        """Among the choices."""
        return [*map(_identity, self.choices)].index(_identity(value))


@dataclass(frozen=True)
class Importance:
    """share: of the variance of the scores, that which lies between the values of the aspect (one-way analysis of
    variance, eta squared).  by_chance: what an aspect without any effect would have on average.
    """

    aspect: Aspect
    share: float
    by_chance: float

    @property
    def beyond_chance(self) -> float:
        """Of what chance leaves to be explained (epsilon squared): what aspects of few and many values rank by."""
        return (self.share - self.by_chance) / (1 - self.by_chance)


def aspects(systems: Sequence[System], varied: Sequence[str]) -> list[Aspect]:
    """Keys that divide the systems in the same way, as all the sizes of two architectures do, are one aspect, which has
    the name of the one nearest to the root.
    """
    found: dict[tuple[int, ...], list[str]] = {}
    for key in varied:
        division = _division([_identity(system.config.get(key)) for system in systems])
        if key != SEED and not key.startswith(DERIVED) and max(division, default=0) > 0:
            found.setdefault(division, []).append(key)
    made = []
    for keys in found.values():
        first = min(keys, key=lambda key: (not key.endswith(".name"), key.count("."), keys.index(key)))
        others = [key for key in keys if key != first]
        made.append(Aspect(first, others, [system.config.get(first) for system in systems]))
    return made


def _identity(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _division(values: Sequence[str]) -> tuple[int, ...]:
    """The same numbers for the same values, counted as they come."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(value, len(seen)) for value in values)


def importance(found: Sequence[Aspect], scores: Sequence[float]) -> list[Importance]:
    """What explains most beyond chance first, without aspects of which each system has another value, which tell
    nothing; none where the scores are all the same.
    """
    number = len(scores)
    mean = sum(scores) / number if number else 0.0
    total = sum((score - mean) ** 2 for score in scores)
    if number < 3 or total <= 0:
        return []
    told = []
    for aspect in found:
        parts: dict[str, list[float]] = {}
        for value, score in zip(aspect.values, scores, strict=True):
            parts.setdefault(_identity(value), []).append(score)
        if len(parts) == number:
            continue
        between = sum(len(part) * (sum(part) / len(part) - mean) ** 2 for part in parts.values())
        told.append(Importance(aspect, between / total, (len(parts) - 1) / (number - 1)))
    return sorted(told, key=lambda one: -one.beyond_chance)
