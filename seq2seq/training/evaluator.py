"""How good a model is on a split: loss, and scores of the decoded text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice

import torch

from seq2seq.data.corpus import Context, Example, last_sentence
from seq2seq.data.encoded import EncodedCorpus
from seq2seq.data.loader import ordered_batches
from seq2seq.metrics.scores import corpus_scores
from seq2seq.models.base import Model
from seq2seq.search.alignment import AttentionMap, attention_maps
from seq2seq.search.backend import evaluating
from seq2seq.search.translator import Interrupted, Translation, Translator
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.strategies import ONE_PROCESS, Strategy


def mean_loss(
    model: Model,
    corpus: EncodedCorpus,
    *,
    max_tokens: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    should_stop: Callable[[], bool] = lambda: False,
    parallel: Parallel = ALONE,
) -> float:
    """Cross-entropy in nats per label token, eos included, without label smoothing. The ranks take turns with the
    batches. Raises Interrupted, on all ranks.
    """
    loss = CrossEntropy()
    total = torch.zeros((), device=device)
    num_tokens = 0
    stopped = False
    with evaluating(model), torch.inference_mode():
        for batch in islice(ordered_batches(corpus, max_tokens), parallel.rank, None, parallel.world_size):
            stopped = should_stop()
            if stopped:
                break
            moved = batch.to(device)
            with autocast():
                loss_sum, _ = loss(model.features(moved), model.head, moved.labels)
            total += loss_sum
            num_tokens += batch.num_tokens
    found = parallel.gather((stopped, total.item(), num_tokens))
    if any(stopped for stopped, _, _ in found):
        raise Interrupted
    return sum(part for _, part, _ in found) / sum(count for _, _, count in found)


@dataclass(frozen=True)
class ValidationPart:
    """examples: what is translated; of text alone, prompts as sources.  context: what is written with translations, and
    not scored.
    """

    corpus: EncodedCorpus
    examples: Sequence[Example]
    target_language: str
    context: Context | None = None


@dataclass(frozen=True)
class Validator:
    """Loss, BLEU and chrF on the validation split, whenever the trainer asks; of text alone the loss.

    parts: what is measured each by itself, by name.  Of several the metrics are the means of theirs, which are told as
    `bleu/NAME`, too.
    """

    model: Model
    parts: Mapping[str, ValidationPart]
    translator: Translator
    max_tokens: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    strategy: Strategy = ONE_PROCESS

    @property
    def examples(self) -> list[Example]:
        """Of all parts, one part after the other."""
        return [example for part in self.parts.values() for example in part.examples]

    def __call__(self, should_stop: Callable[[], bool]) -> tuple[dict[str, float], list[Translation]]:
        """The metrics by name, and the translations. Called by all ranks, each of which does a share.

        Raises Interrupted, on all ranks, where should_stop becomes true on one.
        """
        with self.strategy.whole_model():
            losses = [self._loss(part, should_stop) for part in self.parts.values()]
            best = self._translated(should_stop)
        measured = []
        start = 0
        for part, loss in zip(self.parts.values(), losses, strict=True):
            written = (translation.text for translation in best[start : start + len(part.examples)])
            hypotheses = [last_sentence(part.context, text) for text in written]
            measured.append({"loss": loss, **_scores(part, hypotheses)})
            start += len(part.examples)
        metrics = {name: sum(of_part[name] for of_part in measured) / len(measured) for name in measured[0]}
        metrics["perplexity"] = float(torch.tensor(metrics["loss"], dtype=torch.float64).exp())
        if len(measured) > 1:
            for part_name, of_part in zip(self.parts, measured, strict=True):
                metrics |= {f"{name}/{part_name}": value for name, value in of_part.items()}
        return metrics, best

    def _loss(self, part: ValidationPart, should_stop: Callable[[], bool]) -> float:
        return mean_loss(
            self.model,
            part.corpus,
            max_tokens=self.max_tokens,
            device=self.device,
            autocast=self.autocast,
            should_stop=should_stop,
            parallel=self.strategy.parallel,
        )

    def _translated(self, should_stop: Callable[[], bool]) -> list[Translation]:
        """The best translation of each example; each rank translates as many of them, one after the other."""
        parallel, examples = self.strategy.parallel, self.examples
        start, end = (len(examples) * rank // parallel.world_size for rank in (parallel.rank, parallel.rank + 1))
        own = [example.source for example in examples[start:end]]
        share: list[Translation] | None = None
        try:
            translated = self.translator.translate(own, first_line=start + 1, should_stop=should_stop)
            share = [translations[0] for translations in translated]
        except Interrupted:
            pass  # told when all ranks have come to the end
        shares = parallel.gather(share)
        if None in shares:
            raise Interrupted
        return [translation for share in shares for translation in share or ()]

    def attention_maps(self, translations: Sequence[Translation]) -> list[AttentionMap]:
        """Of the translations of the first examples; none where the model has no attention to the source."""
        lines = [example.source for example in self.examples[: len(translations)]]
        with self.strategy.whole_model():
            return attention_maps(self.translator, lines, translations) or []


def _scores(part: ValidationPart, hypotheses: Sequence[str]) -> dict[str, float]:
    """None of text alone."""
    if part.corpus.sources is None:
        return {}
    references = [example.target for example in part.examples]
    scores = corpus_scores(
        hypotheses, references, target_language=part.target_language, confidence=False, metrics=("bleu", "chrf")
    )
    return {name: score.score for name, score in scores.items()}
