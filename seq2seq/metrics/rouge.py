"""ROUGE, by rouge-score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from seq2seq.data.scripts import code_of
from seq2seq.metrics.base import Kind, Metric, Score, Texts, mean_of_lines, metrics
from seq2seq.metrics.words import sentences, words


@metrics.register("rouge")
class ROUGE(Metric):
    """F1 of words, pairs of words and the longest common subsequence, the mean over lines (Lin 2004, W04-1013); needs
    rouge-score, whose own tokenizer knows English alone: words of other languages are runs of letters and digits.

    Options:
        stem: whether endings of English words do not count, by Porter's stemmer
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "rouge1": Kind("ROUGE-1"),
        "rouge2": Kind("ROUGE-2"),
        "rougeL": Kind("ROUGE-L"),
        "rougeLsum": Kind("ROUGE-Lsum"),
    }
    main: ClassVar[str] = "rougeL"

    def __init__(self, *, stem: bool = False) -> None:
        """Raises ValueError where the library is missing."""
        if find_spec("rouge_score") is None:
            raise ValueError(
                "the library `rouge-score` is missing: pip install 'seq2seq[generation]', or set null to do without"
            )
        self.stem = stem

    def problems(self, language: str) -> Iterator[str]:
        if self.stem and not _is_english(language):
            yield f"stem=true is for English, but the target language is '{language}'"

    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        """Sentences of a line, which ROUGE-Lsum compares each by itself, are told by their punctuation."""
        from rouge_score.rouge_scorer import RougeScorer

        english = _is_english(texts.language)
        scorer = RougeScorer(list(self.kinds), use_stemmer=self.stem, tokenizer=None if english else _Unicode())
        pairs = zip(texts.references, texts.hypotheses, strict=True)
        found = [scorer.score(*("\n".join(sentences(text)) for text in pair)) for pair in pairs]
        stem, tokenizer = "porter" if self.stem else "no", "rouge" if english else "unicode"
        how = f"case:lc|tok:{tokenizer}|stem:{stem}|sent:punct|mean:f1"
        signature = f"{how}|version:rouge-score-{version('rouge-score')}"
        return {
            name: mean_of_lines(np.array([100 * line[name].fmeasure for line in found]), signature, confidence)
            for name in self.kinds
        }


class _Unicode:
    """What the scorer cuts texts with."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _is_english(language: str) -> bool:
    return code_of(language) in ("en", "eng")
