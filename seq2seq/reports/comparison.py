"""What is known of several runs that were measured on the same examples."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seq2seq.errors import DataError
from seq2seq.metrics.base import Kind, Metric, metrics
from seq2seq.metrics.scores import OF_THE_MODEL
from seq2seq.reports.names import without_hash
from seq2seq.training.run_dir import is_free

if TYPE_CHECKING:
    from seq2seq.metrics.sacrebleu import BySacrebleu

OF_TEXT_ALONE = {  # what language models are compared by, the first where it does not depend on the tokenizer
    "bits_per_byte": Kind("bits/byte", lower_is_better=True),
    **OF_THE_MODEL,
}
SEED = "trainer.seed"
IN_EACH_BATCH = "trainer.devices"  # a later start may have others, but the batch of an update grows with their number
OF_AVERAGES = ("trainer.average", "trainer.average_of")


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
    scores.json holds.  hypotheses: a line for each example; None of a language model.  num_parameters: of the
    whole model, or of what is stored of a run that has not ended yet; None of a pretrained model as it is.
    tokens_per_second: the median of those reported in training; seconds: of training; None where metrics.jsonl is gone.
    ended_early: by a search, which took it for hopeless.
    """

    name: str
    run: Path
    config: Mapping[str, Any]
    scores: Mapping[str, Any]
    hypotheses: Sequence[str] | None
    num_parameters: int | None
    seconds: float | None
    tokens_per_second: float | None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    ended_early: bool = False

    def score(self, name: str) -> float | None:
        """None where it was not measured."""
        found = self.scores.get(name)
        value = found.get("score") if isinstance(found, Mapping) else found
        return float(value) if isinstance(value, int | float) else None

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95% interval of a score, where there is one."""
        found = self.scores.get(name)
        if not isinstance(found, Mapping) or found.get("low") is None:
            return None
        return float(found["low"]), float(found["high"])


@dataclass(frozen=True)
class Significance:
    """Whether a system's score differs from the baseline's by more than chance: the p-values of sacrebleu's paired
    bootstrap resampling and approximate randomisation.
    """

    bootstrap: float
    randomisation: float


@dataclass(frozen=True)
class Group:
    """Runs whose configs differ by trainer.seed alone, without those that a search ended early.

    name: without the seed.  means, deviations: by the names of scores, nan where one is not finite; the latter
    with n - 1.
    """

    name: str
    systems: Sequence[System]
    means: Mapping[str, float]
    deviations: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """systems: the best by the first score first.  sources: None of text alone.  languages: of the parts of the
    references, each once, '' where it is not known.  labels: what people call the scores, by their names.
    lower_is_better: those names.  varied: the keys of the config that differ, but for trainer.seed and those that
    cannot matter.  groups: only those of several runs.  baseline: a system's name.  tests: by the names of a system and
    a score; none of scores that were computed otherwise than the baseline's, or of the same texts.  faults: why runs
    were not measured, by their names.
    """

    name: str
    systems: Sequence[System]
    sources: Sequence[str] | None
    references: Sequence[str]
    languages: Sequence[str]
    labels: Mapping[str, str]
    lower_is_better: frozenset[str]
    varied: Sequence[str]
    groups: Sequence[Group] = ()
    baseline: str | None = None
    tests: Mapping[tuple[str, str], Significance] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def language(self) -> str:
        """Of all references; '' where there are several."""
        return self.languages[0] if len(self.languages) == 1 else ""


def compare(
    systems: Sequence[System],
    references: Sequence[str],
    sources: Sequence[str] | None = None,
    *,
    baseline: str | None = None,
    faults: Mapping[str, str] | None = None,
    num_jobs: int | None = None,
    on_done: Callable[[int], object] = lambda number: None,
) -> Comparison:
    """Of systems that were measured on the same examples. baseline: the name of one that the others are tested against.

    num_jobs, on_done: of these tests, as of `paired_tests`. Raises DataError for systems with other references.
    """
    _check_references(systems)
    labels, lower_is_better = _labels(systems), _lower_is_better(systems)
    ordered = best_first(systems, labels, lower_is_better)
    tests = {}
    if (base := next((system for system in systems if system.name == baseline), None)) is not None:
        tests = _tests(base, [system for system in ordered if system is not base], references, num_jobs, on_done)
    return Comparison(
        name=str(systems[0].scores["name"]),
        systems=ordered,
        sources=sources,
        references=references,
        languages=systems[0].scores["languages"],
        labels=labels,
        lower_is_better=frozenset(name for name in labels if name in lower_is_better),
        varied=varied_keys(systems),
        groups=sorted(_groups(systems, labels), key=lambda group: _place(group.means, labels, lower_is_better)),
        baseline=baseline if base is not None else None,
        tests=tests,
        faults=faults or {},
    )


def best_first(systems: Sequence[System], labels: Mapping[str, str], lower_is_better: Collection[str]) -> list[System]:
    """By the first score, where that is the same by the next ones; those without it last."""
    return sorted(systems, key=lambda s: _place({name: s.score(name) for name in labels}, labels, lower_is_better))


def _place(values: Mapping[str, float | None], names: Iterable[str], lower_is_better: Collection[str]) -> list[float]:
    found = [(values.get(name), 1 if name in lower_is_better else -1) for name in names]
    return [math.inf if value is None or not math.isfinite(value) else sign * value for value, sign in found]


def _check_references(systems: Sequence[System]) -> None:
    found = {system.name: system.scores["examples"]["references"] for system in systems}
    others = [name for name, digest in found.items() if digest != found[systems[0].name]]
    if others:
        told = f"{', '.join(others)}: measured on other references than {systems[0].name}"
        raise DataError(f"{told}, so they cannot be compared")


def _labels(systems: Sequence[System]) -> dict[str, str]:
    """Of the scores, those first that most systems have."""
    labels: dict[str, str] = {}
    number: Counter[str] = Counter()
    for system in systems:
        own = {
            name: str(v["label"]) for name, v in system.scores.items() if isinstance(v, Mapping) and "signature" in v
        }
        if not own:
            own = {name: kind.label for name, kind in OF_TEXT_ALONE.items() if system.score(name) is not None}
        for name, label in own.items():
            labels.setdefault(name, label)
        number.update(own.keys())
    return {name: labels[name] for name in sorted(labels, key=lambda name: -number[name])}


def _lower_is_better(systems: Sequence[System]) -> set[str]:
    of_text = {name for name, kind in OF_TEXT_ALONE.items() if kind.lower_is_better}
    return of_text.union(*(system.scores.get("lower_is_better", ()) for system in systems))


def varied_keys(systems: Sequence[System]) -> list[str]:
    """In the order of the configs."""
    keys = dict.fromkeys(key for system in systems for key in system.config if _matters(key, systems))
    return [key for key in keys if len({_told(system.config.get(key)) for system in systems}) > 1]


def _matters(key: str, systems: Sequence[System]) -> bool:
    """Whether other scores than those of chance can come of it."""
    if key in OF_AVERAGES:
        return any(system.scores.get("checkpoint") == "average" for system in systems)
    return key == IN_EACH_BATCH or (key != SEED and not is_free(key))


def _told(value: Any) -> str:
    """Of values that may be lists; an option that an older version did not have is as one without a value."""
    return json.dumps(value, sort_keys=True, default=str)


def _groups(systems: Sequence[System], labels: Mapping[str, str]) -> Iterator[Group]:
    """Of a seed that several runs of a group have, the first counts: the others are copies."""
    alike: dict[str, dict[str, System]] = {}
    for system in systems:
        if system.ended_early:
            continue
        rest = {k: v for k, v in system.config.items() if _matters(k, systems) and v is not None}
        alike.setdefault(_told(rest), {}).setdefault(_told(system.config.get(SEED)), system)
    several = [list(group.values()) for group in alike.values() if len(group) > 1]
    names = [_group_name([system.name for system in group]) for group in several]
    for group, name in zip(several, names, strict=True):
        scores = {label: [system.score(label) for system in group] for label in labels}
        whole = {label: [v for v in values if v is not None] for label, values in scores.items() if None not in values}
        yield Group(
            name=name if names.count(name) == 1 else ", ".join(system.name for system in group),
            systems=group,
            means={label: _of_finite(statistics.fmean, values) for label, values in whole.items()},
            deviations={label: _of_finite(statistics.stdev, values) for label, values in whole.items()},
        )


def _of_finite(function: Callable[[Sequence[float]], float], values: Sequence[float]) -> float:
    """nan where one of them is no finite number, which `statistics` cannot calculate with."""
    return function(values) if all(map(math.isfinite, values)) else math.nan


def _group_name(names: Sequence[str]) -> str:
    """What the names have in common, without a word for the seed at its end."""
    without = {re.sub(rf"(^|,){re.escape(SEED)}=[^,]*", "", without_hash(name)).lstrip(",") for name in names}
    if len(without) == 1 and (name := without.pop()):
        return name
    alike = takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    return re.sub(r"[-_.,/ ]*(seed|s)?[-_.=/ ]*$", "", shared) or ", ".join(names)


def _tests(
    baseline: System,
    others: Sequence[System],
    references: Sequence[str],
    num_jobs: int | None,
    on_done: Callable[[int], object],
) -> dict[tuple[str, str], Significance]:
    """None where the scores are means of several parts, or not of sacrebleu."""
    from seq2seq.metrics.sacrebleu import BySacrebleu
    from seq2seq.metrics.significance import paired_tests

    def alike(system: System, key: str) -> bool:
        """Whether a score is computed as that of the baseline."""
        ours, theirs = _signature(baseline, key), _signature(system, key)
        return ours is not None and ours == theirs

    if not _is_of_one_part(baseline):
        return {}
    tested = {system.name: system for system in others if _is_of_one_part(system)}
    made = metrics_of(
        baseline,
        lambda key, component: (
            issubclass(component, BySacrebleu) and any(alike(system, key) for system in tested.values())
        ),
    )
    if not made:
        return {}
    found = paired_tests(
        baseline.hypotheses or (),
        {name: system.hypotheses or () for name, system in tested.items()},
        references,
        cast("dict[str, BySacrebleu]", made),
        baseline.scores["languages"][0],
        num_jobs=num_jobs,
        on_done=on_done,
    )
    return {
        (name, key): Significance(values.bootstrap, values.randomisation)
        for name, by_metric in found.items()
        for key, values in by_metric.items()
        if alike(tested[name], key)
    }


def _is_of_one_part(system: System) -> bool:
    """Whether its scores are those of all its hypotheses together, and there are any."""
    return system.hypotheses is not None and "parts" not in system.scores


def _signature(system: System, key: str) -> str | None:
    found = system.scores.get(key)
    return found.get("signature") if isinstance(found, Mapping) else None


def metrics_of(system: System, wanted: Callable[[str, type[Metric]], bool]) -> dict[str, Metric]:
    """Those that it was measured by, as they were then, by their keys; without those that cannot be had here.

    wanted: by the key and the class, of those that are imported.
    """
    found = {}
    for key, options in (system.scores.get("metrics") or {}).items():
        component = metrics.components.get((options or {}).get("name", key))
        if options is None or component is None or not wanted(key, component):
            continue
        try:
            found[key] = component(**{name: value for name, value in options.items() if name != "name"})
        except (TypeError, ValueError):  # an option of another version, a tokenizer that is not installed
            continue
    return found
