"""Text to text: what evaluation and the translate command do with a model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from seq2seq.data.batch import pad
from seq2seq.models.base import Model
from seq2seq.search.base import PROMPT_ROOM, Hypothesis, Search
from seq2seq.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

# The scripts that write their full stops as below leave no space after them.
SENTENCE_END = re.compile(
    r"[.!?\u2026\u061f\u0964][\"')\]\u201d\u2019\u00bb]*(?=\s)|[\u3002\uff01\uff1f][\"')\]\u201d\u2019\u300d\u300f]*"
)
WHITESPACE = re.compile(r"\s+")


class Interrupted(Exception):
    """`should_stop` said so; what was translated so far is lost."""


@dataclass(frozen=True, slots=True)
class Translation:
    """score: what the search ranked it by; for a line that was cut into parts, the sum of theirs.

    parts: the ids of source and target of each part, without eos; none where the line has no text.
    """

    text: str
    score: float
    parts: tuple[tuple[Sequence[int], Sequence[int]], ...] = field(default=(), compare=False, repr=False)


class Translator:
    """Translates lines in batches of similar length; without source_tokenizer, continues prompts.

    max_tokens: a batch's rows x (its longest source + 1 for eos, or its longest prompt + what may follow); a beam
    multiplies the hypotheses, and so the memory, but is not counted. A single line may be longer. max_length: the
    longest source, in tokens without eos; a longer line is cut into parts. precision_context: surrounds the model's
    work, for example torch.autocast.
    """

    def __init__(
        self,
        model: Model,
        source_tokenizer: Tokenizer | None,
        target_tokenizer: Tokenizer,
        search: Search,
        *,
        max_tokens: int,
        max_length: int,
        device: torch.device,
        precision_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.search = search
        self.max_tokens = max_tokens
        self.max_length = max_length
        self.device = device
        self.precision_context = precision_context

    def translate(
        self,
        lines: Sequence[str],
        *,
        first_line: int = 1,
        on_done: Callable[[int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[Translation]]:
        """For each line, in order, its translations, best first; a line without text gives one empty translation.

        A prompt's translations are the prompt with what follows; one without text is continued, too.

        first_line: the number of lines[0], for warnings. on_done: called with the number of lines that became ready
        since the last call. Raises Interrupted before the next batch where should_stop() is true.
        """
        parts = self._encode(lines, first_line)
        sources = [ids for of_line in parts for ids in of_line]
        line_numbers = [number for number, of_line in enumerate(parts) for _ in of_line]
        missing = [len(of_line) for of_line in parts]  # parts of each line that wait for their translation
        found: list[list[Translation]] = [[] for _ in sources]
        if on_done is not None and 0 in missing:
            on_done(missing.count(0))
        with evaluating(self.model), torch.inference_mode(), self.precision_context():
            for batch in self.batches(sources):
                if should_stop is not None and should_stop():
                    raise Interrupted
                for place, hypotheses in zip(batch, self._search([sources[p] for p in batch]), strict=True):
                    source, line = sources[place], lines[line_numbers[place]]
                    found[place] = [
                        Translation(self._text(h, source, line), h.score, ((source, h.tokens),)) for h in hypotheses
                    ]
                    missing[line_numbers[place]] -= 1
                ready = len({line_numbers[place] for place in batch if missing[line_numbers[place]] == 0})
                if on_done is not None and ready:
                    on_done(ready)
        in_order = iter(found)
        return [join([next(in_order) for _ in of_line]) for of_line in parts]

    def _encode(self, lines: Sequence[str], first_line: int) -> list[list[list[int]]]:
        """The parts of each line: none where there is no text, one where it is short enough, or a prompt."""
        if self.source_tokenizer is None:
            return [[ids] for ids in self.target_tokenizer.encode_batch(lines)]
        parts: list[list[list[int]]] = []
        for number, (line, ids) in enumerate(
            zip(lines, self.source_tokenizer.encode_batch(lines), strict=True), first_line
        ):
            if not line.strip() or not ids:
                parts.append([])
            elif len(ids) <= self.max_length:
                parts.append([ids])
            else:
                parts.append(self._cut(line.strip()))
                logger.warning(
                    "line %d has %d tokens, more than %d: translated in %d parts",
                    *(number, len(ids), self.max_length, len(parts[-1])),
                )
        return parts

    def _cut(self, text: str) -> list[list[int]]:
        """Halves the text until each part is short enough. text: not empty, without outer whitespace."""
        assert self.source_tokenizer is not None
        ids = self.source_tokenizer.encode(text)
        if len(ids) <= self.max_length or len(text) == 1:
            return [ids[: self.max_length]] if ids else []
        place = cutting_place(text)
        return self._cut(text[:place].rstrip()) + self._cut(text[place:].lstrip())

    def batches(self, sources: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places in `sources`, under the budget, the longest first: what does not fit into memory fails at once."""
        batch: list[int] = []
        more = 1 if self.source_tokenizer is not None else 1 + PROMPT_ROOM
        for place in sorted(range(len(sources)), key=lambda place: -len(sources[place])):
            longest = len(sources[batch[0] if batch else place]) + more
            if batch and (len(batch) + 1) * longest > self.max_tokens:
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _search(self, sources: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
        if self.source_tokenizer is None:
            nothing = torch.zeros(len(sources), 0, dtype=torch.long, device=self.device)
            return self.search(self.model, nothing, nothing.bool(), sources)
        eos = self.source_tokenizer.vocab.eos
        tokens, mask = pad([[*ids, eos] for ids in sources])
        return self.search(self.model, tokens.to(self.device), mask.to(self.device))

    def _text(self, hypothesis: Hypothesis, source: Sequence[int], line: str) -> str:
        """Of a prompt its line as it was given, also where the tokenizer does not know all of it, and what follows."""
        text = " ".join(self.target_tokenizer.decode(hypothesis.tokens).splitlines())
        if self.source_tokenizer is not None or not source:
            return text
        prompt = " ".join(self.target_tokenizer.decode(source).splitlines())
        return line.rstrip() + text[len(prompt) :] if text.startswith(prompt) else text


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside, and afterwards for each module the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def cutting_place(text: str) -> int:
    """Where a long text is best cut in two: the end of a sentence in its middle half, or whitespace, or its middle."""
    middle = len(text) / 2
    ends = [match.end() for match in SENTENCE_END.finditer(text) if abs(match.end() - middle) <= middle / 2]
    places = ends or [match.end() for match in WHITESPACE.finditer(text)] or [len(text) // 2]
    return min(places, key=lambda place: abs(place - middle))


def join(parts: Sequence[Sequence[Translation]]) -> list[Translation]:
    """The translations of a line from those of its parts: the best of each together, the second best, and so on."""
    if not parts:
        return [Translation("", 0.0)]
    together = zip(*parts, strict=False)  # parts may have found unequal numbers
    return [
        Translation(" ".join(t.text for t in nth), sum(t.score for t in nth), sum((t.parts for t in nth), ()))
        for nth in together
    ]
