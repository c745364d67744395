"""COMET, by unbabel-comet."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from seq2seq.metrics.base import Kind, Metric, Score, Texts, mean_of_lines, metrics
from seq2seq.registry import PositiveInt


@metrics.register("comet")
class COMET(Metric):
    """A model's judgement of the translation beside its source and reference, the mean over lines (Rei et al. 2020,
    arXiv:2009.09025); needs unbabel-comet and a model on disk, whose file can run code.

    Options:
        model: a checkpoint, or the folder above its checkpoints/model.ckpt, with hparams.yaml
        batch_size: lines at a time
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"": Kind("COMET")}
    while_training: ClassVar[bool] = False
    runs_code: ClassVar[str | None] = "model"  # a pickle

    def __init__(self, *, model: str, batch_size: PositiveInt = 16) -> None:
        """Raises ValueError where the library or the checkpoint is missing."""
        if find_spec("comet") is None:
            raise ValueError(
                "the library `unbabel-comet` is missing: pip install 'seq2seq[comet]', or set null to do without"
            )
        given = Path(model).expanduser().absolute()
        self.checkpoint = given / "checkpoints" / "model.ckpt" if given.is_dir() else given
        if not self.checkpoint.is_file():
            raise ValueError(f"model={model}: no such checkpoint; models are not downloaded")
        self.batch_size = batch_size

    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        from comet import load_from_checkpoint

        assert texts.sources is not None
        model = load_from_checkpoint(str(self.checkpoint), local_files_only=True)
        lines = [
            {"src": source, "mt": hypothesis, "ref": reference}
            for source, hypothesis, reference in zip(texts.sources, texts.hypotheses, texts.references, strict=True)
        ]
        gpus = int(torch.cuda.is_available())
        found = model.predict(lines, batch_size=self.batch_size, gpus=gpus, progress_bar=False)
        name = (self.checkpoint.parents[1] if self.checkpoint.name == "model.ckpt" else self.checkpoint).name
        signature = f"model:{name}|version:unbabel-comet-{_version()}"
        return {"": mean_of_lines(100 * np.array(found.scores, np.float64), signature, confidence)}


def _version() -> str:
    try:
        return version("unbabel-comet")
    except PackageNotFoundError:  # a source tree
        return "unknown"
