"""What decides the scores of a run, so that they need not be measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from seq2seq import __version__
from seq2seq.errors import CheckpointError

if TYPE_CHECKING:
    from seq2seq.cli.evaluate import Plan
    from seq2seq.metrics.base import Metric


def facts(plan: Plan, engine: str | None) -> dict[str, Any]:
    """Told in scores.json beside the scores. engine: what translates; None for a language model."""
    from seq2seq.binding import to_plain
    from seq2seq.reports.runs import digest
    from seq2seq.training.checkpoint import WEIGHTS

    options, examples = plan.options, plan.examples
    identity = plan.config.model.options.get("architecture", {}).get("identity")
    found: dict[str, Any] = {
        "name": options.name,
        "files": options.files,
        "tag": options.tag,
        "checkpoint": _told(plan),
        "steps": [checkpoint.step for checkpoint in plan.checkpoints],
        "weights": [c.files.get(WEIGHTS, {}).get("sha256") for c in plan.checkpoints] or [identity],
        "examples": {
            "sources": digest([example.source for example in examples]),
            "references": digest([example.target for example in examples]),
        },
        "languages": [*dict.fromkeys(part.language for part in plan.parts.values())],
        "precision": options.precision,
        "version": __version__,
    }
    if engine is None:
        return found
    made = plan.config.measures()
    return found | {
        "search": to_plain(plan.config.search),
        "metrics": to_plain(plan.config.metrics),
        "sacrebleu": _sacrebleu(made, found["languages"]),
        "lower_is_better": _lower_is_better(made),
        "backend": engine,
    }


def _told(plan: Plan) -> str:
    """What `best` is where nothing was validated, or nothing trained."""
    if plan.options.checkpoint != "best" or any(found.metrics for found in plan.checkpoints):
        return plan.options.checkpoint
    return "last" if plan.checkpoints else "untrained"


def known_scores(plan: Plan) -> dict[str, Any] | None:
    """What scores.json holds, where measuring again would give the same."""
    from seq2seq.export.choice import expected_engine
    from seq2seq.reports.runs import read_hypotheses, read_scores
    from seq2seq.training.checkpoint import WEIGHTS
    from seq2seq.training.precision import resolve_device

    options = plan.options
    try:
        scores = read_scores(plan.folder)
        for checkpoint in plan.checkpoints:  # a broken one is told by measuring
            if (checkpoint.folder / WEIGHTS).stat().st_size != checkpoint.files.get(WEIGHTS, {}).get("size"):
                return None
        engine = None
        if plan.config.has_source:
            engine = expected_engine(plan.config, resolve_device(options.device), options.backend, options.precision)
            read_hypotheses(plan.folder, scores)
    except (CheckpointError, OSError):
        return None
    wanted = json.loads(json.dumps(facts(plan, engine)))
    return scores if all(scores.get(key) == value for key, value in wanted.items()) else None


def _sacrebleu(made: Mapping[str, Metric], languages: Sequence[str]) -> dict[str, Any] | None:
    """What its scores depend on beside their options, by what is installed here. None without any."""
    from seq2seq.metrics.sacrebleu import BLEU, BySacrebleu

    if not any(isinstance(metric, BySacrebleu) for metric in made.values()):
        return None
    cut_by = {
        key: [metric.tokenizer_for(language) for language in languages]
        for key, metric in made.items()
        if isinstance(metric, BLEU)
    }
    return {"version": version("sacrebleu"), "tokenize": cut_by}


def _lower_is_better(made: Mapping[str, Metric]) -> list[str]:
    from seq2seq.metrics.scores import score_name

    return [
        score_name(key, own, metric)
        for key, metric in made.items()
        for own, kind in metric.kinds.items()
        if kind.lower_is_better
    ]
