"""A comparison as plain text, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from seq2seq.reports.comparison import Comparison, System
from seq2seq.reports.formats import count, duration
from seq2seq.reports.names import shortener

SURE = 0.05  # p-values below it are marked
MANY = 5  # tests, of which one may come below it by chance
ABSENT = "-"
WIDTH = 40  # of names
PLACES = {"bits_per_byte": 3, "loss": 3}


def text(comparison: Comparison) -> str:
    """The runs, best first; below them those that were repeated with other seeds, and tests against the baseline."""
    blocks = [_title(comparison), _runs(comparison)]
    if comparison.groups:
        blocks.append(_groups(comparison))
    if comparison.baseline is not None:
        blocks.append([*_tests(comparison), *_meaning(comparison)])
    blocks.append([*signatures(comparison)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _title(comparison: Comparison) -> list[str]:
    told = {str(system.scores["checkpoint"]) for system in comparison.systems}
    checkpoint = f", checkpoint {told.pop()}" if len(told) == 1 else ""
    number = len(comparison.systems)
    runs = f"{number} run{'s' if number > 1 else ''}"
    return [f"{comparison.name}: {len(comparison.references):,} sentences, {runs}{checkpoint}"]


def _runs(comparison: Comparison) -> list[str]:
    shorten = shortener([*(system.name for system in comparison.systems), *comparison.faults], WIDTH)
    with_interval = [n for n in comparison.labels if any(system.interval(n) for system in comparison.systems)]
    head = ["run"]
    for name, label in comparison.labels.items():
        head += [label, "+-"] if name in with_interval else [label]
    translated = any("sentences_per_second" in system.scores for system in comparison.systems)
    rows = [[*head, "params", "time", "tok/s", *(["sent/s"] if translated else [])]]
    for system in comparison.systems:
        row = [marked(system, shorten)]
        for name in comparison.labels:
            row.append(number(system.score(name), PLACES.get(name, 2)))
            if name in with_interval:
                row.append(number(half_width(system, name), 1))
        row += [count(system.num_parameters, ABSENT), duration(system.seconds, ABSENT)]
        row.append(count(system.tokens_per_second, ABSENT))
        row += [number(system.scores.get("sentences_per_second"), 1)] if translated else []
        rows.append(row)
    width = max(len(shorten(name)) for name in comparison.faults) if comparison.faults else 0
    lines = _aligned(rows, width)
    width = max(width, *(len(row[0]) for row in rows))
    for name, fault in comparison.faults.items():
        lines.append(shortened(f"{shorten(name):<{width}} not measured: {fault}"))
    legend = ["+-: half of the 95% interval."] if with_interval else []
    legend.append("time, tok/s: of training, target tokens.")
    return [*lines, "", "  ".join(legend), *(["sent/s: of translating."] if translated else [])]


def marked(system: System, shorten: Callable[[str], str]) -> str:
    """The name, and whether a search ended the run early."""
    return f"{shorten(system.name)}{' (ended early)' if system.ended_early else ''}"


def _groups(comparison: Comparison) -> list[str]:
    shorten = shortener([group.name for group in comparison.groups], WIDTH)
    rows = [["mean over seeds", "runs", *(cell for label in comparison.labels.values() for cell in (label, "sd"))]]
    for group in comparison.groups:
        row = [shorten(group.name), str(len(group.systems))]
        for name in comparison.labels:
            places = PLACES.get(name, 2)
            row += [number(group.means.get(name), places), number(group.deviations.get(name), places)]
        rows.append(row)
    return [*_aligned(rows), "", "sd: standard deviation between seeds (n - 1)."]


def _tests(comparison: Comparison) -> list[str]:
    """A line for each run but the baseline."""
    shorten = shortener([system.name for system in comparison.systems], WIDTH)
    base = next(system for system in comparison.systems if system.name == comparison.baseline)
    names = [name for name in comparison.labels if any(name == tested for _, tested in comparison.tests)]
    if not names:
        return [f"No p-values against {shorten(base.name)}: {_why_none(comparison, base)}."]
    head = [cell for name in names for cell in (comparison.labels[name], "p bs", "p ar")]
    rows = [["run", *head]]
    for system in comparison.systems:
        if system is base:
            continue
        row = [shorten(system.name)]
        for name in names:
            test = comparison.tests.get((system.name, name))
            row.append(signed(difference(system, base, name)))
            row += [ABSENT, ABSENT] if test is None else [p_value(test.bootstrap), p_value(test.randomisation)]
        rows.append(row)
    return [f"differences to {shorten(base.name)}, and their p-values", *_aligned(rows)]


def _why_none(comparison: Comparison, base: System) -> str:
    if "parts" in base.scores:
        return "its scores are means of several parts"
    others = [system for system in comparison.systems if system is not base]
    if others and all(system.hypotheses == base.hypotheses for system in others):
        return "all texts are the same" if base.hypotheses is not None else "they are of BLEU, chrF and TER"
    return "they are of BLEU, chrF and TER, where both are measured alike"


def _meaning(comparison: Comparison) -> Iterator[str]:
    """In plain sentences."""
    if not comparison.tests:
        return
    example = next(iter(comparison.tests.values())).bootstrap
    yield ""
    yield "bs: paired bootstrap, ar: approximate randomisation, by sacrebleu.  * p < 0.05"
    yield from meaning(example)
    yield from cautions(comparison)


def meaning(p: float) -> Iterator[str]:
    """Of a p-value."""
    yield f"p = {p:.3f} means: were the two equally good, a difference as large as this"
    yield f"would come up by chance, on sentences like these, in {100 * p:.1f}% of cases."


def cautions(comparison: Comparison) -> Iterator[str]:
    """What p-values do not tell."""
    tested = {name for name, _ in comparison.tests}
    if len(tested) >= MANY:
        yield f"With {len(tested)} runs, a mark or two may be chance: of equally good ones 1 in 20 gets it."
    if not comparison.groups:
        yield "No run was repeated with another trainer.seed: a difference may be one of seeds,"
        yield "which these tests cannot see."


def signatures(comparison: Comparison) -> Iterator[str]:
    """Each once, with the scores that it is of, and with the runs where those of others differ."""
    shorten = shortener([system.name for system in comparison.systems], WIDTH)
    lines: dict[str, list[str]] = {}
    for name, label in comparison.labels.items():
        of: dict[str, list[str]] = {}
        for system in comparison.systems:
            score = system.scores.get(name)
            if isinstance(score, dict):
                of.setdefault(score["signature"], []).append(shorten(system.name))
        for signature, having in of.items():
            told = f"  of {', '.join(having)}" if len(of) > 1 else ""
            lines.setdefault(f"{signature}{told}", []).append(label)
    for line, labels in lines.items():
        yield f"{', '.join(labels)}|{line}"


def half_width(system: System, name: str) -> float | None:
    """Of a score's interval."""
    interval = system.interval(name)
    half = math.nan if interval is None else (interval[1] - interval[0]) / 2
    return half if math.isfinite(half) else None


def difference(system: System, baseline: System, name: str) -> float | None:
    """Of two scores, where there are both."""
    ours, theirs = system.score(name), baseline.score(name)
    return None if ours is None or theirs is None else ours - theirs


def number(value: float | None, places: int) -> str:
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:,.{places}f}" if abs(value) < 1e6 else f"{value:.1e}"


def signed(value: float | None) -> str:
    return ABSENT if value is None or math.isnan(value) else f"{value:+.2f}"


def p_value(value: float) -> str:
    """Marked where it is small."""
    told = f"{value:.3f}" if value >= 0.0005 else "<.001"
    return f"{told}{'*' if value < SURE else ' '}"


def shortened(line: str, width: int = 80) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _aligned(rows: Sequence[Sequence[str]], first: int = 0) -> list[str]:
    """The first column to the left, the others to the right. first: the least width of the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[0] = max(widths[0], first)
    lines = []
    for row in rows:
        cells = [f"{cell:>{width + 1}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"{row[0]:<{widths[0]}}{''.join(cells)}".rstrip())
    return lines
