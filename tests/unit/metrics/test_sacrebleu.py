import math
import random
import shutil
import subprocess
from typing import get_args

import pytest
import sacrebleu
from sacrebleu.metrics import BLEU as OF_SACREBLEU

from seq2seq.errors import ConfigError, DataError
from seq2seq.metrics import sacrebleu as module
from seq2seq.metrics.base import Score, Texts, mean_score
from seq2seq.metrics.sacrebleu import BLEU, TER, ChrF, TokenizerName, default_tokenizer
from seq2seq.metrics.scores import corpus_scores
from seq2seq.registry import Factory

HYPOTHESES = ["the cat sat on the mat today", "hello there my good friend"]
REFERENCES = ["the cat sat on the mat", "hello there my good old friend"]


USUAL = {"bleu": BLEU(), "chrf": ChrF(), "ter": TER()}


def scores(hypotheses, references, *, language="en", confidence=True, **made):
    return corpus_scores(made or USUAL, Texts(hypotheses, references, language), confidence=confidence)


def test_identical_lines():
    found = scores(REFERENCES, REFERENCES)
    assert list(found) == ["bleu", "chrf", "ter"]
    assert found["bleu"].score == pytest.approx(100)
    assert found["chrf"].score == pytest.approx(100)
    assert found["ter"].score == 0
    assert found["bleu"].low == pytest.approx(100)
    assert found["bleu"].high == pytest.approx(100)


def test_bleu_and_ter_by_hand():
    found = scores(HYPOTHESES, REFERENCES, confidence=False)
    # The tokens match but for `today`, the bigrams but for `mat today` and `good friend`, and so on. Both sides have 12
    # tokens: no brevity penalty.
    precisions = [11 / 12, (5 + 3) / 10, (4 + 2) / 8, (3 + 1) / 6]
    assert found["bleu"].score == pytest.approx(100 * math.prod(precisions) ** 0.25)
    assert found["ter"].score == pytest.approx(100 * 2 / 12)  # one token too many, one missing


def test_chrf_by_hand():
    # chrF2 of `ab` for `abc`, without whitespace. Unigrams: precision 2/2, recall 2/3. Bigrams: 1/1 and 1/2. The
    # hypothesis has no trigrams, so the order does not count. F2 of the mean precision 1 and the mean recall 7/12.
    recall = (2 / 3 + 1 / 2) / 2
    found = scores(["ab"], ["abc"], confidence=False, chrf=ChrF())
    assert list(found) == ["chrf"]
    assert found["chrf"].score == pytest.approx(100 * 5 * recall / (4 + recall))


def test_brevity_penalty_by_hand():
    found = scores(["a b c d e"], ["a b c d e f"], confidence=False)
    assert found["bleu"].score == pytest.approx(100 * math.exp(1 - 6 / 5))


def test_the_interval_surrounds_the_score_and_is_reproducible():
    hypotheses, references = HYPOTHESES * 10, REFERENCES * 10
    first = scores(hypotheses, references)
    assert first == scores(hypotheses, references)
    for score in first.values():
        assert type(score.low) is type(score.high) is float
    assert first["bleu"].low < first["bleu"].score < first["bleu"].high
    assert first["chrf"].low < first["chrf"].score < first["chrf"].high


def test_without_confidence():
    for score in scores(HYPOTHESES, REFERENCES, confidence=False).values():
        assert score.low is None
        assert score.high is None
        assert "bs:" not in score.signature


def test_signatures():
    found = scores(HYPOTHESES, REFERENCES)
    start, end = "nrefs:1|bs:1000|seed:12345|", f"|version:{sacrebleu.__version__}"
    assert found["bleu"].signature == f"{start}case:mixed|eff:no|tok:13a|smooth:exp{end}"
    assert found["chrf"].signature == f"{start}case:mixed|eff:yes|nc:6|nw:0|space:no{end}"
    assert found["ter"].signature == f"{start}case:lc|tok:tercom|norm:no|punct:yes|asian:no{end}"


@pytest.mark.parametrize("language", ["zh", "zh-CN", "zh_TW", "zho", "zho_Hans", "cmn"])
def test_chinese(language):
    lines = ["\u6211\u662f\u5b66\u751f\u3002"]
    found = scores(lines, lines, language=language, confidence=False)
    assert found["bleu"].score == pytest.approx(100)  # 13a would see a single token, without any 4-gram
    assert "|tok:zh|" in found["bleu"].signature


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_ter_of_scripts_without_spaces_counts_characters(language):
    found = scores(
        ["\u6211\u662f\u5b66\u751f\u3002"],
        ["\u6211\u662f\u8001\u5e08\u3002"],
        language=language,
        confidence=False,
    )
    assert found["ter"].score == pytest.approx(100 * 2 / 5)
    assert "|norm:yes|punct:yes|asian:yes|" in found["ter"].signature


def test_means_of_parts():
    first, second = Score(30.0, "a", 20.0, 40.0), Score(50.0, "b", 48.0, 54.0)
    half = 109**0.5 / 2  # of the interval: theirs are 10 and 3
    mean = mean_score([first, second])
    assert (mean.score, mean.signature) == (40.0, "a; b")
    assert (mean.low, mean.high) == pytest.approx((40.5 - half, 40.5 + half))
    assert mean_score([first, first]).signature == "a"
    assert mean_score([first, Score(1.0, "a", None, None)]) == Score(15.5, "a", None, None)


@pytest.mark.parametrize("language", ["de", "en-GB", "fr_CA", "zu", "jam", ""])
def test_other_languages(language):
    assert default_tokenizer(language) == "13a"


