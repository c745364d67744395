"""What several runs tell beside each other."""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import DataError
from seq2seq.reports.comparison import Comparison, System, compare
from seq2seq.reports.runs import read_system

from .made_up_runs import REFERENCES, make_run, score, scores_of, text_scores


def made(folder: Path, name: str, changes: Mapping[str, Any] | None = None, **options: Any) -> System:
    run = make_run(folder / name, changes, **options)
    return read_system(run, run / "evaluation" / "test", name)


def names(comparison: Comparison) -> list[str]:
    return [system.name for system in comparison.systems]


def test_the_best_is_first(tmp_path: Path) -> None:
    systems = [made(tmp_path, name, bleu=bleu) for name, bleu in (("a", 20.0), ("b", 30.0), ("c", 25.0))]
    comparison = compare(systems, REFERENCES, ["x"] * 4)
    assert names(comparison) == ["b", "c", "a"]
    assert (comparison.name, comparison.language, comparison.references) == ("test", "de", REFERENCES)
    assert [*comparison.labels.items()] == [("bleu", "BLEU"), ("chrf", "chrF2"), ("ter", "TER")]
    assert comparison.lower_is_better == {"ter"}
    assert (comparison.baseline, comparison.tests, comparison.groups) == (None, {}, [])


def test_less_may_be_better(tmp_path: Path) -> None:
    ter = {"bleu": None, "chrf": None}
    systems = [made(tmp_path, name, bleu=bleu, scores=ter) for name, bleu in (("a", 20.0), ("b", 30.0))]
    comparison = compare(systems, REFERENCES)
    assert [*comparison.labels] == ["ter"]
    assert names(comparison) == ["b", "a"]


def test_scores_that_most_have_come_first_and_runs_without_them_last(tmp_path: Path) -> None:
    rouge = {"rougeL": score(90.0, "ROUGE-L", "x"), "bleu": None, "chrf": None, "ter": None}
    systems = [made(tmp_path, "r", scores=rouge), made(tmp_path, "a"), made(tmp_path, "b", bleu=30.0)]
    comparison = compare(systems, REFERENCES)
    assert [*comparison.labels] == ["bleu", "chrf", "ter", "rougeL"]
    assert names(comparison) == ["b", "a", "r"]


def test_language_models_go_by_bits(tmp_path: Path) -> None:
    systems = []
    for name, bits in (("a", 1.5), ("b", 1.25)):
        run = make_run(tmp_path / name)
        system = read_system(run, run / "evaluation" / "test", name)
        systems.append(System(**{**vars(system), "scores": text_scores(bits), "hypotheses": None}))
    comparison = compare(systems, REFERENCES, baseline="a")
    assert [*comparison.labels] == ["bits_per_byte", "loss", "perplexity", "token_accuracy"]
    assert names(comparison) == ["b", "a"]
    assert comparison.lower_is_better == {"bits_per_byte", "loss", "perplexity"}
    assert comparison.tests == {}


def test_seeds_make_a_group_and_nothing_else_does(tmp_path: Path) -> None:
    values = {1: 20.0, 2: 23.0, 3: 21.5}
    systems = [made(tmp_path, f"base-seed{seed}", {"trainer.seed": seed}, bleu=b) for seed, b in values.items()]
    systems += [
        made(tmp_path, "copy", {"trainer.seed": 2, "trainer.device": "cuda"}, bleu=99.0),  # no other seed
        made(tmp_path, "lr", {"optimizer.lr": 0.01, "trainer.seed": 2}),
        made(tmp_path, "tuned", {"init_from": "runs/x", "trainer.seed": 4}),
        made(tmp_path, "alone", {"model.name": "gru"}),
    ]
    comparison = compare(systems, REFERENCES)
    (group,) = comparison.groups
    assert group.name == "base"
    assert [system.name for system in group.systems] == ["base-seed1", "base-seed2", "base-seed3"]
    assert group.means["bleu"] == pytest.approx(21.5)
    assert group.deviations["bleu"] == pytest.approx(statistics.stdev(values.values()))
    assert comparison.varied == ["init_from", "model.name", "optimizer.lr"]


def test_what_does_not_matter(tmp_path: Path) -> None:
    systems = [
        made(tmp_path, "a1"),
        made(tmp_path, "a2", {"trainer.seed": 2, "trainer.newer": None, "loggers.wandb.project": "x"}),
    ]
    comparison = compare(systems, REFERENCES)
    assert comparison.varied == []
    assert [group.name for group in comparison.groups] == ["a"]


