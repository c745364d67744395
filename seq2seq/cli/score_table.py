"""What seq2seq-evaluate tells: the scores of the whole from those of parts, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from seq2seq.metrics.base import Score, mean_score, means

OF_THE_MODEL = (  # measured without translating
    ("loss", "loss", "9.3f", "nats per token"),
    ("perplexity", "perplexity", "9.2f", "per token"),
    ("word_perplexity", "", "9.2f", "per word"),
    ("byte_perplexity", "", "9.2f", "per byte"),
    ("bits_per_byte", "bits", "9.3f", "per byte of text, whatever the tokenizer"),
    ("token_accuracy", "accuracy", "9.2f", "% of tokens are the likeliest after those before"),
    ("sentences_per_second", "speed", "9.1f", "sentences/s with {backend}"),
)


def whole(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of the parts, which count alike, of all that each of them has."""
    if len(parts) == 1:
        return dict(parts[0])
    numbers = [{name: value for name, value in part.items() if not isinstance(value, Score)} for part in parts]
    shared = [name for name, value in parts[0].items() if isinstance(value, Score) and all(name in p for p in parts)]
    scores = {name: mean_score([part[name] for part in parts]) for name in shared}
    return means(numbers) | {"sentences": sum(part["sentences"] for part in parts)} | scores


def plain(results: Mapping[str, Any]) -> dict[str, Any]:
    """Ready for JSON, which has no inf."""
    found = {name: asdict(value) if isinstance(value, Score) else value for name, value in results.items()}
    return {name: None if value == math.inf else value for name, value in found.items()}


def table(results: Mapping[str, Any]) -> str:
    """Of what scores.json holds."""
    steps = ", ".join(f"{step:,}" for step in results["steps"])
    told = f" (step {steps})" if steps else ""
    metrics = [(name, value["label"]) for name, value in results.items() if _is_score(value)]
    width = max(12, *(len(label) + 1 for _, label in metrics)) if metrics else 12
    parts: Mapping[str, Any] = results.get("parts", {})
    lines = [
        f"{results['name']}: {results['sentences']:,} sentences, checkpoint {results['checkpoint']}{told}",
        *([f"means of {len(parts)} parts, each by itself below"] if parts else []),
        "",
        f"{'metric':<{width}}{'score':>9}{'    95% interval' if metrics else ''}",
    ]
    for name, label in metrics:
        score = results[name]
        interval = "" if score["low"] is None else f"    {score['low']:.2f} to {score['high']:.2f}"
        lines.append(f"{label:<{width}}{score['score']:9.2f}{interval}")
    for name, label, form, meaning in OF_THE_MODEL:
        if name in results:
            number = math.inf if results[name] is None else results[name]
            value = f"{number:{form if number < 1e6 else '9.2e'}}"
            lines.append(f"{label:<{width}}{value}    {meaning.format(**results)}")
    if parts:
        lines += ["", *_rows(parts, metrics)]
    if metrics:
        lines += ["", *_signatures(parts or {"": results}, metrics)]
    return "\n".join(lines)


def _is_score(value: Any) -> bool:
    return isinstance(value, Mapping) and "signature" in value


def _rows(parts: Mapping[str, Any], metrics: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A line for each part."""
    width = max(12, *(len(name) for name in parts))
    wide = [max(9, len(label) + 2) for _, label in metrics]
    labels = "".join(f"{label:>{room}}" for (_, label), room in zip(metrics, wide, strict=True))
    yield f"{'part':<{width}}{'sentences':>11}{labels}{'loss':>9}"
    for part, found in parts.items():
        scores = "".join(f"{found[name]['score']:{room}.2f}" for (name, _), room in zip(metrics, wide, strict=True))
        yield f"{part:<{width}}{found['sentences']:11,}{scores}{found['loss']:9.3f}"


def _signatures(parts: Mapping[str, Any], metrics: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each one once, with the parts that it is of where those of others differ, and all scores that it is of."""
    lines: dict[str, list[str]] = {}
    for name, label in metrics:
        of: dict[str, list[str]] = {}
        for part, found in parts.items():
            of.setdefault(found[name]["signature"], []).append(part)
        for signature, having in of.items():
            told = f"  of {', '.join(having)}" if len(of) > 1 else ""
            lines.setdefault(f"{signature}{told}", []).append(label)
    for line, labels in lines.items():
        yield f"{', '.join(labels)}|{line}"
