"""Where systems are good and bad: scores by the length of the source, and of words by how often they are met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from seq2seq.metrics.base import Metric, Texts
from seq2seq.metrics.scores import score_name
from seq2seq.metrics.words import count_words, words
from seq2seq.plugins import load_components
from seq2seq.reports.comparison import Comparison, System, metrics_of
from seq2seq.reports.ranking import Ranking, value_of

LENGTHS = (1, 6, 11, 16, 21, 31, 41, 61, 101)  # where bins of words in the source begin
MIN_SENTENCES = 10  # of a bin; smaller ones are added to a neighbour
FREQUENCIES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 1000)  # where bins of words begin
MIN_WORDS = 10  # occurrences in the references of a bin that is told


@dataclass(frozen=True)
class Bin:
    """Numbers from low to high, both included; high is None where there is no end. size: how many there are."""

    low: int
    high: int | None
    size: int

    @property
    def label(self) -> str:
        if self.high is None:
            return f"{self.low:,}+"
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,}\u2013{self.high:,}"


@dataclass(frozen=True)
class ByLength:
    """label: of the score.  scores: of each bin, by the names of systems."""

    label: str
    bins: Sequence[Bin]
    scores: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class ByFrequency:
    """Of the words of each bin: recall (of those in the references, how many are in the hypotheses, in %) and F1."""

    bins: Sequence[Bin]
    recall: Mapping[str, Sequence[float]]
    f1: Mapping[str, Sequence[float]]


def length_bins(lengths: Sequence[int], least: int = MIN_SENTENCES) -> list[Bin]:
    """Of numbers of words, 0 with the shortest. No bin is smaller than `least`, if there are that many at all."""
    starts = list(LENGTHS)
    sizes = [0] * len(starts)
    for length in lengths:
        sizes[max(place for place, start in enumerate(starts) if start <= max(length, 1))] += 1
    while len(sizes) > 1 and min(sizes) < least:
        place = sizes.index(min(sizes))
        into = place - 1 if place == len(sizes) - 1 or (place > 0 and sizes[place - 1] <= sizes[place + 1]) else place
        sizes[into : into + 2] = [sizes[into] + sizes[into + 1]]
        del starts[into + 1]
    ends = [*(start - 1 for start in starts[1:]), None]
    return [Bin(*found) for found in zip(starts, ends, sizes, strict=True)]


def place_in(bins: Sequence[Bin], number: int) -> int:
    """Of the bin that holds it; the first one holds what is less, too."""
    return max((place for place, one in enumerate(bins) if one.low <= number), default=0)


def by_length(ranking: Ranking, systems: Sequence[System]) -> ByLength | None:
    """None where there is no source, no hypothesis, or no score that is quick to compute; of several target languages,
    too, since a bin has sentences of each.
    """
    comparison = ranking.comparison
    found = quick_metric(ranking, systems)
    if not comparison.sources or found is None or len(comparison.languages) > 1:
        return None
    name, own, metric = found
    lengths = [count_words(source) for source in comparison.sources]
    bins = length_bins(lengths)
    members: list[list[int]] = [[] for _ in bins]
    for place, length in enumerate(lengths):
        members[place_in(bins, length)].append(place)
    scores = {
        system.name: [_score(metric, own, comparison, system.hypotheses, places) for places in members]
        for system in systems
        if system.hypotheses is not None
    }
    return ByLength(ranking.label(name), bins, scores)


def _score(metric: Metric, own: str, comparison: Comparison, hypotheses: Sequence[str], places: Sequence[int]) -> float:
    sides = [[texts[place] for place in places] for texts in (hypotheses, comparison.references)]
    return metric.measure(Texts(sides[0], sides[1], comparison.language), confidence=False)[own].score


def quick_metric(ranking: Ranking, systems: Sequence[System]) -> tuple[str, str, Metric] | None:
    """The first score that training measures, too: its name, its own name in the metric, and the metric with the
    options that the first system was measured with.
    """
    having = [system for system in systems if system.hypotheses is not None]
    if not having:
        return None
    load_components()
    of_all = [name for name in ranking.metrics if all(value_of(system, name) is not None for system in having)]
    made = metrics_of(having[0], lambda key, component: component.while_training)
    owns = {score_name(key, own, metric): (own, metric) for key, metric in made.items() for own in metric.kinds}
    return next(((name, *owns[name]) for name in of_all if name in owns), None)


def by_frequency(references: Sequence[str], hypotheses: Mapping[str, Sequence[str]]) -> ByFrequency | None:
    """How well words are met by how often they are in the references.

    A word of a hypothesis is met where its reference has it, as often as it has it; the order does not count. Words are
    in lower case. None where there are not two bins with enough words.
    """
    of_references = [Counter(words(line)) for line in references]
    frequency = Counter(chain.from_iterable(map(Counter.elements, of_references)))
    whole = _bins_of_words(frequency, of_references)
    kept = [place for place, one in enumerate(whole) if one.size >= MIN_WORDS]
    if len(kept) < 2:
        return None
    recall, f1 = {}, {}
    for name, lines in hypotheses.items():
        written, met = [0] * len(whole), [0] * len(whole)
        for line, reference in zip(lines, of_references, strict=True):
            for word, number in Counter(words(line)).items():
                place = place_in(whole, frequency.get(word, 0))
                written[place] += number
                met[place] += min(number, reference.get(word, 0))
        recall[name] = [100 * met[place] / whole[place].size for place in kept]
        f1[name] = [100 * 2 * met[place] / (written[place] + whole[place].size) for place in kept]
    return ByFrequency([whole[place] for place in kept], recall, f1)


def _bins_of_words(frequency: Mapping[str, int], lines: Sequence[Counter[str]]) -> list[Bin]:
    """Their sizes are occurrences in the lines."""
    ends = [*(start - 1 for start in FREQUENCIES[1:]), None]
    empty = [Bin(start, end, 0) for start, end in zip(FREQUENCIES, ends, strict=True)]
    sizes = [0] * len(empty)
    for line in lines:
        for word, number in line.items():
            sizes[place_in(empty, frequency.get(word, 0))] += number
    return [Bin(one.low, one.high, size) for one, size in zip(empty, sizes, strict=True)]