def test_what_changes_the_batch_or_the_average_makes_another_config(tmp_path: Path) -> None:
    def compared(key: str, checkpoint: str) -> Comparison:
        folder = tmp_path / key / checkpoint
        told = {"checkpoint": checkpoint}
        return compare(
            [made(folder, str(seed), {"trainer.seed": seed, key: 1 + seed}, scores=told) for seed in (1, 2)], REFERENCES
        )

    for key, checkpoint in (("trainer.devices", "best"), ("trainer.average", "average")):
        comparison = compared(key, checkpoint)
        assert (comparison.groups, comparison.varied) == ([], [key])
    for key, checkpoint in (("trainer.keep_last", "best"), ("trainer.average", "best")):
        comparison = compared(key, checkpoint)
        assert (len(comparison.groups), comparison.varied) == (1, [])


def test_runs_that_a_search_ended_early_are_not_part_of_a_mean(tmp_path: Path) -> None:
    systems = [made(tmp_path, f"s{seed}", {"trainer.seed": seed}, bleu=10.0 * seed) for seed in (1, 2, 3)]
    systems[0] = replace(systems[0], ended_early=True)
    (group,) = compare(systems, REFERENCES).groups
    assert [system.name for system in group.systems] == ["s2", "s3"]
    assert group.means["bleu"] == 25


def test_groups_are_sorted_by_their_means_and_named_without_the_seed(tmp_path: Path) -> None:
    systems = []
    for lr, seed, bleu in ((0.1, 1, 40.0), (0.1, 2, 10.0), (0.2, 1, 26.0), (0.2, 2, 27.0)):
        name = f"optimizer.lr={lr},trainer.seed={seed}-0123abcd"
        systems.append(made(tmp_path, name, {"optimizer.lr": lr, "trainer.seed": seed}, bleu=bleu))
    comparison = compare(systems, REFERENCES)
    assert [group.name for group in comparison.groups] == ["optimizer.lr=0.2", "optimizer.lr=0.1"]


def test_a_score_that_not_all_of_a_group_have(tmp_path: Path) -> None:
    systems = [made(tmp_path, "s1"), made(tmp_path, "s2", {"trainer.seed": 2}, scores={"ter": None})]
    (group,) = compare(systems, REFERENCES).groups
    assert group.means.keys() == {"bleu", "chrf"}


OTHER = ["das Haus war rot .", "der Hund schläft .", "wir gehen Haus .", "sie liest Bücher ."]


def test_tests_are_against_the_baseline_where_both_are_measured_alike(tmp_path: Path) -> None:
    """Not against another tokenizer's BLEU, another version's, a mean of parts, a score that is not sacrebleu's, or the
    same texts.
    """
    lowered = {"bleu": score(20.0, "BLEU", "nrefs:1|tok:char")}
    renamed = scores_of(20.0)["metrics"] | {"bleu": {"tokenize": "13a"}, "distinct": {}}  # what null stands for
    systems = [
        made(tmp_path, "base"),
        made(tmp_path, "same"),
        made(tmp_path, "other", hypotheses=OTHER),
        made(tmp_path, "lowered", hypotheses=OTHER, scores=lowered),
        made(tmp_path, "older", hypotheses=OTHER, scores={"chrf": score(40.0, "chrF2", "nrefs:1|version:1")}),
        made(tmp_path, "renamed", hypotheses=OTHER, scores={"metrics": renamed}),
        made(tmp_path, "parts", hypotheses=OTHER, scores={"parts": {"a": {}, "b": {}}}),
    ]
    told = []
    comparison = compare(systems, REFERENCES, baseline="base", num_jobs=1, on_done=told.append)
    assert comparison.baseline == "base"
    assert comparison.tests.keys() == {
        ("other", "bleu"), ("other", "chrf"), ("other", "ter"), ("lowered", "chrf"), ("lowered", "ter"),
        ("older", "bleu"), ("older", "ter"), ("renamed", "bleu"), ("renamed", "chrf"), ("renamed", "ter"),
    }  # fmt: skip
    assert all(0 < test.bootstrap <= 1 and 0 < test.randomisation <= 1 for test in comparison.tests.values())
    assert told == [1] * 5


def test_means_of_parts_are_not_tested(tmp_path: Path) -> None:
    parts = {"parts": {"a": {}, "b": {}}}
    systems = [made(tmp_path, "a", scores=parts), made(tmp_path, "b", scores=parts, hypotheses=OTHER)]
    assert compare(systems, REFERENCES, baseline="a").tests == {}


def test_other_references_are_refused(tmp_path: Path) -> None:
    systems = [made(tmp_path, "a"), made(tmp_path, "b", references=[*REFERENCES[:3], "etwas anderes ."])]
    with pytest.raises(DataError, match=r"^b: measured on other references than a, so they cannot be compared$"):
        compare(systems, REFERENCES)
