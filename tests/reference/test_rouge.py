"""ROUGE against the rouge_score package called directly."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator

from seq2seq.metrics.base import Texts
from seq2seq.metrics.rouge import ROUGE

WORDS = [
    *("the", "cats", "were", "running", "over", "a", "mat,", "Dogs", "ran."),
    *("Then:", "nobody", "said", "nothing!", "42"),
]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    generator = random.Random(4)
    lines = [" ".join(generator.choices(WORDS, k=generator.randint(0, 14))) for _ in range(40)]
    return [("the cat runs. dogs run.", "Cats ran. A dog runs."), *zip(lines[:20], lines[20:], strict=True)]


@pytest.mark.parametrize("stem", [False, True])
def test_english_is_as_the_package_has_it(pairs: list[tuple[str, str]], stem: bool) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    found = ROUGE(stem=stem).measure(Texts(hypotheses, references, "en-GB"), confidence=True)
    scorer, aggregator = RougeScorer(list(found), use_stemmer=stem), BootstrapAggregator(n_samples=300)
    for hypothesis, reference in pairs:
        with_breaks = [text.replace(". ", ".\n").replace("! ", "!\n") for text in (reference, hypothesis)]
        aggregator.add_scores(scorer.score(*with_breaks))
    for name, theirs in aggregator.aggregate().items():
        ours = found[name]
        expected = [scorer.score(reference, hypothesis)["rougeL"].fmeasure for hypothesis, reference in pairs]
        if name == "rougeL":  # which does not see the breaks
            assert ours.score == pytest.approx(100 * sum(expected) / len(expected))
        assert ours.score == pytest.approx(100 * theirs.mid.fmeasure, abs=1.5)  # theirs is a median of resamples
        assert ours.low == pytest.approx(100 * theirs.low.fmeasure, abs=3)
        assert ours.high == pytest.approx(100 * theirs.high.fmeasure, abs=3)
        assert f"|tok:rouge|stem:{'porter' if stem else 'no'}|" in ours.signature


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
def test_each_line_is_as_the_package_has_it(pairs: list[tuple[str, str]], name: str) -> None:
    for hypothesis, reference in pairs:
        ours = ROUGE().measure(Texts([hypothesis], [reference], "en"), confidence=False)[name].score
        with_breaks = [text.replace(". ", ".\n").replace("! ", "!\n") for text in (reference, hypothesis)]
        assert ours == pytest.approx(100 * RougeScorer([name]).score(*with_breaks)[name].fmeasure)


def test_other_scripts_are_not_dropped() -> None:
    lines = ["\u043a\u043e\u0442 \u0441\u043f\u0438\u0442", "\u6211\u662f\u5b66\u751f"]
    others = ["\u043a\u043e\u0442 \u0435\u0441\u0442", "\u6211\u662f\u8001\u5e08"]
    assert ROUGE().measure(Texts(lines, lines, "ru"), confidence=False)["rouge2"].score == 100
    assert ROUGE().measure(Texts(lines, lines, "en"), confidence=False)["rouge2"].score == 0
    found = ROUGE().measure(Texts(lines, others, "ru"), confidence=False)
    assert found["rouge1"].score == pytest.approx(50)
    assert found["rougeL"].score == pytest.approx(50)
    assert found["rouge2"].score == pytest.approx(100 / 3 / 2)
    assert "|tok:unicode|" in found["rouge1"].signature


def test_latin_without_accents_is_cut_alike(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    german, english = (
        ROUGE().measure(Texts(hypotheses, references, language), confidence=False) for language in ("de", "en")
    )
    assert {name: score.score for name, score in german.items()} == {n: s.score for n, s in english.items()}
