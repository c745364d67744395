"""What is known of several runs that were measured on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Curve:
    """One number of a run while it trained, as `train/loss` or `validation/bleu`; all sequences are equally long.

    seconds: of training, over all starts.  tokens: of the target; None where a run is too old to tell.
    """

    steps: Sequence[int]
    seconds: Sequence[float]
    tokens: Sequence[int | None]
    values: Sequence[float]


@dataclass(frozen=True)
class System:
    """A run, as it was measured.

    name: what it is called here, its path below the folder that all share.  config: the stored one, flat.  scores: what
    scores.json holds.  hypotheses: a line for each example; None of a language model.  tokens_per_second: the median of
    those reported in training; seconds: of training; None where metrics.jsonl is gone.
    """

    name: str
    run: Path
    config: Mapping[str, Any]
    scores: Mapping[str, Any]
    hypotheses: Sequence[str] | None
    num_parameters: int
    seconds: float | None
    tokens_per_second: float | None
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True)
class Significance:
    """Whether a system's score differs from the baseline's by more than chance: the p-values of sacrebleu's paired
    bootstrap resampling and approximate randomisation.
    """

    bootstrap: float
    randomisation: float


@dataclass(frozen=True)
class Group:
    """Runs whose configs differ by trainer.seed alone.

    name: without the seed.  means, deviations: by the names of scores; the latter with n - 1.
    """

    name: str
    systems: Sequence[System]
    means: Mapping[str, float]
    deviations: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """sources: None of text alone.  labels: what people call the scores, by their names.  lower_is_better: those names.
    varied: the keys of the config that differ, but for trainer.seed.  groups: only those of several runs.  baseline: a
    system's name.  tests: by the names of a system and a score; empty without a baseline.
    """

    name: str
    systems: Sequence[System]
    sources: Sequence[str] | None
    references: Sequence[str]
    language: str
    labels: Mapping[str, str]
    lower_is_better: frozenset[str]
    varied: Sequence[str]
    groups: Sequence[Group] = ()
    baseline: str | None = None
    tests: Mapping[tuple[str, str], Significance] = field(default_factory=dict)
