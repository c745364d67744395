"""The sections of a page that show texts: sentences of two systems beside each other, and suspicious outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from seq2seq.reports.comparison import System
from seq2seq.reports.formats import decimal, number_of
from seq2seq.reports.html_tables import cell, row_head, table
from seq2seq.reports.markup import Child, Markup, element, said, together
from seq2seq.reports.ranking import Ranking, shared_config
from seq2seq.reports.sentences import Difference, Grams, Piece, chrf_of_each, compared, grams, largest
from seq2seq.reports.suspicious import KINDS, Suspicion, suspicions

MAX_PAIRS = 11  # of systems whose sentences are embedded
NUM_SENTENCES = 6  # that are shown of a pair, each way
NUM_EXAMPLES = 4  # of suspicious outputs of a kind and a system
MAX_EXAMPLES = 120  # of all
MAX_LETTERS = 1200  # of a text
TITLES = {"empty": "Empty", "copied": "Copied", "repeated": "Repeats itself", "short": "Too short", "long": "Too long"}


def source_language(systems: Sequence[System]) -> str | None:
    """Where all runs agree."""
    found = shared_config(systems).get("data.source")
    return found if isinstance(found, str) else None


def cut(text: str) -> str:
    return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}\u2026"


def sentences_section(ranking: Ranking) -> Markup | None:
    """None where there are not two systems with hypotheses."""
    having = [system for system in ranking.systems if system.hypotheses is not None]
    if len(having) < 2:
        return None
    first = ranking.baseline if ranking.baseline in having else having[0]
    assert first is not None
    others = [system for system in having if system is not first]
    shown = others[:MAX_PAIRS]
    references = [*map(grams, ranking.comparison.references)]
    own = chrf_of_each(first.hypotheses or (), references)
    panels = [_panel(ranking, first, other, own, references, place) for place, other in enumerate(shown)]
    role = "the baseline" if first is ranking.baseline else "the best run"
    lead = element(
        "p",
        f"Where the outputs of {role}, ",
        element("b", ranking.short(first.name)),
        " (A), and of another run (B) differ most, by chrF2 of the sentence: up to ",
        f"{NUM_SENTENCES} sentences that A translates better, and {NUM_SENTENCES} of B. ",
        "Words that A and B do not share are ",
        element("mark", "marked"),
        "; those that the reference has, too, are ",
        element("mark", "underlined", class_="met"),
        ".",
    )
    return together(lead, _choice(ranking, shown, len(others)), *panels)


def _choice(ranking: Ranking, shown: Sequence[System], number: int) -> Markup | None:
    """What B is chosen with."""
    if len(shown) < 2:
        return None
    options = [element("option", ranking.short(system.name), value=f"pair-{i}") for i, system in enumerate(shown)]
    note = f" The {len(shown)} best of {number} runs are here." if number > len(shown) else None
    label = element("label", "B is ", element("select", *options, id="pair", data_panels="pair"))
    return element("p", label, note, class_="controls")


def _panel(
    ranking: Ranking, first: System, other: System, own: Sequence[float], references: Sequence[Grams], place: int
) -> Markup:
    theirs = chrf_of_each(other.hypotheses or (), references)
    by_first, by_other = largest(own, theirs, NUM_SENTENCES)
    better = sum(a > b for a, b in zip(own, theirs, strict=True))
    worse = sum(a < b for a, b in zip(own, theirs, strict=True))
    total = len(own)
    told = (
        f"A is better in {number_of(better, 'sentence')}, B in {worse:,}; in {total - better - worse:,} of {total:,} "
        "they are equally good."
    )
    sides: list[Child] = []
    lead = element("p", "B: ", element("b", ranking.short(other.name)), ". ", told)
    for title, found in (("A is better", by_first), ("B is better", by_other)):
        if found:
            items = [_sentence(ranking, first, other, one) for one in found]
            sides.append(element("details", element("summary", f"{title} ({len(found)})"), *items, open=True))
    return element("div", lead, element("div", *sides, class_="sides"), id=f"pair-{place}", hidden=place > 0)


def _sentence(ranking: Ranking, first: System, other: System, found: Difference) -> Markup:
    comparison = ranking.comparison
    place, language = found.place, comparison.language
    reference = comparison.references[place]
    pair = [(system.hypotheses or ())[place] for system in (first, other)]
    marked = [_marked(compared(pair[i], pair[1 - i], reference), language) for i in (0, 1)]
    rows: list[Child] = []
    if comparison.sources is not None:
        rows += _row("Source", None, said(cut(comparison.sources[place]), source_language(comparison.systems)))
    rows += _row("Reference", None, said(cut(reference), language))
    rows += _row("A", found.first, marked[0])
    rows += _row("B", found.second, marked[1])
    return element("article", element("h3", f"Sentence {place + 1:,}"), element("dl", *rows), class_="sentence")


def _row(term: str, score: float | None, text: Markup) -> list[Markup]:
    told = None if score is None else element("small", f" chrF {decimal(score, 0)}")
    return [element("dt", term, told), element("dd", text)]


def _marked(pieces: Sequence[Piece], language: str) -> Markup:
    if not pieces:
        return element("span", "(empty)", class_="nothing")
    shown: list[Child] = []
    length = 0
    for piece in pieces:
        length += len(piece.text)
        if length > MAX_LETTERS:
            shown.append("\u2026")
            break
        marked = element("mark", piece.text, class_="met" if piece.met else None)
        shown.append(marked if piece.differs else piece.text)
    return element("span", *shown, dir="auto", lang=language, class_="said")


def suspicious_section(ranking: Ranking) -> Markup | None:
    """Counts for all systems, and a few examples; None where there are no hypotheses."""
    comparison = ranking.comparison
    having = [system for system in ranking.systems if system.hypotheses is not None]
    if not having:
        return None
    found = {s.name: suspicions(s.hypotheses or (), comparison.references, comparison.sources) for s in having}
    kinds = [kind for kind in KINDS if comparison.sources is not None or kind != "copied"]
    rows = []
    for system in having:
        counts = Counter(one.kind for one in found[system.name])
        cells = [row_head(element("span", ranking.short(system.name), class_="name"), value=system.name)]
        cells += [cell(f"{counts[kind]:,}", value=counts[kind]) for kind in kinds]
        sentences = len({one.place for one in found[system.name]})
        share = 100 * sentences / max(len(comparison.references), 1)
        cells.append(cell(f"{sentences:,}", element("small", f" {share:.1f}%"), value=sentences))
        rows.append(cells)
    heads = ["Run", *(TITLES[kind] for kind in kinds), "Sentences"]
    caption = "Outputs that look wrong, by kind. Click on a column's head to sort."
    meanings = [together(element("dt", TITLES[kind]), element("dd", f"{KINDS[kind]}.")) for kind in kinds]
    return together(
        element("p", "No judgement, but places to look at. Lengths are in letters, a Han character counting as three."),
        table(caption, heads, rows, sortable=True),
        element("details", element("summary", "What is counted"), element("dl", *meanings, class_="meanings")),
        _examples(ranking, having, found, kinds),
    )


def _examples(
    ranking: Ranking, systems: Sequence[System], found: dict[str, list[Suspicion]], kinds: Sequence[str]
) -> Markup | None:
    """Of each kind, in the order of the systems, as many as there is room for; the same output once."""
    parts = []
    for kind in kinds:
        items: list[Markup] = []
        seen: dict[tuple[int, str], None] = {}
        for system in systems:
            of_system = 0
            for one in found[system.name]:
                text = (system.hypotheses or ())[one.place]
                if one.kind != kind or (one.place, text) in seen or of_system == NUM_EXAMPLES:
                    continue
                seen[one.place, text] = None
                of_system += 1
                if len(items) < MAX_EXAMPLES // len(kinds):
                    items.append(_example(ranking, system, one, text))
        total = sum(one.kind == kind for of_system in found.values() for one in of_system)
        if items:
            told = f"{TITLES[kind]}: {len(items)} of {total:,}" if len(items) < total else f"{TITLES[kind]}: {total:,}"
            parts.append(element("details", element("summary", told), *items))
    return element("div", element("h3", "Examples"), *parts) if parts else None


def _example(ranking: Ranking, system: System, one: Suspicion, text: str) -> Markup:
    comparison = ranking.comparison
    language = comparison.language
    rows: list[Child] = []
    if comparison.sources is not None:
        rows += _row("Source", None, said(cut(comparison.sources[one.place]), source_language(comparison.systems)))
    rows += _row("Reference", None, said(cut(comparison.references[one.place]), language))
    shown = said(cut(text), language) if text.strip() else element("span", "(empty)", class_="nothing")
    rows += _row("Output", None, shown)
    if one.detail:
        rows += _row("Repeated", None, said(one.detail, language))
    title = f"Sentence {one.place + 1:,}, {ranking.short(system.name)}"
    return element("article", element("h4", title), element("dl", *rows), class_="sentence")
