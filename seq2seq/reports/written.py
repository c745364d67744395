"""A comparison as a file: Markdown for people, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seq2seq.metrics.scores import OF_THE_MODEL
from seq2seq.reports.comparison import SEED, Comparison, System
from seq2seq.reports.formats import count, duration
from seq2seq.reports.names import shortener
from seq2seq.reports.tables import (
    ABSENT,
    PLACES,
    cautions,
    difference,
    half_width,
    marked,
    meaning,
    number,
    p_value,
    signatures,
    signed,
)

WITHOUT_TRANSLATING = (*OF_THE_MODEL, "word_perplexity", "byte_perplexity", "bits_per_byte")


def markdown(comparison: Comparison) -> str:
    """As GitHub shows it."""
    number_of = len(comparison.systems)
    blocks = [
        [
            f"{_cell(comparison.name)}: {len(comparison.references):,} sentences, {number_of} runs, best first; "
            "\u00b1 is half of the 95% interval. Time and tokens/s (of the target) are of training."
        ],
        [*_runs(comparison)],
    ]
    if comparison.groups:
        blocks += [["Means over seeds \u00b1 standard deviation (n - 1):"], [*_groups(comparison)]]
    if comparison.tests:
        example = next(iter(comparison.tests.values())).bootstrap
        base = _cell(shortener([system.name for system in comparison.systems])(str(comparison.baseline)))
        told = "with p-values of sacrebleu's paired bootstrap and approximate randomisation; \\* p < 0.05."
        blocks += [
            [f"Differences to {base}, {told}"],
            [*_tests(comparison)],
            [" ".join([*meaning(example), *cautions(comparison)])],
        ]
    blocks.append([f"- `{line}`" for line in signatures(comparison)])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _runs(comparison: Comparison) -> Iterator[str]:
    shorten = shortener([*(system.name for system in comparison.systems), *comparison.faults])
    head = [*comparison.labels.values(), "parameters", "time", "tokens/s", "sentences/s"]
    yield from _head("run", head)
    for system in comparison.systems:
        cells = []
        for name in comparison.labels:
            half = half_width(system, name)
            told = number(system.score(name), PLACES.get(name, 2))
            cells.append(told if half is None else f"{told} \u00b1 {half:.2f}")
        cells += [count(system.num_parameters, ABSENT), duration(system.seconds, ABSENT)]
        cells.append(count(system.tokens_per_second, ABSENT))
        cells.append(number(system.scores.get("sentences_per_second"), 1))
        yield _row(marked(system, shorten), cells)
    for name, fault in comparison.faults.items():
        yield _row(shorten(name), [f"not measured: {fault}", *[""] * (len(head) - 1)])


def _groups(comparison: Comparison) -> Iterator[str]:
    shorten = shortener([group.name for group in comparison.groups])
    yield from _head("seeds of", ["runs", *comparison.labels.values()])
    for group in comparison.groups:
        cells = [str(len(group.systems))]
        for name in comparison.labels:
            told = number(group.means.get(name), PLACES.get(name, 2))
            known = not math.isnan(group.deviations.get(name, math.nan))
            cells.append(f"{told} \u00b1 {number(group.deviations[name], PLACES.get(name, 2))}" if known else told)
        yield _row(shorten(group.name), cells)


def _tests(comparison: Comparison) -> Iterator[str]:
    shorten = shortener([system.name for system in comparison.systems])
    names = [name for name in comparison.labels if any(name == tested for _, tested in comparison.tests)]
    base = next(system for system in comparison.systems if system.name == comparison.baseline)
    head = [cell for name in names for cell in (comparison.labels[name], "p (bootstrap)", "p (randomisation)")]
    yield from _head("run", head)
    for system in comparison.systems:
        if system is base:
            continue
        cells = []
        for name in names:
            test = comparison.tests.get((system.name, name))
            values = [ABSENT, ABSENT] if test is None else [p_value(test.bootstrap), p_value(test.randomisation)]
            cells += [signed(difference(system, base, name)), *(value.strip() for value in values)]
        yield _row(shorten(system.name), cells)


def _head(first: str, others: list[str]) -> Iterator[str]:
    yield _row(first, others)
    yield f"|---|{'--:|' * len(others)}"


def _row(name: str, cells: list[str]) -> str:
    return f"| {' | '.join(map(_cell, [name, *cells]))} |"


def _cell(told: str) -> str:
    """Text as it is: a bar would end the cell, and underscores and stars make italics."""
    for mark in "\\`*_|<[":
        told = told.replace(mark, f"\\{mark}")
    return " ".join(told.split())


def comma_separated(comparison: Comparison) -> str:
    """A row a run, with all that is known of it; one that was not measured has a fault."""
    rows = [_finite(_values(comparison, system)) for system in comparison.systems]
    rows += [{"name": name, "fault": fault} for name, fault in comparison.faults.items()]
    columns = dict.fromkeys(key for row in rows for key in row)
    file = io.StringIO()
    writer = csv.DictWriter(file, [*columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _values(comparison: Comparison, system: System) -> dict[str, Any]:
    scores = system.scores
    row: dict[str, Any] = {"name": system.name, "run": str(system.run), "checkpoint": scores["checkpoint"]}
    row["step"] = " ".join(map(str, scores["steps"]))
    for name in comparison.labels:
        low, high = system.interval(name) or (None, None)
        row[name] = system.score(name)
        if name not in WITHOUT_TRANSLATING:
            row |= {f"{name}_low": low, f"{name}_high": high}
        if comparison.baseline is not None and name not in WITHOUT_TRANSLATING:
            test = comparison.tests.get((system.name, name))
            row[f"{name}_p_bootstrap"] = None if test is None else test.bootstrap
            row[f"{name}_p_randomisation"] = None if test is None else test.randomisation
    row |= {name: system.score(name) for name in WITHOUT_TRANSLATING}
    row |= {
        "parameters": system.num_parameters,
        "training_seconds": system.seconds,
        "training_tokens_per_second": system.tokens_per_second,
        "sentences_per_second": scores.get("sentences_per_second"),
        "ended_early": _plain(system.ended_early),
        "fault": None,
    }
    seeds = [SEED] if len({str(other.config.get(SEED)) for other in comparison.systems}) > 1 else []
    return row | {key: _plain(system.config.get(key)) for key in (*comparison.varied, *seeds)}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict | bool) else value


def as_json(comparison: Comparison) -> str:
    """All of the comparison but the hypotheses. Groups name their systems; tests are by system and score."""
    tree = asdict(comparison)
    for system in tree["systems"]:
        del system["hypotheses"]
        system["run"] = str(system["run"])
    for group in tree["groups"]:
        group["systems"] = [system["name"] for system in group["systems"]]
    tests: dict[str, dict[str, Any]] = {}
    for (system, score), test in comparison.tests.items():
        tests.setdefault(system, {})[score] = asdict(test)
    tree |= {"tests": tests, "lower_is_better": sorted(comparison.lower_is_better)}
    return json.dumps(_finite(tree), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _finite(tree: Any) -> Any:
    """JSON has no nan and no inf, and spreadsheets take them for words."""
    if isinstance(tree, Mapping):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


FORMATS: Mapping[str, Callable[[Comparison], str]] = {
    ".md": markdown,
    ".csv": comma_separated,
    ".json": as_json,
}


def format_of(path: Path) -> Callable[[Comparison], str] | None:
    """By the ending; None for one that is not known."""
    return FORMATS.get(path.suffix.lower())
