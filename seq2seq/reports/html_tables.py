"""The tables of a page: scores, differences from the baseline, groups of seeds, configs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from seq2seq.reports.comparison import Significance, System
from seq2seq.reports.formats import MISSING, count, decimal, duration, probability, setting, signed
from seq2seq.reports.markup import Child, Markup, element, key_code, together
from seq2seq.reports.ranking import Ranking, Series, shared_config, value_of

LEVEL = 0.05  # of significance
OF_TEXTS = (
    ("bits_per_byte", "Bits", 3, "per byte of text"),
    ("perplexity", "Perplexity", 2, "and loss per token"),
    ("token_accuracy", "Accuracy", 1, "% of tokens"),
)


def table(
    caption: str, heads: Sequence[Child], rows: Iterable[Sequence[Markup]], *, sortable: bool = False, class_: str = ""
) -> Markup:
    """In a box that scrolls by itself where it is too wide. rows: of cells that `cell` and `row_head` made."""
    made = [_head(head, sortable) for head in heads]
    body = [element("tr", *row) for row in rows]
    inner = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", *made)),
        element("tbody", *body),
        class_=f"{'sortable ' if sortable else ''}{class_}".strip() or None,
    )
    box = element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return together(element("p", caption, class_="caption", aria_hidden="true"), box)


def _head(head: Child, sortable: bool) -> Markup:
    if not sortable:
        return element("th", head, scope="col")
    return element("th", element("button", head, type="button"), scope="col")


def cell(*shown: Child, value: float | None = None, class_: str = "number") -> Markup:
    """value: what is sorted by."""
    return element("td", *shown, data_value=value, class_=class_ or None)


def row_head(*shown: Child, value: str | None = None) -> Markup:
    return element("th", *shown, scope="row", data_value=value)


def swatch(place: int, dash: str, symbol: str) -> Markup:
    """The look of a series: a piece of its line, and its mark."""
    dashes = {"solid": None, "dash": "7 3", "dot": "2 3", "longdash": "12 4", "dashdot": "7 3 2 3"}
    lines = dashes.get(dash, dash.replace("px,", " ").replace("px", ""))
    shapes = {
        "circle": "M15 2.5a3.5 3.5 0 1 0 .01 0z",
        "square": "M12 3h6v6h-6z",
        "diamond": "M15 1.5L19.5 6L15 10.5L10.5 6z",
        "triangle-up": "M15 1.5L19 9H11z",
        "triangle-down": "M15 10.5L19 3H11z",
        "x": "M12 3L18 9M18 3L12 9",
    }
    line = element("path", d="M0 6H30", stroke_dasharray=lines)
    mark = element("path", d=shapes[symbol], class_="mark")
    return element("svg", line, mark, class_=f"swatch c{place}", viewBox="0 0 30 12", aria_hidden="true")


def results(ranking: Ranking, swatch_of: Callable[[System], Markup]) -> Markup:
    """All that was measured of each system, the best first."""
    systems = ranking.systems
    own = [one for one in OF_TEXTS if any(value_of(system, one[0]) is not None for system in systems)]
    heads: list[Child] = ["Run", *(_labelled(ranking, name) for name in ranking.metrics)]
    heads += [together(label, " ", element("small", unit)) for _, label, _, unit in own]
    heads += ["Parameters", "Training"]
    heads += [
        together("Training ", element("small", "tokens/s")),
        together("Decoding ", element("small", "sentences/s")),
    ]
    best = {name: _best(ranking, name) for name in [*ranking.metrics, *(name for name, *_ in own)]}
    rows = []
    for system in systems:
        marks = {"baseline": system is ranking.baseline, "ended early": system.ended_early}
        tags = [(" ", element("small", mark, class_="tag")) for mark, is_so in marks.items() if is_so]
        name = element("span", ranking.short(system.name), *tags, class_="name")
        cells = [row_head(element("span", swatch_of(system), name, class_="run"), value=system.name)]
        for score in ranking.metrics:
            cells.append(_score_cell(ranking, system, score, best[score] == value_of(system, score)))
        for score, _, places, _ in own:
            value = value_of(system, score)
            shown = element("b", decimal(value, places)) if value is not None and value == best[score] else None
            loss = system.scores.get("loss") if score == "perplexity" else None
            below = element("small", f"loss {decimal(loss, 3)}", class_="interval") if loss is not None else None
            cells.append(cell(shown or decimal(value, places), below, value=value))
        speed = system.scores.get("sentences_per_second")
        cells += [
            cell(count(system.num_parameters), value=system.num_parameters),
            cell(duration(system.seconds), value=system.seconds),
            cell(count(system.tokens_per_second), value=system.tokens_per_second),
            cell(decimal(speed, 1), value=speed),
        ]
        rows.append(cells)
    with_intervals = any(system.interval(name) for system in systems for name in ranking.metrics)
    what = "Scores, with their 95% intervals." if with_intervals else "Scores."
    return table(what + " Click on a column's head to sort." * (len(rows) > 1), heads, rows, sortable=len(rows) > 1)


def _labelled(ranking: Ranking, name: str) -> Markup:
    """What the score is called, and in which direction it is good where that is not the usual one."""
    lower = element("small", "less is better") if ranking.lower_is_better(name) else None
    return together(ranking.title(name), " " if lower else None, lower)


def _best(ranking: Ranking, name: str) -> float | None:
    values = [value for system in ranking.systems if (value := value_of(system, name)) is not None]
    if len(values) < 2:
        return None
    return min(values) if ranking.lower_is_better(name) else max(values)


def _score_cell(ranking: Ranking, system: System, name: str, is_best: bool) -> Markup:
    value, interval = value_of(system, name), system.interval(name)
    shown: Child = decimal(value)
    told = None
    if interval is not None:
        told = element("small", f"{decimal(interval[0], 1)}\u2013{decimal(interval[1], 1)}", class_="interval")
    return cell(element("b", shown) if is_best else shown, _mark(ranking, system, name), told, value=value)


def significant(found: Significance) -> bool:
    """By both tests."""
    return max(found.bootstrap, found.randomisation) < LEVEL


def _mark(ranking: Ranking, system: System, name: str) -> Markup | None:
    """Whether it is better or worse than the baseline by more than chance."""
    found = ranking.comparison.tests.get((system.name, name))
    difference = _difference(ranking, system, name)
    if found is None or difference is None or not significant(found):
        return None
    better = (difference < 0) == ranking.lower_is_better(name)
    told = "significantly better than the baseline" if better else "significantly worse than the baseline"
    arrow = element("span", "\u25b2" if better else "\u25bc", aria_hidden="true")
    class_ = "better" if better else "worse"
    return element("span", " ", arrow, element("span", told, class_="unseen"), title=told, class_=class_)


def _difference(ranking: Ranking, system: System, name: str) -> float | None:
    own = value_of(system, name)
    other = value_of(ranking.baseline, name) if ranking.baseline is not None else None
    return None if own is None or other is None else own - other


def differences(ranking: Ranking) -> Markup | None:
    """From the baseline, with p-values; None without any."""
    tests = ranking.comparison.tests
    names = [name for name in ranking.metrics if any(score == name for _, score in tests)]
    if not names or ranking.baseline is None:
        return None
    rows = []
    for system in ranking.systems:
        if system is ranking.baseline:
            continue
        cells = [row_head(element("span", ranking.short(system.name), class_="name"), value=system.name)]
        for name in names:
            difference, found = _difference(ranking, system, name), tests.get((system.name, name))
            told = MISSING if difference is None else signed(difference)
            cells.append(cell(told, _mark(ranking, system, name), value=difference))
            if found is None:
                cells.append(cell(MISSING, class_="number small"))
                continue
            pair = f"{probability(found.bootstrap)}, {probability(found.randomisation)}"
            cells.append(cell(pair, value=max(found.bootstrap, found.randomisation), class_="number small"))
        rows.append(cells)
    heads: list[Child] = ["Run"]
    for name in names:
        heads += [_labelled(ranking, name), together("p ", element("small", "bootstrap, randomisation"))]
    caption = f"Differences from the baseline, {ranking.short(ranking.baseline.name)}, and their p-values."
    return table(caption, heads, rows, sortable=True)


def groups(ranking: Ranking) -> Markup | None:
    """Means over seeds; None where no config was trained with several."""
    found = ranking.comparison.groups
    if not found:
        return None
    names = [name for name in ranking.metrics if any(name in group.means for group in found)]
    names += [name for name in ("bits_per_byte", "loss") if any(name in group.means for group in found)]
    heads: list[Child] = ["Config", "Seeds", *(_labelled(ranking, name) for name in names)]
    rows = []
    for group in found:
        cells = [row_head(element("span", ranking.short(group.name), class_="name"), value=group.name)]
        cells.append(cell(str(len(group.systems)), value=len(group.systems)))
        for name in names:
            mean, deviation = (values.get(name, math.nan) for values in (group.means, group.deviations))
            told = element("small", f"\u00b1 {decimal(deviation, ranking.places(name))}", class_="interval")
            value = None if math.isnan(mean) else mean
            shown = None if math.isnan(deviation) else told
            cells.append(cell(decimal(mean, ranking.places(name)), shown, value=value))
        rows.append(cells)
    caption = "Means over the seeds of a config, and the standard deviation between seeds (with n \u2212 1)."
    return table(caption, heads, rows, sortable=True)


def signatures(ranking: Ranking) -> Markup | None:
    """What exactly was computed: each signature once, with the scores that have it."""
    found: dict[str, list[str]] = {}
    for name in ranking.metrics:
        for system in ranking.systems:
            score = system.scores.get(name)
            if isinstance(score, Mapping) and score.get("signature"):
                labels = found.setdefault(str(score["signature"]), [])
                if ranking.label(name) not in labels:
                    labels.append(ranking.label(name))
    if not found:
        return None
    items = [
        element("li", element("b", ", ".join(labels)), " ", element("code", told)) for told, labels in found.items()
    ]
    return element("ul", *items, class_="signatures")


def configs(ranking: Ranking, keys: Sequence[str]) -> Markup:
    """The keys that differ, a row each; a column for each series of systems."""
    columns = ranking.series
    rows = []
    for key in keys:
        cells = [row_head(key_code(key))]
        for one in columns:
            cells.append(cell(_values(one, key), class_="setting"))
        rows.append(cells)
    return table(
        "Settings that differ between the runs.", ["Setting", *(one.label for one in columns)], rows, class_="texts"
    )


def _values(one: Series, key: str) -> str:
    told = [setting(system.config[key]) if key in system.config else MISSING for system in one.systems]
    return ", ".join(dict.fromkeys(told))


def shared(systems: Sequence[System]) -> Markup:
    """What all have, folded away."""
    found: Mapping[str, Any] = shared_config(systems)
    rows = [[row_head(key_code(key)), cell(setting(value), class_="setting")] for key, value in found.items()]
    title = f"All {len(found)} settings" if len(systems) == 1 else f"{len(found)} settings that all share"
    inner = table(title, ["Setting", "Value"], rows, class_="texts")
    return element("details", element("summary", title), inner)
