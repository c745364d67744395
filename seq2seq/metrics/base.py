"""What a metric is: from the hypotheses and references of a corpus to scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seq2seq.errors import DataError
from seq2seq.registry import Family

NUM_RESAMPLES = 1000
SEED = 12345  # sacrebleu's


@dataclass(frozen=True)
class Kind:
    """What a score is called by people, and whether less of it is better."""

    label: str
    lower_is_better: bool = False


@dataclass(frozen=True)
class Score:
    """score: 0 to 100 and the higher the better, unless its kind says otherwise. signature: what exactly was computed,
    in the form of sacrebleu's. low, high: the 95% confidence interval, None where there is none or nobody asked for it.
    """

    score: float
    signature: str
    low: float | None = None
    high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Texts:
    """Lines that belong together: plain, detokenized. language: of hypotheses and references, a code such as `de`.

    sources: None where there are none. Raises DataError for lines that do not pair up.
    """

    hypotheses: Sequence[str]
    references: Sequence[str]
    language: str
    sources: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if len(self.hypotheses) != len(self.references):
            counts = f"{len(self.hypotheses)} hypotheses for {len(self.references)} references"
            raise DataError(f"{counts}: there must be one for each")
        if not self.hypotheses:
            raise DataError("there are no hypotheses to score")


class Metric(ABC):
    """Scores of a corpus.

    kinds: the scores by name; of a metric with a single one the name is empty. main: which of them tells the best
    checkpoint. while_training: whether it is measured at each validation, as what is quick is. runs_code: the option
    whose value, a file, can run code when it is read.
    """

    kinds: ClassVar[Mapping[str, Kind]]
    main: ClassVar[str] = ""
    while_training: ClassVar[bool] = True
    runs_code: ClassVar[str | None] = None

    @abstractmethod
    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        """By the names in `kinds`. confidence: whether to tell intervals."""

    def label(self, name: str) -> str:
        """What people call one of the scores."""
        return self.kinds[name].label

    def problems(self, language: str) -> Iterator[str]:
        """What does not fit the target language, told before any work."""
        return iter(())


metrics: Family[Metric] = Family("metrics", Metric)


def mean_of_lines(values: NDArray[np.float64], signature: str, confidence: bool) -> Score:
    """The score of a metric that is a mean over lines, whose values are those of each, in %."""
    score = float(values.mean())
    if not confidence:
        return Score(score, f"nrefs:1|{signature}")
    low, high = bootstrap_interval(values)
    return Score(score, f"nrefs:1|bs:{NUM_RESAMPLES}|seed:{SEED}|{signature}", low, high)


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of a mean over lines, from means of lines that are drawn again, from a fixed seed."""
    generator = np.random.default_rng(SEED)
    size = len(values)
    means = [values[generator.integers(size, size=size)].mean() for _ in range(NUM_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def mean_score(scores: Sequence[Score]) -> Score:
    """Of parts that were scored each by itself: its interval is narrower than theirs, as that of any mean."""
    number = len(scores)
    score = sum(one.score for one in scores) / number
    signature, label = "; ".join(dict.fromkeys(one.signature for one in scores)), scores[0].label
    intervals = [(one.low, one.high) for one in scores if one.low is not None and one.high is not None]
    if len(intervals) < number:
        return Score(score, signature, label=label)
    centre = sum(low + high for low, high in intervals) / 2 / number
    half = math.hypot(*(high - low for low, high in intervals)) / 2 / number
    return Score(score, signature, centre - half, centre + half, label)


def means(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of what all parts have, which count alike; of perplexities that of the mean loss."""
    found: dict[str, float] = {}
    for name in parts[0]:
        if all(name in part for part in parts):
            values = [part[name] for part in parts]
            of_logarithms = name.endswith("perplexity")
            mean = sum(map(math.log, values) if of_logarithms else values) / len(values)
            found[name] = perplexity(mean) if of_logarithms else mean
    return found


def perplexity(nats: float) -> float:
    """The exponential of a loss per unit of text; inf where a model is so bad that it is beyond the largest float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
