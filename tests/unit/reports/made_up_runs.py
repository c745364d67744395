"""Run directories as training and evaluation leave them, but made up."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seq2seq.reports.runs import digest

REFERENCES = ["das Haus ist rot .", "der Hund schläft heute .", "wir gehen nach Hause .", "sie liest ein Buch ."]
CONFIG = {
    "model": {"name": "lstm"},
    "optimizer": {"name": "adamw", "lr": 0.001},
    "trainer": {"seed": 1, "device": "cpu"},
    "init_from": None,
}
LINES = [
    {"step": 2, "seconds": 1.5, "train/loss": 5.0, "train/tokens_per_second": 900.0, "train/tokens": 300.0},
    {"step": 4, "seconds": 3.0, "train/loss": 4.0, "train/tokens_per_second": 1000.0, "train/tokens": 700.0},
    {"step": 4, "seconds": 3.5, "validation/bleu": 12.0, "validation/loss": 3.5, "validation/best": 1.0},
    {"step": 5, "seconds": 5.0, "train/loss": None, "train/tokens_per_second": 500.0},
    {"step": 5, "seconds": 5.25, "validation/bleu": 11.0, "validation/loss": None},
    {"step": 6, "seconds": 6.25, "train/loss": 3.0, "train/tokens_per_second": 1500.0, "train/tokens": 1100.0},
]


def make_run(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    bleu: float = 20.0,
    scores: Mapping[str, Any] | None = None,
    hypotheses: Sequence[str] | None = None,
    references: Sequence[str] = REFERENCES,
) -> Path:
    """changes: of the config, flat.  scores: laid over what scores.json holds otherwise."""
    config: dict[str, Any] = json.loads(json.dumps(CONFIG))
    for key, value in (changes or {}).items():
        *groups, last = key.split(".")
        node = config
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    (folder / "evaluation" / "test").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"format": 1, **config}), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES), encoding="utf-8")
    write_weights(folder / "checkpoints" / "step_00000004", {"a": [3, 4], "b": [5]})
    told = scores_of(bleu, references) | (scores or {})
    if "search" in told:
        lines = references if hypotheses is None else hypotheses
        told["hypotheses"] = digest(lines)
        text = "".join(f"{line}\n" for line in lines)
        (folder / "evaluation" / "test" / "hypotheses.txt").write_text(text, encoding="utf-8")
    (folder / "evaluation" / "test" / "scores.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def scores_of(bleu: float, references: Sequence[str] = REFERENCES) -> dict[str, Any]:
    """Of a run that translates."""
    return {
        "bleu": score(bleu, "BLEU", "nrefs:1|tok:13a"),
        "chrf": score(bleu + 20, "chrF2", "nrefs:1|nc:6"),
        "ter": score(100 - bleu, "TER", "nrefs:1|norm:no"),
        "loss": 2.5, "perplexity": 12.18, "token_accuracy": 55.5, "sentences": len(references),
        "name": "test", "files": [], "tag": None, "checkpoint": "best", "steps": [4], "weights": ["f00"],
        "examples": {"sources": "50", "references": hashlib.sha256(repr([*references]).encode()).hexdigest()},
        "languages": ["de"], "precision": "fp32", "version": "0.1.0", "sentences_per_second": 71.64,
        "search": {"name": "beam", "beam_size": 5},
        "metrics": {"bleu": {"tokenize": None, "lowercase": False}, "chrf": {"word_order": 0}, "ter": {}},
        "lower_is_better": ["ter"], "backend": "torch",
    }  # fmt: skip


def text_scores(bits: float) -> dict[str, Any]:
    """Of a language model."""
    scores = scores_of(0)
    for name in ("bleu", "chrf", "ter", "search", "metrics", "lower_is_better", "backend", "sentences_per_second"):
        del scores[name]
    return scores | {"bits_per_byte": bits}


def score(value: float, label: str, signature: str) -> dict[str, Any]:
    """With an interval of 1 on either side."""
    return {"score": value, "signature": signature, "low": value - 1, "high": value + 1, "label": label}


def write_weights(folder: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """A safetensors file without its numbers: the header is all that is read."""
    folder.mkdir(parents=True)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    header |= {name: {"dtype": "F32", "shape": [*shape], "data_offsets": [0, 0]} for name, shape in shapes.items()}
    told = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(told)) + told)
