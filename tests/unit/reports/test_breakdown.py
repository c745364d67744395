"""Scores by the length of the source, and of words by their frequency."""

from dataclasses import replace
from itertools import pairwise

import pytest

from seq2seq.metrics.base import Texts
from seq2seq.metrics.sacrebleu import BLEU, ChrF
from seq2seq.reports.breakdown import Bin, by_frequency, by_length, length_bins, place_in, quick_metric
from seq2seq.reports.ranking import Ranking

from .comparisons import HYPOTHESES, REFERENCES, SOURCES, comparison, system


def test_bins_of_lengths_hold_every_number_once() -> None:
    lengths = [0, 1, 5, 6, 10, 11, 15, 20, 21, 30, 31, 40, 41, 60, 61, 100, 101, 5000]
    bins = length_bins(lengths, least=1)
    assert sum(one.size for one in bins) == len(lengths)
    assert [one.label for one in bins[:2]] == ["1\u20135", "6\u201310"]
    assert bins[-1] == Bin(101, None, 2)
    for before, after in pairwise(bins):
        assert before.high == after.low - 1
    for length in lengths:
        own = bins[place_in(bins, length)]
        assert own.low <= max(length, 1) <= (own.high or length)


@pytest.mark.parametrize("least", [1, 3, 10, 1000])
def test_small_bins_join_a_neighbour(least: int) -> None:
    lengths = [3] * 4 + [8] * 20 + [12] * 2 + [18] * 9 + [50]
    bins = length_bins(lengths, least)
    assert sum(one.size for one in bins) == len(lengths)
    assert len(bins) == 1 or min(one.size for one in bins) >= least
    assert bins[0].low == 1
    assert bins[-1].high is None
    sizes = [sum(one.low <= length <= (one.high or length) for length in lengths) for one in bins]
    assert sizes == [one.size for one in bins]


def test_the_score_of_a_bin_is_that_of_its_sentences() -> None:
    sources = ["short one"] * 12 + ["a source of quite a few more words than the others have"] * 12
    references = ["kurz und gut"] * 12 + ["eine Quelle mit viel mehr Worten als die anderen"] * 12
    hypotheses = ["kurz und gut"] * 12 + ["eine Quelle mit viel mehr als die anderen"] * 12
    own = system("a", hypotheses=hypotheses)
    ranking = Ranking(comparison([own], sources=sources, references=references))
    found = by_length(ranking, [own])
    assert found is not None
    assert [(one.label, one.size) for one in found.bins] == [("1\u201310", 12), ("11+", 12)]
    expected = [
        BLEU().measure(Texts(hypotheses[part], references[part], "de"), confidence=False)[""].score
        for part in (slice(0, 12), slice(12, 24))
    ]
    assert found.scores["a"] == expected
    assert found.label == "BLEU"


def test_bins_of_several_languages_have_no_score() -> None:
    ranking = Ranking(comparison([system("a")]))
    assert by_length(ranking, ranking.systems) is not None
    mixed = Ranking(comparison([system("a")], languages=["de", "zh"]))
    assert by_length(mixed, mixed.systems) is None


def test_the_metric_has_the_options_that_the_scores_were_measured_with() -> None:
    """Which may be others than those of the run."""
    config = {"metrics.bleu.name": "bleu", "metrics.bleu.tokenize": "13a", "metrics.bleu.lowercase": False}
    measured = {"bleu": {"name": "bleu", "tokenize": "char", "lowercase": True}, "chrf": None}
    own_system = system("a", config=config)
    own_system = replace(own_system, scores=own_system.scores | {"metrics": measured})
    found = quick_metric(Ranking(comparison([own_system])), [own_system])
    assert found is not None
    name, own, metric = found
    assert (name, own) == ("bleu", "")
    assert isinstance(metric, BLEU)
    assert (metric.tokenize, metric.lowercase) == ("char", True)


def test_a_metric_may_have_another_key_and_one_that_cannot_be_made_is_passed_over() -> None:
    measured = {"bleu": {"tokenize": "klingon", "unknown": 1}, "chars": {"name": "chrf", "word_order": 2}}
    own_system = system("a", scores={"bleu": {"score": 1.0}, "chars": {"score": 2.0}, "metrics": measured})
    found = quick_metric(Ranking(comparison([own_system], labels={"bleu": "BLEU", "chars": "chars"})), [own_system])
    assert found is not None
    assert found[0] == "chars"
    assert isinstance(found[2], ChrF)
    assert found[2].word_order == 2


def test_a_metric_that_is_slow_or_not_of_all_is_passed_over() -> None:
    measured = {"ter": {}, "bleu": {}, "chrf": {}}
    slow = {"ter": {"score": 50.0}, "chrf": {"score": 60.0}, "metrics": measured}
    systems = [system("a", scores=slow), system("b", scores=slow | {"bleu": {"score": 1.0}})]
    labels = {"ter": "TER", "bleu": "BLEU", "chrf": "chrF2"}
    found = quick_metric(Ranking(comparison(systems, labels=labels)), systems)
    assert found is not None
    assert found[0] == "chrf"
    assert isinstance(found[2], ChrF)
    alone = [system("a", scores={"ter": {"score": 50.0}, "metrics": measured})]
    assert quick_metric(Ranking(comparison(alone)), alone) is None


def test_without_sources_there_is_no_length() -> None:
    own = system("a")
    assert by_length(Ranking(comparison([own], sources=None)), [own]) is None


def test_words_are_met_as_often_as_the_reference_has_them() -> None:
    references = ["the the rare"] * 5 + ["the other"] * 6  # the: 16 times, rare: 5, other: 6
    hypotheses = ["the the the"] * 5 + ["other new"] * 6
    found = by_frequency(references, {"a": hypotheses})
    assert found is not None
    assert [(one.label, one.size) for one in found.bins] == [("5\u20139", 11), ("10\u201319", 16)]
    assert found.recall["a"] == [pytest.approx(100 * 6 / 11), pytest.approx(100 * 10 / 16)]
    # of 6 words of the first bin 6 are met, of 15 of the second 10
    assert found.f1["a"] == [pytest.approx(100 * 12 / (6 + 11)), pytest.approx(100 * 20 / (15 + 16))]


def test_few_words_tell_nothing() -> None:
    assert by_frequency(REFERENCES, {"a": HYPOTHESES}) is None
    assert len(SOURCES) == len(REFERENCES)
