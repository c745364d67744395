"""Names of scores, and the one that tells the best checkpoint."""

from collections.abc import Mapping
from typing import Any

import pytest

from seq2seq.errors import ConfigError
from seq2seq.metrics.base import Metric, metrics
from seq2seq.metrics.scores import Factories, Watched, clashes, names, watched_score
from seq2seq.plugins import load_components
from seq2seq.registry import Factory

load_components()


def made(**chosen: str | None) -> Factories:
    return {key: name and Factory(metrics.components[name], name, {}) for key, name in chosen.items()}


CHOSEN: Mapping[str, Factory[Metric] | None] = made(
    ter="ter", none=None, rouge="rouge", small="rouge", bleu="bleu", twice="bleu"
)


def test_names() -> None:
    found = names(CHOSEN, while_training=True)
    rouge, small = Watched("rougeL", False), Watched("small.rougeL", False)
    assert (found["rougeL"], found["rouge.rougeL"], found["small.rougeL"]) == (rouge, rouge, small)
    assert (found["bleu"], found["twice"]) == (Watched("bleu", False), Watched("twice", False))
    assert "ter" not in found
    assert names(CHOSEN, while_training=False)["ter"] == Watched("ter", True)


@pytest.mark.parametrize(
    ("name", "has_source", "watched"),
    [
        (None, True, Watched("rougeL", False)),
        (None, False, Watched("loss", True)),
        ("rouge.rouge2", True, Watched("rouge2", False)),
        ("small.rouge2", True, Watched("small.rouge2", False)),
        ("loss", True, Watched("loss", True)),
        ("perplexity", False, Watched("perplexity", True)),
        ("token_accuracy", False, Watched("token_accuracy", False)),
    ],
)
def test_what_tells_the_best_checkpoint(name: str | None, has_source: bool, watched: Watched) -> None:
    assert watched_score(name, CHOSEN, has_source) == watched


@pytest.mark.parametrize(
    ("name", "has_source", "told"),
    [
        ("ter", True, "ter is not measured while training; there are: bleu, loss, perplexity, rouge1, "),
        ("bertscore", True, "bertscore is not measured while training; there are: "),
        ("rouge3", True, "no score is called 'rouge3'; did you mean 'rouge"),
        ("rouge", True, "rouge is several scores; there are: rouge1, rouge2, rougeL, rougeLsum"),
        ("distinct-2", True, "distinct-2 is not measured: metrics.distinct={} adds it"),
        ("chrf", False, "text without a source has no chrf: set loss"),
        ("twice", False, "text without a source has no twice: set loss"),
        ("lossy", False, "no score is called 'lossy'; did you mean 'loss'?"),
    ],
)
def test_what_does_not(name: str, has_source: bool, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        watched_score(name, CHOSEN, has_source)
    assert str(caught.value).startswith(f"trainer.metric: {told}")


def test_names_that_are_taken() -> None:
    chosen: dict[str, Any] = {**made(loss="bleu", rouge="rouge", rouge2="chrf", fine="ter"), **made(**{"a/b": "ter"})}
    assert [str(problem) for problem in clashes(chosen)] == [
        "metrics.loss: 'loss' is told always: choose another name",
        "metrics.rouge2: 'rouge2' is a score of metrics.rouge already: choose another name",
        "metrics.a/b: a name without '/' is needed: scores of parts have one",
    ]
    assert list(clashes(CHOSEN)) == []
