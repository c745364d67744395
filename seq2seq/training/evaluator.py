"""How good a model is on a split: loss, and scores of the decoded text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice

import torch

from seq2seq.data.corpus import Context, Example, last_sentence
from seq2seq.data.encoded import EncodedCorpus
from seq2seq.data.loader import ordered_batches
from seq2seq.metrics.base import Metric, Texts, means, perplexity
from seq2seq.metrics.scores import corpus_scores
from seq2seq.metrics.words import count_words
from seq2seq.models.base import Model
from seq2seq.search.alignment import AttentionMap, attention_maps
from seq2seq.search.backend import evaluating
from seq2seq.search.translator import Interrupted, Translation, Translator
from seq2seq.training.loss import measured
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.strategies import ONE_PROCESS, Strategy


@dataclass(frozen=True)
class TextSize:
    """Of targets. The end of each counts as a word and as a byte, as it is a token."""

    num_words: int
    num_bytes: int


def text_size(corpus: EncodedCorpus, examples: Iterable[Example], unk: int) -> TextSize | None:
    """Of the targets of those examples that are in the corpus; None where they hold what the tokenizer does not know,
    of which there is no probability, or where texts were shortened.
    """
    if corpus.counts.shortened or any((flat == unk).any() for flat, _ in corpus.targets.parts):
        return None
    targets = {example.number: example.target for example in examples}
    texts = [targets[number] for number in map(int, corpus.numbers)]
    num_words = len(texts) + sum(map(count_words, texts))
    num_bytes = len(texts) + sum(len(text.encode()) for text in texts)
    return TextSize(num_words, num_bytes)


@dataclass(frozen=True)
class TeacherForced:
    """What a model thinks of targets that are given to it token by token.

    loss: cross-entropy in nats per label token, eos included, without label smoothing. token_accuracy: labels in 100
    that the model holds for the likeliest token.
    """

    loss: float
    token_accuracy: float
    num_tokens: int

    def per_text(self, size: TextSize | None) -> dict[str, float]:
        """Perplexities that do not depend on the tokenizer, as far as they can be told."""
        if size is None:
            return {}
        per_word, per_byte = (self.loss * self.num_tokens / number for number in (size.num_words, size.num_bytes))
        return {
            "word_perplexity": perplexity(per_word),
            "byte_perplexity": perplexity(per_byte),
            "bits_per_byte": per_byte / math.log(2),
        }


def teacher_forced(
    model: Model,
    corpus: EncodedCorpus,
    *,
    max_tokens: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    should_stop: Callable[[], bool] = lambda: False,
    parallel: Parallel = ALONE,
) -> TeacherForced:
    """The ranks take turns with the batches. Raises Interrupted, on all ranks."""
    total, hits = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.int64)
    num_tokens = 0
    stopped = False
    with evaluating(model), torch.inference_mode():
        for batch in islice(ordered_batches(corpus, max_tokens), parallel.rank, None, parallel.world_size):
            stopped = should_stop()
            if stopped:
                break
            moved = batch.to(device)
            with autocast():
                loss_sum, num_hits = measured(model.features(moved), model.head, moved.labels)
            total += loss_sum
            hits += num_hits
            num_tokens += batch.num_tokens
    found = parallel.gather((stopped, total.item(), int(hits.item()), num_tokens))
    if any(stopped for stopped, *_ in found):
        raise Interrupted
    num_tokens = sum(count for *_, count in found)
    loss, accuracy = (sum(values) / num_tokens for values in list(zip(*found, strict=True))[1:3])
    return TeacherForced(loss, 100 * accuracy, num_tokens)


@dataclass(frozen=True)
class ValidationPart:
    """examples: what is translated; of text alone, prompts as sources.  context: what is written with translations, and
    not scored.  size: of the targets, where perplexities per word and byte shall be told.
    """

    corpus: EncodedCorpus
    examples: Sequence[Example]
    target_language: str
    context: Context | None = None
    size: TextSize | None = None


@dataclass(frozen=True)
class Validator:
    """Loss, accuracy and the metrics on the validation split, whenever the trainer asks; of text alone perplexities per
    word and byte in the place of metrics.

    parts: what is measured each by itself, by name.  Of several the metrics are the means of theirs, which are told as
    `bleu/NAME`, too.
    """

    model: Model
    parts: Mapping[str, ValidationPart]
    translator: Translator
    max_tokens: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
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
            forced = [self._teacher_forced(part, should_stop) for part in self.parts.values()]
            best = self._translated(should_stop)
        found = []
        start = 0
        for part, of_model in zip(self.parts.values(), forced, strict=True):
            written = (translation.text for translation in best[start : start + len(part.examples)])
            hypotheses = [last_sentence(part.context, text) for text in written]
            own = {"loss": of_model.loss, "token_accuracy": of_model.token_accuracy}
            found.append(own | of_model.per_text(part.size) | self._scores(part, hypotheses))
            start += len(part.examples)
        metrics = means(found)
        metrics["perplexity"] = perplexity(metrics["loss"])
        if len(found) > 1:
            for part_name, of_part in zip(self.parts, found, strict=True):
                metrics |= {f"{name}/{part_name}": value for name, value in of_part.items()}
        return metrics, best

    def _teacher_forced(self, part: ValidationPart, should_stop: Callable[[], bool]) -> TeacherForced:
        return teacher_forced(
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

    def _scores(self, part: ValidationPart, hypotheses: Sequence[str]) -> dict[str, float]:
        """None of text alone."""
        if part.corpus.sources is None:
            return {}
        texts = Texts(hypotheses, [example.target for example in part.examples], part.target_language)
        scores = corpus_scores(self.metrics, texts, confidence=False)
        return {name: score.score for name, score in scores.items()}
