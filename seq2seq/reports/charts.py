"""Charts as plotly.js reads them: plain dictionaries, whose colours are names that our style sheet knows.

A colour `@name` is the custom property `--name`. Beside `data` and `layout` a chart has what our own script reads:
`series`, the number of each trace's series (its legend hides it), and `axes`, the x values to choose from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.reports.breakdown import Bin
from seq2seq.reports.comparison import Curve, System
from seq2seq.reports.formats import decimal, setting
from seq2seq.reports.markup import chart_text
from seq2seq.reports.ranking import Ranking, Series, value_of
from seq2seq.reports.sweep import Aspect

Chart = dict[str, Any]

NUM_COLOURS = 7  # with 6 dashes 42 looks, and neighbours differ in both
DASHES = ("solid", "dash", "dot", "longdash", "dashdot", "5px,3px,1px,3px,1px,3px")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down")
NUM_SHADES = 5
ROW = 40  # pixels of a system in a chart of rows
CELL = 24  # pixels of a token
MAX_TOKENS = 40  # of a side of an attention map
MAX_LETTERS = 24  # of a token
DIGITS = 5  # that are embedded of a number


def colour(place: int) -> str:
    return f"@s{place % NUM_COLOURS}"


def dash(place: int) -> str:
    return DASHES[place % len(DASHES)]


def symbol(place: int) -> str:
    return SYMBOLS[place % len(SYMBOLS)]


def rounded(value: float | None) -> float | None:
    """As it is embedded; what is no number is nothing."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _layout(**changes: Any) -> dict[str, Any]:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": "closest",
        "margin": {"l": 52, "r": 12, "t": 8, "b": 44},
        "font": {"size": 13, "color": "@muted"},
        "hoverlabel": {"bgcolor": "@raised", "bordercolor": "@line", "font": {"color": "@ink", "size": 13}},
    } | changes


def _axis(title: str = "", **changes: Any) -> dict[str, Any]:
    return {
        "title": {"text": chart_text(title), "standoff": 8, "font": {"size": 13}},
        "gridcolor": "@grid",
        "linecolor": "@line",
        "tickcolor": "@line",
        "zeroline": False,
        "automargin": True,
    } | changes


def thinned(curve: Curve, most: int) -> list[int]:
    """The places of at most so many points, evenly chosen, with the first and the last."""
    number = len(curve.values)
    if number <= most:
        return list(range(number))
    return sorted({round(place * (number - 1) / (most - 1)) for place in range(most)})


def time_unit(seconds: float) -> tuple[float, str]:
    """What times up to there are divided by, and its name."""
    if seconds < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def curves(name: str, ranking: Ranking, places: str, most: int) -> Chart:
    """A number of all runs while they trained. places: as d3 formats it.  most: points of each run."""
    drawn = [(one, system) for one in ranking.series for system in one.systems if name in system.curves]
    unit, unit_name = time_unit(max(max(system.curves[name].seconds, default=0.0) for _, system in drawn))
    data, steps, times, tokens = [], [], [], []
    for one, system in drawn:
        curve = system.curves[name]
        kept = thinned(curve, most)
        look: Chart = {"line": {"color": colour(one.place), "dash": dash(one.place), "width": 2}, "mode": "lines"}
        if len(kept) < 3:
            look |= {"mode": "lines+markers", "marker": {"color": colour(one.place), "symbol": symbol(one.place)}}
        told = f"{chart_text(ranking.short(system.name))}<br>%{{y:{places}}} at %{{x}}<extra></extra>"
        data.append({"type": "scatter", "y": [rounded(curve.values[i]) for i in kept], "hovertemplate": told, **look})
        steps.append([curve.steps[i] for i in kept])
        times.append([rounded(curve.seconds[i] / unit) for i in kept])
        tokens.append([curve.tokens[i] for i in kept])
    axes = {
        "steps": {"title": "updates", "x": steps},
        "time": {"title": f"{unit_name} of training", "x": times},
        "tokens": {"title": "target tokens trained on", "x": tokens},
    }
    layout = _layout(xaxis=_axis("updates"), yaxis=_axis(nticks=6))
    if name.endswith("loss"):
        layout["yaxis"]["range"] = _without_beginning([trace["y"] for trace in data])
    return {"data": data, "layout": layout, "axes": axes, "series": [one.place for one, _ in drawn]}


