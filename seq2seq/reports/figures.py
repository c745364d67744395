"""The sections of a page that are charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seq2seq.reports import charts
from seq2seq.reports.breakdown import ByFrequency, by_frequency, by_length
from seq2seq.reports.charts import Chart
from seq2seq.reports.comparison import System
from seq2seq.reports.formats import decimal, number_of
from seq2seq.reports.html_tables import cell, row_head, swatch, table
from seq2seq.reports.markup import Child, Markup, element, key_code, together
from seq2seq.reports.ranking import Ranking, Series, value_of
from seq2seq.reports.sweep import Importance, aspects, importance

if TYPE_CHECKING:
    from seq2seq.search.alignment import AttentionMap

MAX_ROWS = 20  # of the chart of scores
MAX_SERIES = 8  # of a chart by length or frequency
MAX_SYSTEMS = 24  # that such a chart reads
MAX_POINTS = 200  # of a curve
ALL_POINTS = 24_000  # of all curves
MAX_MAPS = 6  # of attention
MAX_SCATTERS = 6
MAX_SHARES = 8  # of settings that are told without being asked for
MAX_AXES = 6  # of parallel coordinates
HEIGHT = 300  # pixels of a usual chart
LOSSES = (("validation/loss", "Validation loss", "nats per token"), ("train/loss", "Training loss", "nats per token"))


class Figures:
    """The charts of a page, by the ids of their places."""

    def __init__(self) -> None:
        self.charts: dict[str, Chart] = {}

    def add(self, chart: Chart, title: str, summary: str, *caption: Child) -> Markup:
        """summary: what is told to those who do not see it."""
        identity = f"chart-{len(self.charts)}"
        self.charts[identity] = chart
        sizes = {"height": chart.pop("height", HEIGHT)}
        sizes |= {key.replace("_", "-"): chart.pop(key) for key in ("min_width", "max_width") if key in chart}
        style = ";".join(f"{key}:{value}px" for key, value in sizes.items())
        plot = element("div", id=identity, class_="plot", role="img", aria_label=f"{title}. {summary}", style=style)
        told = element("figcaption", element("strong", title), " ", element("span", *caption))
        return element("figure", told, element("div", plot, class_="scroll"))


def look(place: int) -> Markup:
    return swatch(place % charts.NUM_COLOURS, charts.dash(place), charts.symbol(place))


def legend(series: Sequence[Series]) -> Markup | None:
    """Hides and shows the series in the charts of its section; of one there is nothing to choose."""
    if len(series) < 2:
        return None
    buttons = [
        element("button", look(one.place), one.label, type="button", aria_pressed="true", data_series=one.place)
        for one in series
    ]
    every = [element("button", word, type="button", data_all=word.lower()) for word in ("All", "None")]
    whole = element("span", *every, class_="every") if len(series) > 3 else None
    return element("div", *buttons, whole, class_="legend", role="group", aria_label="Runs that are shown")


def scores_figure(ranking: Ranking, figures: Figures) -> Markup | None:
    """None of a single system."""
    name = ranking.main
    if name is None or len(ranking.systems) < 2:
        return None
    label = ranking.title(name)
    direction = "lower is better" if ranking.lower_is_better(name) else "higher is better"
    summary = f"{ranking.short(ranking.best.name)} is best with {decimal(value_of(ranking.best, name))}."
    baseline = ranking.baseline
    shown = ranking.systems[:MAX_ROWS]
    number = len(ranking.systems)
    which = "each run" if len(shown) == number else f"the {len(shown)} best of {number} runs"
    if baseline is not None and baseline not in shown:
        shown = [*shown, baseline]
        which += " and of the baseline"
    interval = " with its 95% interval" if ranking.best.interval(name) else ""
    told = f"of {which}{interval}; {direction}."
    if baseline is not None:
        told += " The dotted line is the baseline."
    return figures.add(charts.intervals(ranking, name, shown), label, summary, told)


def curves_section(ranking: Ranking, figures: Figures) -> Markup | None:
    """None where no run has a curve."""
    shown = [(f"validation/{name}", f"Validation {ranking.label(name)}", "") for name in ranking.metrics]
    shown = [one for one in [*shown, *LOSSES] if any(one[0] in system.curves for system in ranking.systems)]
    if not shown:
        return None
    number = sum(name in system.curves for name, *_ in shown for system in ranking.systems)
    most = max(20, min(MAX_POINTS, ALL_POINTS // number))
    parts = []
    for name, title, unit in shown:
        lower = name.endswith("loss") or ranking.lower_is_better(name.removeprefix("validation/"))
        places = ".3f" if name.endswith("loss") else ".2f"
        chart = charts.curves(name, ranking, places, most)
        parts.append(figures.add(chart, title, _ends(ranking, name, lower), unit))
    having = [one for one in ranking.series if any(s.curves for s in one.systems)]
    lead = "Runs that differ by their seed alone have the same look." if ranking.comparison.groups else None
    high = "Losses of the beginning may lie above a chart; a double click shows all." if _has_losses(shown) else None
    longest = max(len(c.values) for s in ranking.systems for c in s.curves.values())
    cut = f"Of each curve at most {most} points are shown." if longest > most else None
    return together(
        element("p", " ".join(filter(None, (lead, high, cut)))) if lead or high or cut else None,
        _axis_choice(ranking, [name for name, *_ in shown]),
        legend(having),
        element("div", *parts, class_="grid"),
    )


def _has_losses(shown: Sequence[tuple[str, str, str]]) -> bool:
    return any(name.endswith("loss") for name, *_ in shown)


def _ends(ranking: Ranking, name: str, lower: bool) -> str:
    """The best value of each run, in words."""
    told = []
    for system in ranking.systems[:10]:
        if name in system.curves and (values := [v for v in system.curves[name].values if np.isfinite(v)]):
            best = min(values) if lower else max(values)
            told.append(f"{ranking.short(system.name)} {decimal(best)}")
    return f"Best values: {', '.join(told)}."


def _axis_choice(ranking: Ranking, names: Sequence[str]) -> Markup:
    """What the curves are drawn over. Tokens only where a run can tell them."""
    curves = [system.curves[name] for system in ranking.systems for name in names if name in system.curves]
    telling = [all(number is not None for number in curve.tokens) for curve in curves]
    choices = [("steps", "Updates"), ("time", "Time"), *([("tokens", "Tokens")] if any(telling) else [])]
    radios = [
        element(
            "label",
            element("input", type="radio", name="x-axis", value=value, checked=value == "steps"),
            element("span", label),
        )
        for value, label in choices
    ]
    note = None
    if any(telling) and not all(telling):
        note = element("small", " Older runs, which do not know their tokens, are not drawn over them.")
    return element("fieldset", element("legend", "Over"), *radios, note, class_="choice")


def sweep_section(ranking: Ranking, figures: Figures) -> Markup | None:
    """None where nothing but the seed varies, or less than three runs have a score."""
    name = ranking.main
    systems = [s for s in ranking.systems if name is not None and value_of(s, name) is not None]
    found = aspects(systems, ranking.comparison.varied)
    if name is None or len(systems) < 3 or not found:
        return None
    scores = [value_of(system, name) or 0.0 for system in systems]
    told = importance(found, scores)
    order = [one.aspect for one in told]
    order += [aspect for aspect in found if aspect not in order]
    label = ranking.label(name)
    vary = "1 setting that varies" if len(found) == 1 else f"{len(found)} settings that vary"
    lead = f"{number_of(len(systems), 'run')}, {vary}, against {label}"
    if any(aspect.others for aspect in found):
        lead += ". Settings that always change together are one; +3 means three more, listed at the end of the page"
    if len(found) >= len(systems):
        lead += ". So many settings differ that these runs cannot tell which of them matters"
    parts: list[Child] = [element("p", f"{lead}.")]
    if len(found) > 1:
        parallel = charts.parallel(order[:MAX_AXES], systems, ranking, name)
        caption = "the more a line stands out, the better the run."
        summary = f"The best run: {ranking.short(systems[0].name)}."
        parts.append(figures.add(parallel, "All settings at once", summary, caption))
    scatters = [
        figures.add(
            charts.of_aspect(aspect, systems, ranking, name),
            aspect.label,
            f"{label} by {aspect.key}.",
            "a mark for each run, a dash for the mean.",
        )
        for aspect in order[:MAX_SCATTERS]
    ]
    parts.append(element("div", *scatters, class_="grid"))
    if told:
        parts.append(_importance(told, len(systems), label))
    return together(*parts)


def _importance(found: Sequence[Importance], number: int, label: str) -> Markup:
    rows = []
    for one in found:
        share, chance = 100 * one.share, 100 * one.by_chance
        bar = element(
            "span",
            element("span", class_="fill", style=f"width:{share:.1f}%"),
            element("span", class_="chance", style=f"left:{min(chance, 100):.1f}%"),
            class_="bar",
            aria_hidden="true",
        )
        cells = [row_head(key_code(one.aspect.label), value=one.aspect.label), cell(bar, class_="wide")]
        rows.append([*cells, cell(f"{share:.0f}%", value=share), cell(f"{chance:.0f}%", value=chance)])
    title = f"Share of the variance of {label} that each setting explains by itself."
    heads = ["Setting", "", "Explained", "By chance"]
    told = (
        "Runs are divided by the value of one setting; the share is that part of the variance of their scores which "
        "lies between the means of the divisions (one-way analysis of variance). A setting without any effect would "
        f"explain the share under By chance, the tick on its bar, on average of {number} runs: only what is clearly "
        "above it says something. Settings of which each run has another value are left out. Shares of settings that "
        "work together, or were not varied evenly, need not add up to 100%."
    )
    parts = [table(title, heads, rows[:MAX_SHARES], class_="bars")]
    if len(rows) > MAX_SHARES:
        more = table("The others.", heads, rows[MAX_SHARES:], class_="bars")
        parts.append(element("details", element("summary", f"{len(rows) - MAX_SHARES} more settings"), more))
    return together(element("h3", "Which setting matters"), *parts, element("p", told, class_="note"))


def breakdown_section(ranking: Ranking, figures: Figures) -> Markup | None:
    """None where there are no hypotheses."""
    chosen: list[tuple[Series, list[System]]] = []
    read = 0
    for one in ranking.chosen(MAX_SERIES):
        systems = [s for s in one.systems if s.hypotheses is not None][: MAX_SYSTEMS - read]
        read += len(systems)
        if systems:
            chosen.append((one, systems))
    if not chosen:
        return None
    systems = [system for _, of_series in chosen for system in of_series]
    parts = []
    lengths = by_length(ranking, systems)
    if lengths is not None and len(lengths.bins) > 1:
        lines = [(one, _mean([lengths.scores[s.name] for s in of_series])) for one, of_series in chosen]
        chart = charts.by_bin(lines, lengths.bins, "words of the source", lengths.label, "sentences")
        title = f"{lengths.label} by the length of the source"
        sizes = ", ".join(f"{one.label} words {one.size:,}" for one in lengths.bins)
        parts.append(figures.add(chart, title, _lines(lines, lengths.label), f"Sentences: {sizes}."))
    hypotheses = {system.name: system.hypotheses or () for system in systems}
    frequencies = by_frequency(ranking.comparison.references, hypotheses)
    if frequencies is not None:
        parts.append(_by_frequency(frequencies, chosen, figures))
    if not parts:
        return None
    left_out = len(ranking.series) - len(chosen)
    told = []
    if any(len(of_series) > 1 for _, of_series in chosen):
        told.append("Lines are means over seeds.")
    if left_out > 0:
        among = ", the baseline among them" if ranking.baseline is not None else ""
        told.append(f"Of {len(ranking.series)} configs {len(chosen)} are shown, the best ones{among}.")
    lead = element("p", " ".join(told)) if told else None
    return together(lead, legend([one for one, _ in chosen]), element("div", *parts, class_="grid"))


def _by_frequency(found: ByFrequency, chosen: Sequence[tuple[Series, list[System]]], figures: Figures) -> Markup:
    made = []
    explained = {
        "Recall": "of the words in the references, how many the outputs have, in %",
        "F1": "the harmonic mean of recall and of how many words of the outputs are right, in %",
    }
    for title, values in (("Recall", found.recall), ("F1", found.f1)):
        lines = [(one, _mean([values[s.name] for s in of_series])) for one, of_series in chosen]
        chart = charts.by_bin(lines, found.bins, "times a word is in the references", title, "words of the references")
        told = f"{explained[title]}, by how often a word is in the references; case and order do not count."
        made.append(figures.add(chart, f"{title} of rare and frequent words", _lines(lines, title), told))
    return together(*made)


def _mean(values: Sequence[Sequence[float]]) -> list[float]:
    return [float(mean) for mean in np.mean(np.array(values), axis=0)]


def _lines(lines: Sequence[tuple[Series, Sequence[float]]], label: str) -> str:
    told = [f"{one.label} from {decimal(v[0], 1)} to {decimal(v[-1], 1)}" for one, v in lines]
    return f"{label} from the first bin to the last: {'; '.join(told)}."


def attention_section(
    ranking: Ranking, figures: Figures, attention: Mapping[str, Sequence[AttentionMap]]
) -> Markup | None:
    """Those of a sentence beside each other, the first sentence open; None where none is given."""
    sentences: list[list[Markup]] = []
    for name, maps in attention.items():
        for number, one in enumerate(maps[:MAX_MAPS]):
            if number == len(sentences):
                sentences.append([])
            if one.source and one.target:
                sentences[number].append(_map(figures, one, ranking.short(name), f"sentence {number + 1}"))
    parts = [
        element("details", element("summary", f"Sentence {number}"), element("div", *maps, class_="maps"), open=not i)
        for i, (number, maps) in enumerate((n, maps) for n, maps in enumerate(sentences, 1) if maps)
    ]
    if not parts:
        return None
    lead = "How much of each source token (above) was read while a target token (left) was written: "
    scale = element("span", "0 ", element("span", class_="scale"), " 1")
    return together(element("p", lead, scale), *parts)


def _map(figures: Figures, one: AttentionMap, name: str, sentence: str) -> Markup:
    source, target = one.source[: charts.MAX_TOKENS], one.target[: charts.MAX_TOKENS]
    weights = one.weights(charts.MAX_TOKENS)
    most = [source[place] for place in weights.argmax(axis=1)]
    told = "; ".join(f"{t} reads {s}" for t, s in zip(target, most, strict=True))
    cut = len(one.source) > len(source) or len(one.target) > len(target)
    caption = f"The first {charts.MAX_TOKENS} tokens of each side." if cut else ""
    return figures.add(charts.attention(weights, source, target), name, f"Attention of {sentence}: {told}.", caption)
