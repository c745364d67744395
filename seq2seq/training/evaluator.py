"""How good a model is on a split: loss, and scores of the decoded text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from seq2seq.data.corpus import Example
from seq2seq.data.encoded import EncodedCorpus
from seq2seq.data.loader import ordered_batches
from seq2seq.metrics.scores import corpus_scores
from seq2seq.models.base import Model
from seq2seq.search.alignment import AttentionMap, attention_maps
from seq2seq.search.backend import evaluating
from seq2seq.search.translator import Interrupted, Translation, Translator
from seq2seq.training.loss import CrossEntropy


def mean_loss(
    model: Model,
    corpus: EncodedCorpus,
    *,
    max_tokens: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    should_stop: Callable[[], bool] = lambda: False,
) -> float:
    """Cross-entropy in nats per label token, eos included, without label smoothing. Raises Interrupted."""
    loss = CrossEntropy()
    total = torch.zeros((), device=device)
    num_tokens = 0
    with evaluating(model), torch.inference_mode():
        for batch in ordered_batches(corpus, max_tokens):
            if should_stop():
                raise Interrupted
            moved = batch.to(device)
            with autocast():
                loss_sum, _ = loss(model.features(moved), model.head, moved.labels)
            total += loss_sum
            num_tokens += batch.num_tokens
    return total.item() / num_tokens


@dataclass(frozen=True)
class Validator:
    """Loss, BLEU and chrF on the validation split, whenever the trainer asks; of text alone the loss.

    examples: what is translated; of text alone, prompts as sources.
    """

    model: Model
    corpus: EncodedCorpus
    examples: Sequence[Example]
    translator: Translator
    target_language: str
    max_tokens: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]

    def __call__(self, should_stop: Callable[[], bool]) -> tuple[dict[str, float], list[Translation]]:
        """The metrics by name, and the translations. Raises Interrupted where should_stop becomes true."""
        loss = mean_loss(
            self.model,
            self.corpus,
            max_tokens=self.max_tokens,
            device=self.device,
            autocast=self.autocast,
            should_stop=should_stop,
        )
        found = self.translator.translate([example.source for example in self.examples], should_stop=should_stop)
        best = [translations[0] for translations in found]
        metrics = {"loss": loss, "perplexity": float(torch.tensor(loss, dtype=torch.float64).exp())}
        if self.corpus.sources is None:
            return metrics, best
        scores = corpus_scores(
            [translation.text for translation in best],
            [example.target for example in self.examples],
            target_language=self.target_language,
            confidence=False,
            metrics=("bleu", "chrf"),
        )
        return metrics | {k: s.score for k, s in scores.items()}, best

    def attention_maps(self, translations: Sequence[Translation]) -> list[AttentionMap]:
        """Of the translations of the first examples; none where the model has no attention to the source."""
        lines = [example.source for example in self.examples[: len(translations)]]
        return attention_maps(self.translator, lines, translations) or []
