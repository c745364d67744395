"""Which score counts first, the systems in its order, and those that are drawn as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.reports.comparison import OF_TEXT_ALONE, Comparison, System
from seq2seq.reports.names import shortener


@dataclass(frozen=True)
class Series:
    """Systems that are drawn alike: one, or a group of seeds. place: its number, which tells its look."""

    label: str
    systems: Sequence[System]
    place: int


def value_of(system: System, name: str) -> float | None:
    """A score; None where it is no finite number."""
    value = system.score(name)
    return value if value is not None and math.isfinite(value) else None


class Ranking:
    """A comparison as it is told: what the scores are called, and what is drawn alike.

    systems: in the comparison's order.  main: the name of the score that it comes from; None where no system has any.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        measured = [name for name in comparison.labels if self._having(name)]
        self.metrics = [name for name in measured if name not in OF_TEXT_ALONE]
        self.main: str | None = next(iter(measured), None)
        self.systems = comparison.systems
        self._short = shortener([system.name for system in comparison.systems])
        self.series = self._series()

    def _having(self, name: str) -> int:
        return sum(value_of(system, name) is not None for system in self.comparison.systems)

    def lower_is_better(self, name: str) -> bool:
        own = OF_TEXT_ALONE.get(name)
        return name in self.comparison.lower_is_better or (own is not None and own.lower_is_better)

    def label(self, name: str) -> str:
        own = OF_TEXT_ALONE.get(name)
        return self.comparison.labels.get(name) or (own.label if own is not None else name)

    def title(self, name: str) -> str:
        """The label at the beginning of a line."""
        label = self.label(name)
        return label.capitalize() if label.islower() else label

    def places(self, name: str) -> int:
        """How many decimals are told."""
        return 3 if name in ("loss", "bits_per_byte") else 2

    def short(self, name: str) -> str:
        """Of a system or a group."""
        return self._short(name)

    @property
    def baseline(self) -> System | None:
        return next((system for system in self.systems if system.name == self.comparison.baseline), None)

    @property
    def best(self) -> System:
        return self.systems[0]

    def _series(self) -> list[Series]:
        """In the order of the systems, a group at the place of its best one."""
        group_of = {system.name: group for group in self.comparison.groups for system in group.systems}
        found: dict[str, tuple[str, list[System]]] = {}
        for system in self.systems:
            group = group_of.get(system.name)
            key, label = (f"group {group.name}", group.name) if group else (f"system {system.name}", system.name)
            found.setdefault(key, (self.short(label), []))[1].append(system)
        return [Series(label, systems, place) for place, (label, systems) in enumerate(found.values())]

    def chosen(self, most: int) -> list[Series]:
        """The first, and that of the baseline, for what would be unreadable of all."""
        first = self.series[:most]
        baseline = self.baseline
        of_baseline = next((one for one in self.series if baseline in one.systems), None) if baseline else None
        if of_baseline is not None and of_baseline not in first:
            first = [*first[: most - 1], of_baseline]
        return first


def shared_config(systems: Sequence[System]) -> dict[str, Any]:
    """What is the same in the configs of all."""
    first = systems[0].config
    return {
        key: value
        for key, value in first.items()
        if all(key in system.config and system.config[key] == value for system in systems[1:])
    }
