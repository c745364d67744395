"""The page that shows a comparison: one HTML file that needs nothing else, now and in years."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq import __version__
from seq2seq.errors import ConfigError, Problem, UserError
from seq2seq.reports import figures, html_tables, texts
from seq2seq.reports.comparison import Comparison, System
from seq2seq.reports.figures import Figures
from seq2seq.reports.formats import decimal, number_of, signed
from seq2seq.reports.markup import Child, Markup, element, json_script, together
from seq2seq.reports.ranking import Ranking, value_of

if TYPE_CHECKING:
    from seq2seq.search.alignment import AttentionMap

FILE = "report.html"
HERE = Path(__file__).parent
VARIED_SHOWN = 60  # keys of the config


def check_plotly() -> None:
    """Raises ConfigError where the library that draws is missing."""
    if find_spec("plotly") is None:
        raise ConfigError(Problem("report", "needs plotly: pip install 'seq2seq[report]'"))


def write_page(
    comparison: Comparison,
    folder: Path,
    attention: Mapping[str, Sequence[AttentionMap]] | None = None,
) -> Path:
    """The file. attention: maps of the same few sentences, by the names of systems."""
    from seq2seq.training.checkpoint import write_replaced

    check_plotly()
    told = page(comparison, attention or {}, date.today())
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_replaced(path, told)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def page(
    comparison: Comparison,
    attention: Mapping[str, Sequence[AttentionMap]],
    made: date,
) -> str:
    """All of the HTML."""
    ranking = Ranking(comparison)
    drawn = Figures()
    sections: list[tuple[str, str, Markup | None]] = [
        ("scores", "Scores", _scores(ranking, drawn)),
        ("training", "Training", figures.curves_section(ranking, drawn)),
        ("settings", "What the settings do", figures.sweep_section(ranking, drawn)),
        ("breakdown", "Long sentences and rare words", figures.breakdown_section(ranking, drawn)),
        ("sentences", "Where two runs differ", texts.sentences_section(ranking)),
        ("attention", "Attention", figures.attention_section(ranking, drawn, attention)),
        ("suspicious", "Suspicious outputs", texts.suspicious_section(ranking)),
        ("config", "Configs", _configs(ranking)),
    ]
    shown = [(key, title, body) for key, title, body in sections if body is not None]
    links = [element("a", title, href=f"#{key}") for key, title, _ in shown]
    main = element("main", *(element("section", element("h2", title), body, id=key) for key, title, body in shown))
    body = [
        element("header", *_head(ranking, made)),
        element("nav", *links, aria_label="Sections") if len(shown) > 1 else None,
        main,
        element("footer", element("p", _made_of(comparison, main.count("<article")))),
    ]
    return _document(_title(comparison), together(*body), drawn)


def _made_of(comparison: Comparison, num_shown: int) -> str:
    """What the page does not hold all of."""
    outputs = sum(len(system.hypotheses) for system in comparison.systems if system.hypotheses is not None)
    texts = f" Of {outputs:,} outputs it shows those of {number_of(num_shown, 'example')}." if outputs else ""
    with_ = " and ".join(f"{name} {version(name)}" for name in ("sacrebleu", "plotly"))
    return f"Made by seq2seq {__version__} with {with_}. This file needs no network.{texts}"


def _title(comparison: Comparison) -> str:
    systems = comparison.systems
    what = systems[0].name if len(systems) == 1 else number_of(len(systems), "run")
    return f"{what} on {comparison.name}"


def _head(ranking: Ranking, made: date) -> list[Markup]:
    comparison = ranking.comparison
    known = [language for language in comparison.languages if language]
    facts = [
        f"{len(comparison.references):,} sentences" if comparison.references else None,
        f"target language{'s' if len(known) > 1 else ''} {', '.join(known)}" if known else None,
        _shared(ranking, "checkpoint", "{} checkpoint"),
        _shared(ranking, "backend", "decoded by {}"),
        f"{made.day} {made:%B %Y}",
    ]
    told = " \u00b7 ".join(fact for fact in facts if fact)
    return [element("h1", _title(comparison)), element("p", told, class_="facts"), _lead(ranking)]


def _shared(ranking: Ranking, key: str, told: str) -> str | None:
    """What scores.json says, where all say the same."""
    found = {str(system.scores.get(key)) for system in ranking.systems}
    return told.format(*found) if len(found) == 1 and found != {"None"} else None


def _lead(ranking: Ranking) -> Markup:
    """The result in a sentence or two."""
    name, best, baseline = ranking.main, ranking.best, ranking.baseline
    value = value_of(best, name) if name is not None else None
    if name is None or value is None:
        return element("p", "Nothing was measured that all runs can be compared by.", class_="lead")
    places = ranking.places(name)
    score: list[Child] = [f"{decimal(value, places)} {ranking.label(name)}", _interval(best, name)]
    if len(ranking.systems) == 1:
        return element("p", *score, ".", class_="lead")
    parts: list[Child] = [element("b", ranking.short(best.name)), " is best with ", *score]
    other = value_of(baseline, name) if baseline is not None and baseline is not best else None
    if other is not None and baseline is not None:
        test = ranking.comparison.tests.get((best.name, name))
        parts.append(f", {signed(value - other, places)} from the baseline {ranking.short(baseline.name)}")
        if test is not None:
            parts.append("; " + ("more than chance" if html_tables.significant(test) else "which may be chance"))
    elif baseline is best:
        parts.append("; it is the baseline")
    return element("p", *parts, ".", class_="lead")


def _interval(system: System, name: str) -> str:
    found = system.interval(name)
    return "" if found is None else f" (95% interval {decimal(found[0], 1)} to {decimal(found[1], 1)})"


def _scores(ranking: Ranking, drawn: Figures) -> Markup:
    place_of = {system.name: one.place for one in ranking.series for system in one.systems}
    table = html_tables.results(ranking, lambda system: figures.look(place_of[system.name]))
    told = "Intervals: where the score of other sentences of the same kind would lie in 95 of 100 cases."
    signed_by = html_tables.signatures(ranking)
    return together(
        figures.scores_figure(ranking, drawn),
        table,
        element("p", told, class_="note") if ranking.metrics else None,
        _faults(ranking.comparison),
        _differences(ranking),
        _groups(ranking),
        element("details", element("summary", "Signatures: what exactly was computed"), signed_by)
        if signed_by
        else None,
    )


def _faults(comparison: Comparison) -> Markup | None:
    """The runs that could not be measured."""
    if not comparison.faults:
        return None
    items = [element("li", element("b", name), ": ", why) for name, why in comparison.faults.items()]
    return together(element("h3", "Not measured"), element("ul", *items))


def _differences(ranking: Ranking) -> Markup | None:
    table = html_tables.differences(ranking)
    if table is None:
        return None
    tests = ranking.comparison.tests
    told = [
        "A p-value says how often a difference at least as large would come up if the two were equally good and only "
        "chance divided them: p = 0.012 in 1.2% of such cases. The first is of paired bootstrap resampling (Koehn "
        "2004), the second of approximate randomisation (Riezler and Maxwell 2005). \u25b2 is better and \u25bc worse "
        "with both below 0.05."
    ]
    if len(tests) >= 10:
        told.append(
            f"Of {len(tests)} comparisons of equally good systems about {round(len(tests) * html_tables.LEVEL)} would "
            "be below 0.05 by chance alone."
        )
    told.append("The tests know of the choice of sentences only, not of the seed: another seed may change as much.")
    return together(element("h3", "Against the baseline"), table, element("p", " ".join(told), class_="note"))


def _groups(ranking: Ranking) -> Markup | None:
    table = html_tables.groups(ranking)
    return None if table is None else together(element("h3", "Means over seeds"), table)


def _configs(ranking: Ranking) -> Markup:
    varied = list(ranking.comparison.varied)
    if len(ranking.systems) == 1:
        return html_tables.shared(ranking.systems)
    if not varied:
        lead = element(
            "p", "The configs of the runs are the same, but for the seed." if ranking.comparison.groups else ""
        )
        return together(lead, html_tables.shared(ranking.systems))
    parts: list[Child] = [html_tables.configs(ranking, varied[:VARIED_SHOWN])]
    if len(varied) > VARIED_SHOWN:
        more = html_tables.configs(ranking, varied[VARIED_SHOWN:])
        parts.append(element("details", element("summary", f"{len(varied) - VARIED_SHOWN} more that differ"), more))
    return together(*parts, html_tables.shared(ranking.systems))


def _document(title: str, body: Markup, drawn: Figures) -> str:
    """With a policy that lets a browser run these scripts and no other, and load nothing at all."""
    from plotly.offline import get_plotlyjs

    style = (HERE / "page.css").read_text(encoding="utf-8")
    own = (HERE / "page.js").read_text(encoding="utf-8")
    scripts = [get_plotlyjs().replace("</script", "<\\/script")] if drawn.charts else []
    scripts.append(own)
    allowed = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; img-src data: blob:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(style)),
    )
    needs = element("noscript", element("p", "Charts and sorting need JavaScript.", class_="note"))
    end = [json_script("charts", drawn.charts), *(element("script", Markup(script)) for script in scripts)]
    html = element("html", head, element("body", needs, body, *end), lang="en")
    return f"<!doctype html>\n{html}\n"


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
