"""Comparisons as people read them."""

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import pytest

from seq2seq.reports.comparison import Comparison, Significance, System, compare
from seq2seq.reports.runs import read_system
from seq2seq.reports.tables import p_value, text
from seq2seq.reports.written import as_json, comma_separated, format_of, markdown

from .made_up_runs import REFERENCES, make_run, text_scores


def system(folder: Path, name: str, lr: float, seed: int, bleu: float) -> System:
    run = make_run(folder / name, {"optimizer.lr": lr, "trainer.seed": seed}, bleu=bleu)
    return read_system(run, run / "evaluation" / "test", name)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Two learning rates; of the better one two seeds; and a run that is broken."""
    systems = [
        system(tmp_path, "optimizer.lr=0.1,trainer.seed=1", 0.1, 1, 20.0),
        system(tmp_path, "optimizer.lr=0.2,trainer.seed=1", 0.2, 1, 31.26),
        system(tmp_path, "optimizer.lr=0.2,trainer.seed=2", 0.2, 2, 30.0),
    ]
    found = compare(
        systems, REFERENCES, ["a", "b", "c", "d"], faults={"optimizer.lr=0.3,trainer.seed=1": "it is broken"}
    )
    first, *others = (one.name for one in systems)
    tests = {
        (others[0], "bleu"): Significance(0.012, 0.0001),
        (others[0], "chrf"): Significance(0.2, 0.3),
        (others[1], "bleu"): Significance(0.05, 0.049),
    }
    return dataclasses.replace(found, baseline=first, tests=tests)


SIGNATURES = """\
BLEU|nrefs:1|tok:13a
chrF2|nrefs:1|nc:6
TER|nrefs:1|norm:no"""

TEXT = f"""\
test: 4 sentences, 3 runs, checkpoint best

run            BLEU  +- chrF2  +-   TER  +- params time tok/s sent/s
lr=0.2 seed=1 31.26 1.0 51.26 1.0 68.74 1.0     17   6s   950   71.6
lr=0.2 seed=2 30.00 1.0 50.00 1.0 70.00 1.0     17   6s   950   71.6
lr=0.1 seed=1 20.00 1.0 40.00 1.0 80.00 1.0     17   6s   950   71.6
lr=0.3 seed=1 not measured: it is broken

+-: half of the 95% interval.  time, tok/s: of training, target tokens.
sent/s: of translating.

mean over seeds runs  BLEU   sd chrF2   sd   TER   sd
lr=0.2             2 30.63 0.89 50.63 0.89 69.37 0.89

sd: standard deviation between seeds (n - 1).

differences to lr=0.1 seed=1, and their p-values
run             BLEU   p bs   p ar  chrF2   p bs   p ar
lr=0.2 seed=1 +11.26 0.012* <.001* +11.26 0.200  0.300
lr=0.2 seed=2 +10.00 0.050  0.049* +10.00      -      -

bs: paired bootstrap, ar: approximate randomisation, by sacrebleu.  * p < 0.05
p = 0.012 means: were the two equally good, a difference as large as this
would come up by chance, on sentences like these, in 1.2% of cases.

{SIGNATURES}"""

MARKDOWN = """\
test: 4 sentences, 3 runs, best first; \u00b1 is half of the 95% interval. Time and tokens/s (of the target) are of \
training.

| run | BLEU | chrF2 | TER | parameters | time | tokens/s | sentences/s |
|---|--:|--:|--:|--:|--:|--:|--:|
| lr=0.2 seed=1 | 31.26 \u00b1 1.00 | 51.26 \u00b1 1.00 | 68.74 \u00b1 1.00 | 17 | 6s | 950 | 71.6 |
| lr=0.2 seed=2 | 30.00 \u00b1 1.00 | 50.00 \u00b1 1.00 | 70.00 \u00b1 1.00 | 17 | 6s | 950 | 71.6 |
| lr=0.1 seed=1 | 20.00 \u00b1 1.00 | 40.00 \u00b1 1.00 | 80.00 \u00b1 1.00 | 17 | 6s | 950 | 71.6 |
| lr=0.3 seed=1 | not measured: it is broken |  |  |  |  |  |  |

Means over seeds \u00b1 standard deviation (n - 1):

| seeds of | runs | BLEU | chrF2 | TER |
|---|--:|--:|--:|--:|
| lr=0.2 | 2 | 30.63 \u00b1 0.89 | 50.63 \u00b1 0.89 | 69.37 \u00b1 0.89 |