def test_japanese_and_korean_need_their_libraries(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert default_tokenizer("ja") == default_tokenizer("ko-KR") == "char"
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert default_tokenizer("jpn") == "ja-mecab"
    assert default_tokenizer("ko") == "ko-mecab"


def test_chosen_options():
    found = scores(HYPOTHESES, REFERENCES, language="zh", confidence=False, bleu=BLEU(tokenize="char", lowercase=True))
    assert "|tok:char|" in found["bleu"].signature
    assert "case:lc|" in found["bleu"].signature
    raised = [line.upper() for line in REFERENCES]
    assert scores(raised, REFERENCES, bleu=BLEU(lowercase=True))["bleu"].score == pytest.approx(100)
    assert scores(raised, REFERENCES, bleu=BLEU())["bleu"].score == 0
    two = scores(HYPOTHESES, REFERENCES, confidence=False, chrf=ChrF(word_order=2), plain=ChrF())
    assert (two["chrf"].label, two["plain"].label) == ("chrF2++", "plain")
    assert "|nw:2|" in two["chrf"].signature
    assert two["chrf"].score != two["plain"].score
    assert two["chrf"].score == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES], word_order=2).score


def test_the_tokenizers_are_those_of_sacrebleu():
    assert set(get_args(TokenizerName)) == set(OF_SACREBLEU.TOKENIZERS)


@pytest.mark.parametrize("metric", [BLEU(lowercase=True), ChrF(word_order=2), TER()], ids=["bleu", "chrf", "ter"])
def test_the_scorer_of_a_language_is_what_measures(metric):
    lines = ["\u6211\u662f\u5b66\u751f\u3002", "\u6211\u662f\u8001\u5e08\u3002"]
    scorer = metric.scorer("zh")
    found = scorer.corpus_score(lines, [lines[::-1]])
    measured = metric.measure(Texts(lines, lines[::-1], "zh"), False)[""]
    assert (measured.score, measured.signature) == (found.score, str(scorer.get_signature()))


def compounds(line, **options):
    return BLEU(split_compounds=True, **options).scorer("de")._preprocess_segment(line)


def test_compounds_are_split_after_the_tokenizer():
    assert compounds("Ein E-Mail-Konto - ja.") == "Ein E ##AT##-##AT## Mail ##AT##-##AT## Konto - ja ."
    assert compounds("1980-1990 a- -b") == "1980 - 1990 a- -b"  # 13a divides at a hyphen after a digit
    assert compounds("1980-1990 a- -b", tokenize="none") == "1980 ##AT##-##AT## 1990 a- -b"


def test_scores_with_compounds_by_hand():
    # In tokens: a ##AT##-##AT## b c d against a ##AT##-##AT## x c d.
    precisions = [4 / 5, 2 / 4, 1 / 2 / 3, 1 / 4 / 2]  # no trigram and no 4-gram: smoothed
    found = scores(["a-b c d"], ["a-x c d"], confidence=False, bleu=BLEU(split_compounds=True))["bleu"]
    assert found.score == pytest.approx(100 * math.prod(precisions) ** 0.25)
    assert found.signature == (
        f"nrefs:1|case:mixed|eff:no|tok:13a|compounds:split|smooth:exp|version:{sacrebleu.__version__}"
    )
    old = {"tokenize": "none", "lowercase": True}
    split = [line.replace("-", " ##AT##-##AT## ") for line in ("Ab-cd ef gh-i", "ab-cd ef gh-x")]
    by_hand = sacrebleu.corpus_bleu([split[0]], [[split[1]]], force=True, **old)
    found = scores(["Ab-cd ef gh-i"], ["ab-cd ef gh-x"], bleu=BLEU(split_compounds=True, **old))["bleu"]
    assert found.score == by_hand.score
    assert "|case:lc|eff:no|tok:none|compounds:split|" in found.signature


@pytest.mark.skipif(shutil.which("perl") is None, reason="no perl to compare with")
def test_compounds_are_those_of_the_perl_script():
    generator = random.Random(3)
    drawn = [
        "".join(generator.choices("ab-\u00fc\u4e2d \u00a0\u00ad1.", k=generator.randint(0, 30))) for _ in range(500)
    ]
    lines = [line.rstrip() for line in drawn]
    command = ["perl", "-ple", r"s{(\S)-(\S)}{$1 ##AT##-##AT## $2}g"]
    told = subprocess.run(
        command, input="".join(f"{line}\n" for line in lines).encode(), capture_output=True, check=True
    )
    assert told.stdout.decode().split("\n")[:-1] == [compounds(line, tokenize="none") for line in lines]


def test_a_tokenizer_that_cannot_be_used(monkeypatch):
    def refuse(**options):
        raise RuntimeError("\nPlease install\n\n  pip install sacrebleu[ja]\n")

    monkeypatch.setattr("sacrebleu.metrics.BLEU", refuse)
    with pytest.raises(ConfigError) as caught:
        Factory(BLEU, "bleu", {"tokenize": "ja-mecab"}, "metrics.bleu")()
    told = "tokenize=ja-mecab cannot be used: Please install pip install sacrebleu[ja]"
    assert str(caught.value) == f"metrics.bleu: {told}"


def test_lines_that_do_not_pair_up():
    with pytest.raises(DataError, match="2 hypotheses for 3 references"):
        scores(HYPOTHESES, [*REFERENCES, "one more"], language="de")
    with pytest.raises(DataError, match="no hypotheses"):
        scores([], [], language="de")


def test_an_interval_of_lines_without_a_match() -> None:
    score = scores(["ee", "", "e"], ["abcde"] * 3, language="de")["chrf"]
    assert score.low is not None
    assert score.low <= score.score <= (score.high or 0)
