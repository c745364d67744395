"""eole, trained until it is as good as asked for: its model, optimizer, schedule, Trainer and Translator.

The clock stands still while the model is scored. Scored are the weights as they are and, where these come near, the
mean of the last snapshots too, as the recipe of Wu et al. 2021 (arXiv:2105.14462) has it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from eole.models.model import get_model_class
from eole.trainer import build_trainer
from eole.utils.optimizers import Optimizer
from peers.eole import config_of, vocabs_of
from peers.measuring import EOS, Pairs, Work, lengths_of
from peers.search_eole import best_of, translator_of
from torch import Tensor

NEAR = 5.0  # BLEU below the goal, from where the mean is scored too


@dataclass(frozen=True)
class QualityWork(Work):
    """goal: BLEU.  limit: seconds of training, after which it is given up.  warmup: updates, until the rate is `lr`,
    after which it falls with the square root.  score_every: updates.  averaged: snapshots.
    """

    goal: float
    limit: float
    warmup: int
    score_every: int
    averaged: int
    beam_size: int

    def sources(self) -> Iterator[tuple[Pairs, list[int]]]:
        """Batches without targets, and the numbers of their lines."""
        with (Path(self.folder) / "sources.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                rows, numbers = json.loads(line)
                yield Pairs(rows, [[]] * len(rows)), numbers


def text_of(ids: list[int], pieces: list[str]) -> str:
    """Of sentencepiece's pieces, of which those in front are no text."""
    kept = ids[: ids.index(EOS)] if EOS in ids else ids
    return "".join(pieces[i] for i in kept if i > EOS).replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


def main() -> None:
    work = QualityWork.from_arguments()
    folder = Path(work.folder)
    pieces = json.loads((folder / "pieces.json").read_text(encoding="utf-8"))
    references = (folder / "references.txt").read_text(encoding="utf-8").splitlines()
    width = work.sizes["d_model"]
    peak = work.lr * (width * work.warmup) ** 0.5  # what its formula is multiplied by
    config = config_of(work, decay_method="noam", learning_rate=peak, warmup_steps=work.warmup)
    vocabs = vocabs_of(work.sizes["vocabulary"])
    model = get_model_class(config.model).for_training(config.model, vocabs, config.training, device_id=-1)
    trainer = build_trainer(config, -1, model, vocabs, Optimizer.from_config(model, config))
    translator = translator_of(model, vocabs, config, work.beam_size, "fp32")
    snapshots: deque[dict[str, Tensor]] = deque(maxlen=work.averaged)
    scores: list[dict[str, Any]] = []
    stopped = 0.0  # seconds that the clock stood still
    over = False  # before all updates were done

    def now() -> float:
        """As scripts/benchmark_quality.py takes the time."""
        return time.process_time() if work.threads == 1 else time.time() - work.started

    def bleu() -> float:
        found = [""] * len(references)
        model.eval()
        with torch.no_grad():
            for pairs, numbers in work.sources():
                longest = 2 * max(pairs.source_lengths) + 10
                for number, ids in zip(numbers, best_of(translator, pairs, shortest=0, longest=longest), strict=True):
                    found[number] = text_of(ids, pieces)
        model.train()
        return float(sacrebleu.corpus_bleu(found, [references]).score)

    def score(step: int) -> bool:
        """Whether the goal is reached."""
        seconds = now() - stopped
        snapshots.append({name: weight.detach().clone() for name, weight in model.state_dict().items()})
        found = {"step": step, "seconds": seconds, "bleu": bleu()}
        if len(snapshots) > 1 and found["bleu"] > work.goal - NEAR:
            means = {name: sum(s[name] for s in snapshots) / len(snapshots) for name in snapshots[0]}
            model.load_state_dict(means)
            found["bleu_of_mean"] = bleu()
            model.load_state_dict(snapshots[-1])
        scores.append(found)
        store()
        return max(found["bleu"], found.get("bleu_of_mean", 0.0)) >= work.goal

    def store() -> None:
        found = {
            "scores": scores,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "versions": {"torch": torch.__version__, "eole": version("eole")},
        }
        Path(work.output).write_text(json.dumps(found), encoding="utf-8")

    def measured(step: int) -> bool:
        """Scores while the clock stands still. Whether the goal is reached."""
        nonlocal stopped
        before = now()
        reached = score(step)
        stopped += now() - before
        return reached

    def batches() -> Iterator[tuple[dict[str, Any], int]]:
        nonlocal over
        for step, pairs in enumerate(work.batches()):
            late = now() - stopped > work.limit
            if step and (late or step % work.score_every == 0) and (measured(step) or late):
                over = True
                return
            source, target = pairs.tensors()
            yield (
                {
                    "src": source,
                    "srclen": lengths_of(pairs.source_lengths),
                    "tgt": target,
                    "tgtlen": lengths_of(pairs.target_lengths) + 1,
                    "prefix_len": None,
                    "images": None,
                    "cid": ["work"] * len(source),
                    "cid_line_number": list(range(len(source))),
                },
                0,
            )

    trainer.train(batches(), work.num_steps, save_checkpoint_steps=0)
    if not over:
        measured(work.num_steps)


if __name__ == "__main__":
    main()
