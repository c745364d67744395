"""Comparisons that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq.reports.comparison import Comparison, Curve, Group, Significance, System, best_first

SOURCES = [
    "A small house stands there .",
    "The dog sees the old man .",
    "We do not sell the blue car tomorrow .",
    "Good morning !",
]
REFERENCES = [
    "Dort steht ein kleines Haus .",
    "Der Hund sieht den alten Mann .",
    "Wir verkaufen das blaue Auto morgen nicht .",
    "Guten Morgen !",
]
HYPOTHESES = [
    "Dort steht ein Haus .",
    "Der Hund sieht den alten Mann .",
    "Wir verkaufen morgen morgen morgen morgen .",
    "",
]
LABELS = {"bleu": "BLEU", "ter": "TER"}


def curves(values: Sequence[float] = (9.0, 4.0, 2.0), tokens: bool = True) -> dict[str, Curve]:
    steps = [10 * (i + 1) for i in range(len(values))]
    told = [100 * step if tokens else None for step in steps]
    curve = Curve(steps, [step / 2 for step in steps], told, values)
    return {"train/loss": curve, "validation/bleu": curve, "validation/loss": curve, "train/lr": curve}


def score(value: float, signature: str = "nrefs:1") -> dict[str, Any]:
    return {"score": value, "low": value - 1, "high": value + 1, "signature": signature, "label": ""}


def system(
    name: str,
    bleu: float | None = 30.0,
    config: Mapping[str, Any] | None = None,
    hypotheses: Sequence[str] | None = HYPOTHESES,
    **changes: Any,
) -> System:
    scores: dict[str, Any] = {"loss": 2.0, "perplexity": 7.389, "token_accuracy": 50.0, "sentences_per_second": 12.5}
    if bleu is not None:
        scores |= {"bleu": score(bleu), "ter": score(100 - bleu), "metrics": {"bleu": {"name": "bleu"}, "ter": {}}}
    told: dict[str, Any] = {"scores": scores, "num_parameters": 1_234_567, "seconds": 3700.0, "curves": curves()}
    told |= {"tokens_per_second": 9876.0, "config": dict(config or {"data.source": "en"})} | changes
    return System(name=name, run=Path("runs") / name, hypotheses=hypotheses, **told)


def comparison(systems: Sequence[System], **changes: Any) -> Comparison:
    told: dict[str, Any] = {"name": "test", "sources": SOURCES, "references": REFERENCES, "languages": ["de"]}
    told |= {"labels": LABELS, "lower_is_better": frozenset({"ter"}), "varied": ["optimizer.lr"]} | changes
    return Comparison(systems=best_first(systems, told["labels"], told["lower_is_better"]), **told)


def sweep() -> Comparison:
    """2 models x 2 rates x 2 seeds; the model changes two keys."""
    systems, groups = [], []
    for width, model in ((64, "lstm"), (128, "transformer")):
        for lr in (1e-3, 1e-2):
            own = []
            for seed in (1, 2):
                config = {"model.name": model, "model.d_model": width, "optimizer.lr": lr, "trainer.seed": seed}
                bleu = 20 + width / 10 + (lr > 5e-3) + seed / 10
                own.append(system(f"model={model},optimizer.lr={lr},trainer.seed={seed}", bleu, config))
            systems += own
            groups.append(Group(f"model={model},optimizer.lr={lr}", own, {"bleu": own[0].scores["bleu"]["score"]}, {}))
    baseline = systems[0].name
    tests = {(one.name, "bleu"): Significance(0.012, 0.0001) for one in systems[1:]}
    varied = ["model.name", "model.d_model", "optimizer.lr"]
    return comparison(systems, varied=varied, groups=groups, baseline=baseline, tests=tests)
