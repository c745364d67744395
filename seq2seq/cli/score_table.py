"""What seq2seq-evaluate tells: the scores of the whole from those of parts, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from seq2seq.metrics.scores import Score, mean_score

METRICS = (("bleu", "BLEU"), ("chrf", "chrF2"), ("ter", "TER"))


def whole(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of the parts, which count alike, of all that each of them has."""
    if len(parts) == 1:
        return dict(parts[0])
    names = [name for name in parts[0] if all(name in part for part in parts)]
    found = {name: [part[name] for part in parts] for name in names}
    results: dict[str, Any] = {
        name: mean_score(values) if isinstance(values[0], Score) else sum(values) / len(values)
        for name, values in found.items()
    }
    return results | {"perplexity": math.exp(results["loss"]), "sentences": sum(found["sentences"])}


def plain(results: Mapping[str, Any]) -> dict[str, Any]:
    """Ready for JSON."""
    return {name: asdict(value) if isinstance(value, Score) else value for name, value in results.items()}


def table(results: Mapping[str, Any]) -> str:
    """Of what scores.json holds."""
    steps = ", ".join(f"{step:,}" for step in results["steps"])
    told = f" (step {steps})" if steps else ""
    metrics = [(name, label) for name, label in METRICS if name in results]
    parts: Mapping[str, Any] = results.get("parts", {})
    lines = [
        f"{results['name']}: {results['sentences']:,} sentences, checkpoint {results['checkpoint']}{told}",
        *([f"means of {len(parts)} parts, each by itself below"] if parts else []),
        "",
        f"metric          score{'    95% interval' if metrics else ''}",
    ]
    for name, label in metrics:
        score = results[name]
        lines.append(f"{label:<12}{score['score']:9.2f}    {score['low']:.2f} to {score['high']:.2f}")
    lines += [
        f"{'loss':<12}{results['loss']:9.3f}    nats per token",
        f"{'perplexity':<12}{results['perplexity']:9.2f}    per token",
    ]
    if "bits_per_byte" in results:
        lines.append(f"{'bits':<12}{results['bits_per_byte']:9.3f}    per byte of text, whatever the tokenizer")
    if "sentences_per_second" in results:
        lines.append(f"{'speed':<12}{results['sentences_per_second']:9.1f}    sentences/s with {results['backend']}")
    if parts:
        lines += ["", *_rows(parts, metrics)]
    if metrics:
        lines += ["", *_signatures(parts or {"": results}, metrics)]
    return "\n".join(lines)


def _rows(parts: Mapping[str, Any], metrics: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A line for each part."""
    width = max(12, *(len(name) for name in parts))
    yield f"{'part':<{width}}{'sentences':>11}{''.join(f'{label:>9}' for _, label in metrics)}{'loss':>9}"
    for part, found in parts.items():
        scores = "".join(f"{found[name]['score']:9.2f}" for name, _ in metrics)
        yield f"{part:<{width}}{found['sentences']:11,}{scores}{found['loss']:9.3f}"


def _signatures(parts: Mapping[str, Any], metrics: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each one once, with the parts that it is of where those of others differ."""
    for name, label in metrics:
        of: dict[str, list[str]] = {}
        for part, found in parts.items():
            of.setdefault(found[name]["signature"], []).append(part)
        for signature, having in of.items():
            told = f"  of {', '.join(having)}" if len(of) > 1 else ""
            yield f"{label}|{signature}{told}"
