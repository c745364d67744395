"""The metrics of a run: their scores by name, all of a corpus, and the one that tells the best checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from seq2seq.errors import ConfigError, Problem, suggest
from seq2seq.metrics.base import Kind, Metric, Score, Texts, metrics
from seq2seq.registry import Factory

USUAL: dict[str, dict[str, object]] = {"bleu": {}, "chrf": {}, "ter": {}}  # of runs that are older than the choice
OF_THE_MODEL = {  # measured without translating, always
    "loss": Kind("loss", lower_is_better=True),
    "perplexity": Kind("perplexity", lower_is_better=True),
    "token_accuracy": Kind("accuracy"),
}
TOLD_BESIDE = (
    *("best", "sentences", "word_perplexity", "byte_perplexity", "bits_per_byte", "parts"),
    *("name", "files", "tag", "checkpoint", "steps", "weights", "examples", "languages", "hypotheses", "precision"),
    *("version", "search", "metrics", "sacrebleu", "lower_is_better", "backend", "sentences_per_second"),
)

Factories = Mapping[str, Factory[Metric] | None]


@dataclass(frozen=True)
class Watched:
    """The score that tells the best checkpoint."""

    name: str
    lower_is_better: bool


def corpus_scores(made: Mapping[str, Metric], texts: Texts, *, confidence: bool) -> dict[str, Score]:
    """The scores of all metrics by name. made: the metrics, by the keys that they have in the config."""
    return {
        score_name(key, own, metric): replace(score, label=_label(key, own, metric))
        for key, metric in made.items()
        for own, score in metric.measure(texts, confidence).items()
    }


def score_name(key: str, own: str, metric: Metric | type[Metric]) -> str:
    """The key of a metric with one score; of one with several, whose key is its usual name, the score's own."""
    if not own:
        return key
    return own if _is_usual(key, metric) else f"{key}.{own}"


def _is_usual(key: str, metric: Metric | type[Metric]) -> bool:
    component = metric if isinstance(metric, type) else type(metric)
    return metrics.components.get(key) is component


def _label(key: str, own: str, metric: Metric) -> str:
    label = metric.label(own)
    return label if _is_usual(key, metric) else f"{key} {label}" if own else key


def names(factories: Factories, *, while_training: bool) -> dict[str, Watched]:
    """What `trainer.metric` may be: the scores of the metrics by their names, and by `key.name`.

    while_training: only of those that training measures.
    """
    found: dict[str, Watched] = {}
    for key, factory in factories.items():
        if factory is not None and (factory.component.while_training or not while_training):
            for own, kind in factory.component.kinds.items():
                watched = Watched(score_name(key, own, factory.component), kind.lower_is_better)
                found |= {name: watched for name in (watched.name, f"{key}.{own}") if not name.endswith(".")}
    return found


def clashes(factories: Factories) -> Iterator[Problem]:
    """Keys whose scores would have the names of others, or be taken for those of a part."""
    taken = dict.fromkeys((*OF_THE_MODEL, *TOLD_BESIDE), "is told always")
    for key, factory in factories.items():
        if factory is None:
            continue
        if "/" in key:
            yield Problem(f"metrics.{key}", "a name without '/' is needed: scores of parts have one")
        for own in factory.component.kinds:
            name = score_name(key, own, factory.component)
            if name in taken:
                yield Problem(f"metrics.{key}", f"'{name}' {taken[name]}: choose another name")
            taken[name] = f"is a score of metrics.{key} already"


def watched_score(name: str | None, factories: Factories, has_source: bool) -> Watched:
    """The score that `trainer.metric` names; None means the main one of the first metric, of text alone the loss.

    Raises ConfigError for what training does not measure.
    """
    of_the_model = {own: Watched(own, kind.lower_is_better) for own, kind in OF_THE_MODEL.items()}
    known = names(factories, while_training=True) if has_source else {}
    if name is None:
        first = next(((k, f) for k, f in factories.items() if f is not None and f.component.while_training), None)
        if first is None or not has_source:
            return of_the_model["loss"]
        key, factory = first
        return known[score_name(key, factory.component.main, factory.component)]
    if found := {**of_the_model, **known}.get(name):
        return found
    raise ConfigError(Problem("trainer.metric", _refusal(name, factories, has_source, {**known, **of_the_model})))


def _refusal(name: str, factories: Factories, has_source: bool, known: Mapping[str, Watched]) -> str:
    choices = list(dict.fromkeys(watched.name for watched in known.values()))
    measured = names(factories, while_training=False)
    elsewhere = next((key for key, metric in metrics.components.items() if name in (key, *metric.kinds)), None)
    if not has_source and (name in measured or elsewhere is not None):
        return f"text without a source has no {name}: set loss"
    if name in measured or (elsewhere is not None and not metrics.components[elsewhere].while_training):
        return f"{name} is not measured while training; {suggest('', choices)}"
    if elsewhere is None:
        return f"no score is called '{name}'; {suggest(name, choices)}"
    if factories.get(elsewhere) is not None:  # a metric of several scores
        return f"{name} is several scores; {suggest('', metrics.components[elsewhere].kinds)}"
    return f"{name} is not measured: metrics.{elsewhere}={{}} adds it"
