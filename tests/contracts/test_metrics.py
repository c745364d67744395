"""What every metric keeps to, over the registry."""

import random
import re

import pytest

from seq2seq.metrics.base import Metric, Texts, metrics
from seq2seq.metrics.scores import corpus_scores
from seq2seq.plugins import load_components

load_components()

WITH_A_MODEL = {"bertscore", "comet"}  # tested with stand-ins
TRIED = [(name, {}) for name in metrics.components if name not in WITH_A_MODEL] + [
    ("bleu", {"lowercase": True}),
    ("bleu", {"split_compounds": True}),
    ("chrf", {"word_order": 2}),
    ("exact_match", {"lowercase": True}),
]
Case = tuple[Metric, Texts]


@pytest.fixture(params=TRIED, ids=lambda tried: "-".join([tried[0], *tried[1]]))
def case(request: pytest.FixtureRequest) -> Case:
    name, options = request.param
    generator = random.Random(8)
    lines = [" ".join(generator.choices(["Ab", "cd", "e", "fg.", "hi"], k=generator.randint(0, 9))) for _ in range(60)]
    hypotheses = [
        line if generator.random() < 0.3 else other for line, other in zip(lines[:30], lines[30:], strict=True)
    ]
    return metrics.components[name](**options), Texts(hypotheses, lines[:30], "en", lines[30:])


def test_every_metric_of_the_project_is_tried() -> None:
    known = {name for name, metric in metrics.components.items() if metric.__module__.startswith("seq2seq.")}
    assert known == {name for name, _ in TRIED} | WITH_A_MODEL


def test_what_is_measured_is_what_is_promised(case: Case) -> None:
    metric, texts = case
    found = metric.measure(texts, confidence=True)
    assert list(found) == list(metric.kinds)
    assert metric.main in metric.kinds
    for name, score in found.items():
        assert metric.label(name)
        assert type(score.score) is float
        assert re.search(r"\|version:", score.signature)
        assert (score.low is None) == ("bs:1000" not in score.signature)
        if score.low is not None and score.high is not None:
            assert type(score.low) is type(score.high) is float
            assert score.low < score.score < score.high
    assert metric.measure(texts, confidence=True) == found


def test_the_score_does_not_depend_on_the_interval(case: Case) -> None:
    metric, texts = case
    with_interval, without = (metric.measure(texts, confidence) for confidence in (True, False))
    assert {n: s.score for n, s in with_interval.items()} == {n: s.score for n, s in without.items()}
    assert all(score.low is None and score.high is None for score in without.values())


def test_the_order_of_lines_does_not_count(case: Case) -> None:
    metric, texts = case
    assert texts.sources is not None
    turned = Texts(texts.hypotheses[::-1], texts.references[::-1], texts.language, texts.sources[::-1])
    scores = [{n: s.score for n, s in metric.measure(t, False).items()} for t in (texts, turned)]
    assert scores[0] == pytest.approx(scores[1])


def test_no_hypothesis_is_better_than_the_reference(case: Case) -> None:
    metric, texts = case
    if not any("nrefs" in score.signature for score in metric.measure(texts, False).values()):
        return  # it does not look at references
    best = metric.measure(Texts(texts.references, texts.references, "en"), False)
    for name, score in metric.measure(texts, False).items():
        sign = -1 if metric.kinds[name].lower_is_better else 1
        assert sign * best[name].score > sign * score.score


@pytest.mark.parametrize("texts", [["", "a b c d e"], ["", ""], ["...", "\u3002"]])
def test_lines_without_words(case: Case, texts: list[str]) -> None:
    metric, _ = case
    for score in metric.measure(Texts(["", ""], texts, "de", texts), confidence=True).values():
        assert 0 <= score.score <= 100


def test_names_of_two_of_one_metric(case: Case) -> None:
    metric, texts = case
    name = next(name for name, component in metrics.components.items() if component is type(metric))
    found = corpus_scores({name: metric, "other": metric}, texts, confidence=False)
    assert len(found) == 2 * len(metric.kinds)
    assert len({score.label for score in found.values()}) == len(found)
