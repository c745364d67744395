"""The page as a whole: what it says, that it needs nothing else, and that texts stay texts."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.util
import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq.errors import ConfigError, UserError
from seq2seq.reports import page as pages
from seq2seq.reports.comparison import Comparison, Group
from seq2seq.reports.ranking import Ranking
from seq2seq.search.alignment import AttentionMap

from .comparisons import comparison, curves, sweep, system

EVIL = "<script>alert(1)</script>"
PLOTLY = "/* the library */"


class Read(HTMLParser):
    """What a browser makes of a page: elements with their attributes, texts, scripts; every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in ("meta", "br", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(f"{text} " for text in self.texts).split())

    @property
    def charts(self) -> dict[str, Any]:
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get("id") == "charts")

    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.elements if tag == "section"]


@pytest.fixture(autouse=True)
def small_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one is 5 MB; it is looked at once below."""
    pytest.importorskip("plotly")
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: PLOTLY)


def write(told: Comparison, folder: Path, **changes: Any) -> Read:
    path = pages.write_page(told, folder / "new" / "folder", **changes)
    assert path == folder / "new" / "folder" / "report.html"
    return Read(path.read_text(encoding="utf-8"))


def attention() -> list[AttentionMap]:
    weights = np.eye(3, 4, dtype=np.float32)
    return [AttentionMap(["\u2581a", "b", EVIL, "</s>"], ["x", "y", "</s>"], [weights], [0, 1, 2, -1], [0, 1, -1])]


def test_a_sweep_has_all_sections_in_their_order(tmp_path: Path) -> None:
    told = sweep()
    read = write(told, tmp_path, attention={told.systems[0].name: attention()})
    assert read.sections() == ["scores", "training", "settings", "sentences", "attention", "suspicious", "config"]
    assert "8 runs on test" in read.text
    assert "transformer lr=0.01 seed=2 is best with 34.00 BLEU (95% interval 33.0 to 35.0)" in read.text
    assert "+7.50 from the baseline lstm lr=0.001 seed=1; more than chance." in read.text


def test_long_texts_are_broken_down_by_length_and_frequency(tmp_path: Path) -> None:
    sources = ["one two three"] * 10 + ["a source of many more words than three , at least twelve"] * 10
    references = ["eins zwei"] * 10 + ["drei drei vier"] * 20
    told = comparison(
        [system("a", hypotheses=references[:20]), system("b", 20.0, hypotheses=references[:20])],
        sources=sources,
        references=references[:20],
    )
    read = write(told, tmp_path)
    assert "breakdown" in read.sections()
    assert "BLEU by the length of the source" in read.text
    assert "by how often a word is in the references" in read.text


WITHOUT: dict[str, Any] = {"hypotheses": None}
NO_NUMBERS = curves((float("nan"), float("inf"), 1.0))
ODD = {
    "one": comparison([system("mine")], varied=[]),
    "two": comparison([system("a"), system("b", 20.0)], baseline="a"),
    "without hypotheses": comparison(
        [system("a", None, hypotheses=None), system("b", None, hypotheses=None)], labels={}
    ),
    "of text alone": comparison([system("lm", None, hypotheses=None)], sources=None, labels={"perplexity": ""}),
    "without curves": comparison(
        [system("a", curves={}, seconds=None, tokens_per_second=None), system("b", curves={})]
    ),
    "without any score": comparison([system("a", scores={}), system("b", scores={})]),
    "one not scored": comparison([system("a"), system("b", None)]),
    "of one sentence": comparison(
        [system(name, hypotheses=["x"]) for name in ("a", "b", "c")], sources=["x"], references=["y"]
    ),
    "of nothing": comparison([system("a", hypotheses=[])], sources=[], references=[]),
    "all the same": comparison([system("a"), system("b"), system("c")], varied=[]),
    "no numbers": comparison(
        [system("a", curves=curves((float("nan"), float("inf"), 1.0))), system("b", float("nan"))]
    ),
    "curves of one point": comparison([system("a", curves=curves((1.0,))), system("b", curves=curves((2.0,)))]),
    "without tokens": comparison([system("a", curves=curves(tokens=False)), system("b")]),
    "baseline elsewhere": comparison([system("a")], baseline="gone"),
}


@pytest.mark.parametrize("told", ODD.values(), ids=ODD)
def test_odd_comparisons(told: Comparison, tmp_path: Path) -> None:
    read = write(told, tmp_path)
    assert {"scores", "config"} <= set(read.sections())
    places = {attributes["id"] for _, attributes in read.elements if attributes.get("class") == "plot"}
    assert places == set(read.charts)
    for section in read.sections():
        assert section == "config" or f"#{section}" in [a.get("href") for tag, a in read.elements if tag == "a"]


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    read = write(ODD["of text alone"], tmp_path)
    assert read.sections() == ["scores", "training", "config"]
    assert "7.39 perplexity" in read.text
    assert "without it" not in read.text
    assert "training" not in write(ODD["without curves"], tmp_path).sections()
    assert "Nothing was measured that all runs can be compared by." in write(ODD["without any score"], tmp_path).text


@pytest.mark.parametrize(("shown", "tokens"), [("two", True), ("without tokens", True), ("one", True)])
def test_curves_are_drawn_over_what_is_known(shown: str, tokens: bool, tmp_path: Path) -> None:
    read = write(ODD[shown], tmp_path)
    chosen = [attributes["value"] for tag, attributes in read.elements if tag == "input"]
    assert chosen == ["steps", "time", *(["tokens"] if tokens else [])]
    first = next(chart for chart in read.charts.values() if "axes" in chart)
    assert first["axes"]["steps"]["x"][0] == [10, 20, 30]
    assert first["axes"]["time"] == {"title": "seconds of training", "x": [[5.0, 10.0, 15.0]] * len(first["data"])}


def evil() -> Comparison:
    texts = [EVIL, "</script><img src=x onerror=alert(2)>", "</span><b>bold</b>", "&lt;&amp;"]
    config = {"data.source": "en", "x.<b>": EVIL, "optimizer.lr": 1.0}
    systems = [system(f"{EVIL}{i}", 20.0 + i, config | {"optimizer.lr": EVIL * i}, texts) for i in range(2)]
    return comparison(
        [*systems, system("plain")],
        name=EVIL,
        sources=[f"{text} source" for text in texts],
        references=[f"{text} reference" for text in texts],
        labels={"bleu": f"{EVIL}BLEU", "ter": "TER"},
        varied=["optimizer.lr", "x.<b>"],
        baseline=systems[0].name,
        languages=['"><script>'],
    )


def test_texts_are_shown_and_never_run(tmp_path: Path) -> None:
    maps = {f"{EVIL}0": attention()}
    read = write(evil(), tmp_path, attention=maps)
    harmless = write(replace(sweep(), name="x"), tmp_path, attention={sweep().systems[0].name: attention()})
    for tag in ("script", "img", "b"):
        unmarked = [attributes for name, attributes in read.elements if name == tag and "src" in attributes]
        assert unmarked == []
    assert len(read.scripts) == len(harmless.scripts) == 3
    assert not [attributes for _, attributes in read.elements if any(key.startswith("on") for key in attributes)]
    assert "</script><img src=x onerror=alert(2)>" in "".join(read.texts)
    assert f"3 runs on {EVIL}" in read.text


def test_labels_of_charts_are_escaped_for_plotly(tmp_path: Path) -> None:
    """Which reads HTML in every text; nothing but our own line breaks and bold print may be left."""

    def strings(tree: object) -> list[str]:
        if isinstance(tree, str):
            return [tree]
        parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
        return [text for part in parts for text in strings(part)]

    charts = write(evil(), tmp_path, attention={f"{EVIL}0": attention()}).charts
    told = [re.sub("<(br|/?b|extra></extra)>", "", text) for text in strings(charts)]
    assert any("&lt;script&gt;" in text for text in told)
    assert not [text for text in told if "<" in text]


def test_directions_and_languages(tmp_path: Path) -> None:
    hebrew, chinese = "\u05e9\u05dc\u05d5\u05dd", "\u4f60\u597d"
    systems = [
        system(name, hypotheses=[text], config={"data.source": "he"}) for name, text in (("a", chinese), ("b", "y"))
    ]
    read = write(comparison(systems, sources=[hebrew], references=[chinese], languages=["zh"]), tmp_path)
    said = [attributes for tag, attributes in read.elements if attributes.get("class") == "said"]
    assert {attributes["dir"] for attributes in said} == {"auto"}
    assert {attributes["lang"] for attributes in said} == {"he", "zh"}
    assert hebrew in read.text
    assert chinese in read.text


def test_nothing_is_loaded_and_only_our_scripts_may_run(tmp_path: Path) -> None:
    told = sweep()
    read = write(told, tmp_path, attention={told.systems[0].name: attention()})
    text = (tmp_path / "new/folder/report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|fetch\(|XMLHttpRequest|import\(", text)
    loading = {"src", "srcset", "action", "data", "poster", "background"}
    assert not [(tag, a) for tag, a in read.elements if loading & set(a) or tag in ("link", "iframe", "object", "base")]
    links = [attributes["href"] for _, attributes in read.elements if "href" in attributes]
    assert links == [f"#{section}" for section in read.sections()]
    policy = next(a["content"] for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy") or ""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for _, script in read.scripts[1:]]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'; "
        "img-src data: blob:"
    )
    assert read.scripts[1][1] == PLOTLY


def test_the_real_library_stands_in_the_page_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    read = write(ODD["two"], tmp_path)
    policy = next(a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy") or ""
    library = read.scripts[1][1]
    assert "plotly.js" in library[:100]
    assert base64.b64encode(hashlib.sha256(library.encode()).digest()).decode() in policy
    assert "\r" not in library
    assert "<!--" not in library


def test_charts_are_what_plotly_takes(tmp_path: Path) -> None:
    """Every property and every value, once the names of colours are colours."""
    from plotly.graph_objects import Figure

    style = (Path(pages.__file__).with_name("page.css")).read_text(encoding="utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    colours = dict(re.findall(r"--(\w+): (#\w+|rgba\([^)]*\));", light))
    assert set(re.findall(r"--(\w+): (?:#|rgba)", dark)) == set(colours)

    def painted(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: painted(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [*map(painted, tree)]
        return colours[tree[1:]] if isinstance(tree, str) and re.fullmatch(r"@\w+", tree) else tree

    told = sweep()
    charts = write(told, tmp_path, attention={told.systems[0].name: attention()}).charts
    assert {trace["type"] for chart in charts.values() for trace in chart["data"]} == {"scatter", "heatmap"}
    for chart in charts.values():
        Figure(data=painted(chart["data"]), layout=painted(chart["layout"]))


def test_what_is_embedded_is_limited(tmp_path: Path) -> None:
    number = 400
    lines = [f"word {i} and another one" for i in range(number)]
    long = curves([1.0 + 1 / (i + 1) for i in range(5000)])
    systems = [
        system(f"run-{i:02}", 20.0 + i / 10, {"optimizer.lr": float(i)}, [f"{line} {i}" for line in lines], curves=long)
        for i in range(40)
    ]
    told = comparison(systems, sources=lines, references=lines, baseline="run-00")
    read = write(told, tmp_path)
    assert (tmp_path / "new/folder/report.html").stat().st_size < 2_500_000
    assert "The 11 best of 39 runs are here." in read.text
    assert "of the 20 best of 40 runs and of the baseline" in read.text
    assert f"Of {40 * number:,} outputs it shows those of" in read.text
    assert "at most 200 points" in read.text
    first = next(chart for chart in read.charts.values() if "axes" in chart)
    assert [first["axes"]["steps"]["x"][0][place] for place in (0, -1)] == [10, 50_000]


def test_maps_of_a_sentence_stand_beside_each_other(tmp_path: Path) -> None:
    told = sweep()
    names = [system.name for system in told.systems[:2]]
    empty = AttentionMap([], [], [], [], [])
    read = write(told, tmp_path, attention={names[0]: attention() * 2, names[1]: [*attention(), empty]})
    maps = [chart for chart in read.charts.values() if chart["data"][0]["type"] == "heatmap"]
    assert [chart["data"][0]["z"] for chart in maps] == [np.eye(3, 4).tolist()] * 3
    assert (
        "Sentence 1 transformer lr=0.01 seed=2 transformer lr=0.01 seed=1 Sentence 2 transformer lr=0.01 seed=2"
        in read.text
    )
    cut = "&lt;script&gt;alert(1)&lt;/scrip\u2026"
    assert maps[0]["layout"]["xaxis"]["ticktext"] == ["\u2581a", "b", cut, "&lt;/s&gt;"]


def test_significance_is_marked_in_words_too(tmp_path: Path) -> None:
    told = sweep()
    read = write(told, tmp_path)
    better = [a for tag, a in read.elements if a.get("title") == "significantly better than the baseline"]
    assert len(better) == 2 * 7  # in both tables; nothing is worse
    assert "0.012, <0.001" in read.text


def test_configs_show_what_differs_and_fold_away_the_rest(tmp_path: Path) -> None:
    config = {"optimizer.lr": 1.0, "optimizer.betas": [0.9, 0.98], "data.source": "en"}
    told = comparison([system("a", config=config), system("b", config=config | {"optimizer.lr": 2.0})])
    read = write(told, tmp_path)
    assert "Setting a b optimizer. lr 1 2 2 settings that all share" in read.text
    assert "optimizer. betas [0.9, 0.98]" in read.text


def test_every_chart_has_a_title_and_a_summary(tmp_path: Path) -> None:
    read = write(sweep(), tmp_path)
    plots = [attributes for _, attributes in read.elements if attributes.get("class") == "plot"]
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    assert [tag for tag, _ in read.elements].count("figcaption") == len(plots)
    headings = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-4]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1


def test_the_order_is_that_of_the_comparison(tmp_path: Path) -> None:
    """Also of equal ones, and of groups."""
    equal = [system(name, 30.0) for name in ("b", "a")]
    equal[0].scores["ter"]["score"] = 1.0
    told = comparison([equal[1], system("c", 10.0), system("d", None), equal[0], system("e", 40.0)])
    ranking = Ranking(told)
    assert [one.name for one in ranking.systems] == [one.name for one in told.systems] == ["e", "b", "a", "c", "d"]
    assert [one.label for one in ranking.series] == ["e", "b", "a", "c", "d"]
    groups = [Group(name, told.systems[:2], {"bleu": mean}, {"bleu": mean}) for name, mean in (("y", 1.0), ("x", 2.0))]
    groups.append(Group("z", told.systems[2:4], {"bleu": float("nan")}, {"bleu": float("nan")}))
    read = write(replace(told, groups=groups), tmp_path)
    assert "y 2 1.00 \xb1 1.00 x 2 2.00 \xb1 2.00 z 2 \u2013" in read.text
    assert "nan" not in [a.get("data-value") for _, a in read.elements]


def test_a_run_that_a_search_ended_early_is_marked(tmp_path: Path) -> None:
    systems = [system("a"), system("b", 20.0, ended_early=True)]
    assert "a baseline 30.00" in (read := write(comparison(systems, baseline="a"), tmp_path)).text
    assert "b ended early 20.00" in read.text
    assert "b baseline ended early 20.00" in write(comparison(systems, baseline="b"), tmp_path).text


def test_the_date_and_the_faults(tmp_path: Path) -> None:
    told = pages.page(ODD["one"], {}, date(2026, 3, 9))
    assert "9 March 2026" in told


def test_without_plotly_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(pages, "find_spec", lambda name: None if name == "plotly" else find(name))
    for call in (pages.check_plotly, lambda: pages.write_page(ODD["one"], tmp_path)):
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == "report: needs plotly: pip install 'seq2seq[report]'"
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"report\.html: cannot be written"):
        pages.write_page(ODD["one"], tmp_path / "file")


def test_a_page_that_was_there_stays_whole_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one", encoding="utf-8")

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("seq2seq.training.checkpoint.write_synced", full)
        with pytest.raises(UserError, match=r"cannot be written \(No space left"):
            pages.write_page(ODD["one"], tmp_path)
    assert path.read_text(encoding="utf-8") == "the old one"
    assert pages.write_page(ODD["one"], tmp_path) == path
    assert [*tmp_path.iterdir()] == [path]