def _without_beginning(curves: Sequence[Sequence[float | None]]) -> list[float] | None:
    """The range of losses without the first tenth of each curve, beside which the rest would look flat."""
    later = [[value for value in curve[len(curve) // 10 :] if value is not None] for curve in curves]
    values = [value for curve in later for value in curve]
    if not values:
        return None
    room = 0.05 * (max(values) - min(values)) or 0.05
    return [min(values) - room, max(values) + room]


def intervals(ranking: Ranking, name: str, systems: Sequence[System]) -> Chart:
    """A score of systems with its interval, a row each, the name above the mark, or beside it where there is room."""
    series_of = {system.name: one for one in ranking.series for system in one.systems}
    having = [(series_of[system.name], system) for system in systems if value_of(system, name) is not None]
    values = [value_of(system, name) or 0.0 for _, system in having]
    bounds = [system.interval(name) or (value, value) for (_, system), value in zip(having, values, strict=True)]
    places = ranking.places(name)
    rows = [-row for row in range(len(having))]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": rows,
        "text": [
            f"{chart_text(ranking.short(system.name))}<br>{_told(value, bound, places)}"
            for (_, system), value, bound in zip(having, values, bounds, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "size": 10,
            "color": [colour(one.place) for one, _ in having],
            "symbol": [symbol(one.place) for one, _ in having],
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for value, (_, high) in zip(values, bounds, strict=True)],
            "arrayminus": [value - low for value, (low, _) in zip(values, bounds, strict=True)],
            "color": "@muted",
            "thickness": 1.5,
            "width": 4,
        },
    }
    labels = [
        {"text": f"{chart_text(_shortened(ranking.short(system.name), 44))}  <b>{decimal(value, places)}</b>"}
        | {"x": 0, "xref": "paper", "xanchor": "left", "y": row, "yshift": 15, "showarrow": False}
        | {"font": {"color": "@ink", "size": 13}, "bgcolor": "@paper", "borderpad": 1}
        for (_, system), value, row in zip(having, values, rows, strict=True)
    ]
    layout = _layout(
        xaxis=_axis(ranking.title(name), nticks=6),
        yaxis=_axis(visible=False, range=[rows[-1] - 0.5, 0.9], fixedrange=True),
        margin={"l": 8, "r": 12, "t": 4, "b": 44},
        annotations=labels,
    )
    baseline = ranking.baseline
    if baseline is not None and value_of(baseline, name) is not None:
        line = {"color": "@muted", "width": 1.5, "dash": "dot"}
        at = value_of(baseline, name)
        layout["shapes"] = [{"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}]
    return {"data": [marks], "layout": layout, "height": ROW * len(having) + 60, "rows": True}


def _told(value: float, bound: tuple[float, float], places: int) -> str:
    if bound[0] == bound[1]:
        return decimal(value, places)
    return f"{decimal(value, places)} ({decimal(bound[0], places)} to {decimal(bound[1], places)})"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def by_bin(lines: Sequence[tuple[Series, Sequence[float]]], bins: Sequence[Bin], x: str, y: str, sizes: str) -> Chart:
    """A line for each series over bins, whose sizes are told below them."""
    places = list(range(len(bins)))
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": places,
            "y": [rounded(value) for value in values],
            "line": {"color": colour(one.place), "dash": dash(one.place), "width": 2},
            "marker": {"color": colour(one.place), "symbol": symbol(one.place), "size": 8},
            "text": [f"{chart_text(one.label)}<br>{x} {found.label}: {found.size:,} {sizes}" for found in bins],
            "hovertemplate": f"%{{text}}<br>{chart_text(y)} %{{y:.2f}}<extra></extra>",
        }
        for one, values in lines
    ]
    ticks = {"tickvals": places, "ticktext": [found.label for found in bins], "range": [-0.3, len(bins) - 0.7]}
    ticks["autotickangles"] = [0, -40]
    layout = _layout(xaxis=_axis(x, **ticks), yaxis=_axis(y, nticks=6))
    return {"data": data, "layout": layout, "series": [one.place for one, _ in lines]}


def of_aspect(aspect: Aspect, systems: Sequence[System], ranking: Ranking, name: str) -> Chart:
    """A score against what was varied, a mark for each system, and the mean of each value as a dash."""
    label = chart_text(ranking.label(name))
    pairs = [
        (system, value, value_of(system, name) or 0.0) for system, value in zip(systems, aspect.values, strict=True)
    ]
    place_of = {system.name: one.place for one in ranking.series for system in one.systems}
    places = [float(value) if aspect.is_numeric else aspect.place_of(value) for _, value, _ in pairs]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": places,
        "y": [rounded(score) for _, _, score in pairs],
        "text": [f"{chart_text(ranking.short(s.name))}<br>{chart_text(setting(value))}" for s, value, _ in pairs],
        "hovertemplate": f"%{{text}}<br>{label} %{{y:.{ranking.places(name)}f}}<extra></extra>",
        "marker": {
            "size": 9,
            "opacity": 0.85,
            "color": [colour(place_of[system.name]) for system, _, _ in pairs],
            "symbol": [symbol(place_of[system.name]) for system, _, _ in pairs],
        },
    }
    choices = sorted(set(places))
    means = [
        float(np.mean([score for place, (_, _, score) in zip(places, pairs, strict=True) if place == choice]))
        for choice in choices
    ]
    dashes = {
        "type": "scatter",
        "mode": "markers",
        "x": choices,
        "y": [rounded(mean) for mean in means],
        "hovertemplate": f"mean %{{y:.{ranking.places(name)}f}}<extra></extra>",
        "marker": {"symbol": "line-ew", "size": 26, "line": {"width": 2, "color": "@ink"}},
    }
    told = _names([*aspect.choices])
    axis: dict[str, Any] = {"tickvals": choices, "ticktext": [chart_text(_shortened(text, 18)) for text in told]}
    if aspect.is_logarithmic:
        low, high = math.log10(choices[0]), math.log10(choices[-1])
        axis |= {"type": "log", "range": [low - 0.12 * (high - low), high + 0.12 * (high - low)]}
    elif not aspect.is_numeric:
        axis["range"] = [-0.5, len(choices) - 0.5]
    axis["autotickangles"] = [0, -40]
    if aspect.is_numeric and len(choices) > 6:
        axis = {key: value for key, value in axis.items() if key not in ("tickvals", "ticktext")}
    layout = _layout(xaxis=_axis(_last_words(aspect), **axis), yaxis=_axis(ranking.title(name), nticks=6))
    return {"data": [dashes, marks], "layout": layout}


def _names(values: Sequence[Any]) -> list[str]:
    """Of values of a config; of paths the ends, where these are enough."""
    told = [setting(value) for value in values]
    ends = [text.rstrip("/").rsplit("/", 1)[-1] for text in told]
    return ends if len({*ends}) == len({*told}) else told


def _last_words(aspect: Aspect) -> str:
    """The scale is told where it is not the usual one."""
    return f"{aspect.label} (log scale)" if aspect.is_logarithmic else aspect.label


def parallel(found: Sequence[Aspect], systems: Sequence[System], ranking: Ranking, name: str) -> Chart:
    """A line for each system through its values and its score, darker the better it is."""
    scores = [value_of(system, name) or 0.0 for system in systems]
    low, high = min(scores), max(scores)
    order = sorted(range(len(systems)), key=lambda i: scores[i], reverse=ranking.lower_is_better(name))
    shade = {i: rank * NUM_SHADES // len(order) for rank, i in enumerate(order)}
    jitter = {i: 0.04 * (rank / max(len(order) - 1, 1) - 0.5) for rank, i in enumerate(order)}
    data = []
    for i in order:
        heights = [_height(aspect, aspect.values[i]) + jitter[i] for aspect in found]
        own = [f"{chart_text(aspect.key)}: {chart_text(setting(aspect.values[i]))}" for aspect in found]
        score = f"{chart_text(ranking.label(name))} {decimal(scores[i], ranking.places(name))}"
        told = "<br>".join([chart_text(ranking.short(systems[i].name)), *own, score])
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(found) + 1)),
                "y": [rounded(height) for height in [*heights, (scores[i] - low) / (high - low or 1)]],
                "line": {"color": f"@q{shade[i]}", "width": 1.5 + 0.5 * shade[i]},
                "marker": {"color": f"@q{shade[i]}", "size": 5},
                "hovertemplate": f"{told}<extra></extra>",
            }
        )
    ends = [(decimal(score, ranking.places(name)), place) for score, place in ((low, 0.0), (high, 1.0))]
    ticks = []
    for aspect in found:
        values = _told_values(aspect)
        ticks.append([(text, _height(aspect, v)) for text, v in zip(_names(values), values, strict=True)])
    labels = [_tick(text, place, height) for place, of_axis in enumerate([*ticks, ends]) for text, height in of_axis]
    titles = [aspect.key.removesuffix(".name").rsplit(".", 1)[-1] for aspect in found]
    doubled = [aspect.key if titles.count(title) > 1 else title for aspect, title in zip(found, titles, strict=True)]
    layout = _layout(
        xaxis={"range": [-0.05, len(found) + 0.7], "visible": False, "fixedrange": True},
        yaxis={"range": [-0.08, 1.25], "visible": False, "fixedrange": True},
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        annotations=[*labels, *(_title(text, place) for place, text in enumerate([*doubled, ranking.title(name)]))],
        shapes=[
            {"type": "line", "x0": x, "x1": x, "y0": -0.04, "y1": 1.04, "line": {"color": "@line", "width": 1}}
            for x in range(len(found) + 1)
        ],
    )
    return {"data": data, "layout": layout, "height": 380, "min_width": 130 * (len(found) + 1)}