Differences to lr=0.1 seed=1, with p-values of sacrebleu's paired bootstrap and approximate randomisation; \\* p < 0.05.

| run | BLEU | p (bootstrap) | p (randomisation) | chrF2 | p (bootstrap) | p (randomisation) |
|---|--:|--:|--:|--:|--:|--:|
| lr=0.2 seed=1 | +11.26 | 0.012\\* | \\<.001\\* | +11.26 | 0.200 | 0.300 |
| lr=0.2 seed=2 | +10.00 | 0.050 | 0.049\\* | +10.00 | - | - |

p = 0.012 means: were the two equally good, a difference as large as this would come up by chance, on sentences like \
these, in 1.2% of cases.

- `BLEU|nrefs:1|tok:13a`
- `chrF2|nrefs:1|nc:6`
- `TER|nrefs:1|norm:no`
"""


def test_the_terminal(comparison: Comparison) -> None:
    assert text(comparison) == TEXT
    assert max(map(len, TEXT.splitlines())) <= 80


def test_markdown(comparison: Comparison) -> None:
    assert markdown(comparison) == MARKDOWN


def test_twelve_runs_of_usual_sizes_fit(comparison: Comparison) -> None:
    large = dataclasses.replace(
        comparison.systems[0],
        name="base-lr0.001-seed3",
        num_parameters=213_400_000,
        seconds=36_000.0,
        tokens_per_second=37_123.0,
        scores=comparison.systems[0].scores | {"sentences_per_second": 103.25},
    )
    told = text(dataclasses.replace(comparison, systems=[large] * 12, groups=(), baseline=None, faults={}))
    assert "31.26 1.0 51.26 1.0 68.74 1.0   213M 10h00m 37.1k  103.2" in told
    assert max(map(len, told.splitlines())) <= 80


def test_single_runs_may_differ_by_their_seeds(comparison: Comparison) -> None:
    warning = "No run was repeated with another trainer.seed: a difference may be one of seeds,"
    assert warning not in text(comparison)
    single = dataclasses.replace(comparison, groups=())
    assert warning in text(single)
    assert warning in markdown(single)
    assert warning not in text(dataclasses.replace(single, tests={}, baseline=None))


def test_of_many_tests_some_come_out_by_chance(comparison: Comparison) -> None:
    tests = {(f"run{number}", "bleu"): Significance(0.5, 0.5) for number in range(5)}
    many = dataclasses.replace(comparison, tests=tests)
    assert "With 5 runs, a mark or two may be chance: of equally good ones 1 in 20 gets it." in text(many)


def test_runs_without_a_score_and_scores_computed_otherwise(comparison: Comparison) -> None:
    first, second, third = comparison.systems
    alone = dataclasses.replace(third, scores=text_scores(1.5), hypotheses=None, num_parameters=None, seconds=None)
    other = dataclasses.replace(
        second, scores=second.scores | {"bleu": second.scores["bleu"] | {"signature": "tok:zh"}}
    )
    lines = text(dataclasses.replace(comparison, systems=[first, other, alone], tests={}, baseline=None)).splitlines()
    assert lines[5].split() == ["lr=0.1", "seed=1", *["-"] * 8, "950", "-"]
    assert "BLEU|nrefs:1|tok:13a  of lr=0.2 seed=1" in lines
    assert "BLEU|tok:zh  of lr=0.2 seed=2" in lines


def test_language_models(tmp_path: Path) -> None:
    systems = []
    for name, bits in (("a", 1.51), ("b", 1.25)):
        run = make_run(tmp_path / name)
        found = read_system(run, run / "evaluation" / "test", name)
        systems.append(dataclasses.replace(found, scores=text_scores(bits), hypotheses=None))
    told = text(compare(systems, REFERENCES, baseline="a")).splitlines()
    assert told[2:5] == [
        "run bits/byte  loss perplexity accuracy params time tok/s",
        "b       1.250 2.500      12.18    55.50     17   6s   950",
        "a       1.510 2.500      12.18    55.50     17   6s   950",
    ]
    assert "No p-values against a: they are of BLEU, chrF and TER." in told


def test_csv_has_a_row_a_run(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated(comparison))))
    assert [row["name"] for row in rows] == [
        *(one.name for one in comparison.systems),
        "optimizer.lr=0.3,trainer.seed=1",
    ]
    first, _, base, broken = rows
    bleu = [float(first[f"bleu{key}"]) for key in ("", "_low", "_high", "_p_bootstrap", "_p_randomisation")]
    assert bleu == pytest.approx([31.26, 30.26, 32.26, 0.012, 0.0001])
    assert (first["ter_p_bootstrap"], first["fault"]) == ("", "")
    assert (first["optimizer.lr"], first["trainer.seed"], first["parameters"]) == ("0.2", "1", "17")
    assert (first["loss"], first["training_seconds"], first["sentences_per_second"]) == ("2.5", "6.25", "71.64")
    assert base["bleu_p_randomisation"] == ""
    assert (broken["fault"], broken["bleu"]) == ("it is broken", "")


def test_json_has_all_but_the_hypotheses(comparison: Comparison) -> None:
    first = comparison.systems[0]
    odd = dataclasses.replace(first, scores=first.scores | {"word_perplexity": float("inf")})
    told = json.loads(as_json(dataclasses.replace(comparison, systems=[odd, *comparison.systems[1:]])))
    assert "hypotheses" not in told["systems"][0]
    assert told["systems"][0]["scores"]["word_perplexity"] is None
    assert told["systems"][1]["scores"]["bleu"]["high"] == 31.0
    assert told["systems"][0]["curves"]["train/loss"]["tokens"] == [300, 700, 1100]
    assert told["tests"]["optimizer.lr=0.2,trainer.seed=1"]["bleu"] == {"bootstrap": 0.012, "randomisation": 0.0001}
    assert told["groups"][0]["systems"] == ["optimizer.lr=0.2,trainer.seed=1", "optimizer.lr=0.2,trainer.seed=2"]
    assert (told["sources"], told["references"]) == (["a", "b", "c", "d"], REFERENCES)
    assert (told["lower_is_better"], told["varied"]) == (["ter"], ["optimizer.lr"])


def test_markdown_shows_names_as_they_are(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    told = markdown(compare([read_system(run, run / "evaluation" / "test", "a|b_c_<d>`")], REFERENCES))
    assert "| a\\|b\\_c\\_\\<d>\\` | 20.00" in told


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_finite_numbers(tmp_path: Path, odd: float) -> None:
    """They come last, have no mean over seeds, and spoil no file."""
    values = {"a-seed1": (1, odd), "a-seed2": (2, 30.0), "b": (1, 20.0)}
    systems = [system(tmp_path, name, 0.1 + (name == "b"), seed, bleu) for name, (seed, bleu) in values.items()]
    found = compare(systems, REFERENCES)
    assert [one.name for one in found.systems] == ["a-seed2", "b", "a-seed1"]
    (group,) = found.groups
    assert math.isnan(group.means["bleu"])
    assert math.isnan(group.deviations["bleu"])
    base = dataclasses.replace(found, baseline="b", tests={("a-seed1", "bleu"): Significance(0.5, 0.5)})
    lines = text(base).splitlines()
    assert next(line.split() for line in lines if line.startswith("a-seed1"))[2] == "-"
    assert next(line.split() for line in lines if line.startswith("a  "))[:4] == ["a", "2", "-", "-"]
    assert "| a | 2 | - | - | - |" in markdown(base)
    assert "nan" not in text(base) + markdown(base) + comma_separated(base)
    assert next(csv.DictReader(io.StringIO(comma_separated(found)))).get("bleu") == "30.0"
    assert json.loads(as_json(found), parse_constant=pytest.fail)["groups"][0]["means"]["bleu"] is None


def test_a_run_that_a_search_ended_early_is_marked(comparison: Comparison) -> None:
    first, *others = comparison.systems
    told = dataclasses.replace(comparison, systems=[first, dataclasses.replace(others[0], ended_early=True), others[1]])
    assert "\nlr=0.2 seed=2 (ended early) 30.00 1.0 " in text(told)
    assert "| lr=0.2 seed=2 (ended early) | 30.00" in markdown(told)
    assert "ended early" not in text(comparison) + markdown(comparison)
    rows = [*csv.DictReader(io.StringIO(comma_separated(told)))]
    assert [row["ended_early"] for row in rows] == ["false", "true", "false", ""]
    assert [one["ended_early"] for one in json.loads(as_json(told))["systems"]] == [False, True, False]


def test_how_numbers_are_told() -> None:
    assert [*map(p_value, (1.0, 0.05, 0.04996, 0.0123, 0.0005, 0.0004))] == [
        *("1.000 ", "0.050 ", "0.050*", "0.012*", "0.001*", "<.001*"),
    ]


def test_formats_by_their_endings() -> None:
    assert format_of(Path("a.md")) is markdown
    assert format_of(Path("a.b.JSON")) is as_json
    assert format_of(Path("results")) is None
