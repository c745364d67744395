"""BERTScore, by bert-score."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from seq2seq.metrics.base import Kind, Metric, Score, Texts, mean_of_lines, metrics
from seq2seq.registry import PositiveInt


@metrics.register("bertscore")
class BERTScore(Metric):
    """F1 of tokens matched by the similarity of their vectors, the mean over lines (Zhang et al. 2020,
    arXiv:1904.09675); needs bert-score and a model in a folder. Not rescaled.

    Options:
        model: folder of a Hugging Face encoder with its tokenizer
        num_layers: the layer whose vectors are compared; bert-score's table names the best one of many models
        batch_size: lines at a time
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"": Kind("BERTScore")}
    while_training: ClassVar[bool] = False

    def __init__(self, *, model: str, num_layers: PositiveInt, batch_size: PositiveInt = 64) -> None:
        """Raises ValueError where the library or the folder is missing."""
        if find_spec("bert_score") is None:
            raise ValueError(
                "the library `bert-score` is missing: pip install 'seq2seq[bertscore]', or set null to do without"
            )
        self.folder = Path(model).expanduser().absolute()
        if not self.folder.is_dir():
            raise ValueError(f"model={model}: no such folder; models are not downloaded")
        self.num_layers = num_layers
        self.batch_size = batch_size

    def measure(self, texts: Texts, confidence: bool) -> dict[str, Score]:
        from bert_score import BERTScorer

        # No baseline is used; without a name for it some versions look for one, and fail for a model in a folder.
        scorer = BERTScorer(
            model_type=str(self.folder), num_layers=self.num_layers, batch_size=self.batch_size, baseline_path=""
        )
        _, _, f1 = scorer.score(list(texts.hypotheses), list(texts.references), batch_size=self.batch_size)
        signature = str(scorer.hash).replace(str(self.folder), self.folder.name)
        return {"": mean_of_lines(100 * np.array(f1.tolist(), np.float64), signature, confidence)}