def _told_values(aspect: Aspect) -> list[Any]:
    choices = aspect.choices
    return choices if len(choices) <= 8 else [choices[0], choices[-1]]


def _height(aspect: Aspect, value: Any) -> float:
    """0 to 1; numbers by their size, others in the order in which they come."""
    choices = aspect.choices
    if not aspect.is_numeric:
        return aspect.place_of(value) / max(len(choices) - 1, 1)
    scale = math.log if aspect.is_logarithmic else float
    low, high = scale(choices[0]), scale(choices[-1])
    return (scale(value) - low) / (high - low or 1)


def _tick(text: str, place: int, height: float) -> Chart:
    return {
        "text": chart_text(_shortened(text, 20)),
        "x": place,
        "y": height,
        "xanchor": "left",
        "xshift": 6,
        "showarrow": False,
        "bgcolor": "@veil",
        "font": {"color": "@ink", "size": 12},
    }


def _title(text: str, place: int) -> Chart:
    shown = f"<b>{chart_text(_shortened(text, 18))}</b>"
    font = {"color": "@ink", "size": 13}
    return {"text": shown, "x": place, "y": 1.16, "xanchor": "left", "xshift": -2, "showarrow": False, "font": font}


def attention(weights: NDArray[np.float32], source: Sequence[str], target: Sequence[str]) -> Chart:
    """A row for each target token, a column for each source token, darker where more was read."""
    rows, columns = weights.shape
    data = {
        "type": "heatmap",
        "z": [[rounded(float(round(float(weight), 3))) for weight in row] for row in weights],
        "x": list(range(columns)),
        "y": list(range(rows)),
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "colorscale": [[0, "@h0"], [0.5, "@h1"], [1, "@h2"]],
        "showscale": False,
        "text": [[f"{_token(t)} \u2190 {_token(s)}" for s in source] for t in target],
        "hovertemplate": "%{text}: %{z:.2f}<extra></extra>",
    }
    top = {"tickvals": list(range(columns)), "ticktext": [*map(_token, source)], "side": "top", "tickangle": -50}
    top["ticklabeloverflow"] = "allow"
    left = {"tickvals": list(range(rows)), "ticktext": [*map(_token, target)], "autorange": "reversed"}
    shown = {
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "tickfont": {"color": "@ink", "size": 13},
    }
    layout = _layout(xaxis=top | shown, yaxis=left | shown, margin={"l": 20, "r": 70, "t": 20, "b": 8})
    return {
        "data": [data],
        "layout": layout,
        "height": CELL * rows + 130,
        "min_width": CELL * columns + 190,
        "max_width": CELL * columns + 230,
    }


def _token(text: str) -> str:
    return chart_text(_shortened(text, MAX_LETTERS))
