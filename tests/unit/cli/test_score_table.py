"""What seq2seq-evaluate prints."""

import json
import math
from typing import Any

import pytest

from seq2seq.cli.score_table import plain, table, whole
from seq2seq.metrics.base import Score

ABOUT = {"name": "test", "checkpoint": "best", "steps": [1200], "sentences_per_second": 12.34, "backend": "torch"}


def part(bleu: float, loss: float, signature: str = "b", **more: Any) -> dict[str, Any]:
    return {
        "loss": loss,
        "perplexity": math.exp(loss),
        "token_accuracy": 10 * loss,
        "sentences": 1000,
        "bleu": Score(bleu, signature, bleu - 1, bleu + 2, "BLEU"),
        "distinct-1": Score(7.0, "d", label="distinct-1"),
        "rouge1": Score(30.0, "r", 29.0, 31.0, "ROUGE-1"),
        "rougeLsum": Score(20.0, "r", 19.0, 21.0, "summary ROUGE-Lsum"),
        **more,
    }


def test_of_one_part() -> None:
    more = {"word_perplexity": 2.5e9, "byte_perplexity": 1.5, "bits_per_byte": 0.585}
    assert table(plain(whole([part(31.25, 2.0, **more)])) | ABOUT) == (
        "test: 1,000 sentences, checkpoint best (step 1,200)\n"
        "\n"
        "metric                 score    95% interval\n"
        "BLEU                   31.25    30.25 to 33.25\n"
        "distinct-1              7.00\n"
        "ROUGE-1                30.00    29.00 to 31.00\n"
        "summary ROUGE-Lsum     20.00    19.00 to 21.00\n"
        "loss                   2.000    nats per token\n"
        "perplexity              7.39    per token\n"
        "                    2.50e+09    per word\n"
        "                        1.50    per byte\n"
        "bits                   0.585    per byte of text, whatever the tokenizer\n"
        "accuracy               20.00    % of tokens are the likeliest after those before\n"
        "speed                   12.3    sentences/s with torch\n"
        "\n"
        "BLEU|b\n"
        "distinct-1|d\n"
        "ROUGE-1, summary ROUGE-Lsum|r"
    )


def test_of_several_parts() -> None:
    parts = {"to_de": part(30, 2.0, "tok:13a"), "to_zh": part(40, 4.0, "tok:zh", word_perplexity=9.0)}
    results = whole([*parts.values()])
    assert "word_perplexity" not in results  # which not each of them has
    assert results["perplexity"] == pytest.approx(math.exp(3))
    assert results["token_accuracy"] == 30
    told = table(plain(results) | ABOUT | {"parts": {name: plain(found) for name, found in parts.items()}})
    assert told.splitlines()[-9:] == [
        "",
        "part          sentences     BLEU  distinct-1  ROUGE-1  summary ROUGE-Lsum     loss",
        "to_de             1,000    30.00        7.00    30.00               20.00    2.000",
        "to_zh             1,000    40.00        7.00    30.00               20.00    4.000",
        "",
        "BLEU|tok:13a  of to_de",
        "BLEU|tok:zh  of to_zh",
        "distinct-1|d",
        "ROUGE-1, summary ROUGE-Lsum|r",
    ]


def test_perplexities_of_parts_are_those_of_their_mean_loss() -> None:
    results = whole([part(1, 2.0, word_perplexity=4.0), part(1, 2.0, word_perplexity=16.0)])
    assert results["word_perplexity"] == pytest.approx(8)
    assert results["sentences"] == 2000


def test_a_model_that_is_beyond_numbers() -> None:
    results = plain({"loss": 1537.0, "perplexity": math.inf, "token_accuracy": 0.0, "sentences": 3})
    assert json.loads(json.dumps(results, allow_nan=False))["perplexity"] is None
    assert table(results | ABOUT).splitlines()[3:5] == [
        "loss         1537.000    nats per token",
        "perplexity        inf    per token",
    ]


def test_without_metrics() -> None:
    found = {"loss": 2.0, "perplexity": 7.4, "token_accuracy": 20.0, "sentences": 3}
    told = table(plain(found) | ABOUT)
    assert "interval" not in told
    assert told.splitlines()[2] == "metric          score"
