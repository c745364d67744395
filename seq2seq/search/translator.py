"""Text to text: what evaluation and the translate command do with a model."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch

from seq2seq.data.corpus import tagged
from seq2seq.data.reading import PLACE, Reading
from seq2seq.data.scripts import joined
from seq2seq.models.base import Model
from seq2seq.search.backend import Backend, TorchBackend
from seq2seq.search.base import PROMPT_ROOM, Hypothesis, Search
from seq2seq.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

BLOCK = 2048  # lines that are sorted by length together

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


@dataclass
class Block:
    """Some lines on their way: encoded, their batches searched one after the other, then ready to be decoded.

    parts: the ids of each part of each line. num_shortened: lines that are not read to their ends. batches: places in
    `sources`, all the parts. found: of each of them.
    """

    first_line: int
    lines: Sequence[str]
    parts: list[list[list[int]]]
    num_shortened: int = 0
    sources: list[list[int]] = field(init=False)
    found: list[list[Hypothesis]] = field(init=False)
    batches: deque[list[int]] = field(init=False)
    _missing: list[int] = field(init=False)  # parts of each line that wait for their hypotheses
    _line_numbers: list[int] = field(init=False)  # of each part

    def __post_init__(self) -> None:
        self.sources = [ids for of_line in self.parts for ids in of_line]
        self.found = [[] for _ in self.sources]
        self.batches = deque()
        self._missing = [len(of_line) for of_line in self.parts]
        self._line_numbers = [number for number, of_line in enumerate(self.parts) for _ in of_line]

    @property
    def num_ready(self) -> int:
        """Lines that wait for nothing."""
        return self._missing.count(0)

    def take(self, hypotheses: Sequence[list[Hypothesis]]) -> int:
        """Those of the next batch. Returns how many lines became ready."""
        batch = self.batches.popleft()
        for place, of_part in zip(batch, hypotheses, strict=True):
            self.found[place] = of_part
            self._missing[self._line_numbers[place]] -= 1
        return sum(self._missing[number] == 0 for number in {self._line_numbers[place] for place in batch})


class Translator:
    """Translates lines in batches of similar length; without source_tokenizer, continues prompts.

    max_tokens: a batch's rows x (its longest source + 1 for eos, or its longest prompt + what may follow); a beam
    multiplies the hypotheses, and so the memory, but is not counted. A single line may be longer. max_length: the
    longest source, in tokens without eos; a longer line is cut into parts. precision_context: surrounds the model's
    work, for example torch.autocast. backend: what searches in the place of model and search, which are still what
    alignments are read from. tag: what the model reads before each line, and before each part of one that is cut.
    reading: the run's; where it says how sources are shortened, lines are not cut into parts.
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
        backend: Backend | None = None,
        tag: str | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.search = search
        self.max_tokens = max_tokens
        self.max_length = max_length
        self.device = device
        self.precision_context = precision_context
        self.backend = backend
        self.tag = tag
        reading = reading or Reading()
        self.reading = reading if tag is None else replace(reading, tags=(*reading.tags, tag))
        search.learn(target_tokenizer)

    def in_torch(self, model: Model) -> Backend:
        """The translator's own search by a model."""
        has_source = self.source_tokenizer is not None
        return TorchBackend(model, self.search, has_source, self.device, self.precision_context)

    def reads(self, line: str) -> str:
        """What the model reads of a line, but for what is too long."""
        return self.reading.text(tagged(self.tag, line))

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
        blocks = (
            self.encode(lines[start : start + BLOCK], first_line + start) for start in range(0, len(lines), BLOCK)
        )
        with closing(self.find(blocks, on_done=on_done, should_stop=should_stop)) as found:
            return [translations for block in found for translations in self.decode(block)]

    def encode(self, lines: Sequence[str], first_line: int) -> Block:
        """Tells of lines that are cut into parts."""
        parts, num_shortened = self._parts(lines, first_line)
        block = Block(first_line, lines, parts, num_shortened)
        block.batches.extend(self.batches(block.sources))
        return block

    def find(
        self,
        blocks: Iterable[Block],
        *,
        on_done: Callable[[int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generator[Block, None, None]:
        """The blocks with their hypotheses, in order; a block may be asked for before the one before it is ready."""
        under_way: deque[Block] = deque()

        def batches() -> Iterator[list[list[int]]]:
            for block in blocks:
                under_way.append(block)
                if on_done is not None and block.num_ready:
                    on_done(block.num_ready)
                for batch in tuple(block.batches):
                    if should_stop is not None and should_stop():
                        raise Interrupted
                    yield [block.sources[place] for place in batch]

        backend = self.backend or self.in_torch(self.model)
        with closing(backend(batches())) as results:
            for hypotheses in results:
                while not under_way[0].batches:  # without text
                    yield under_way.popleft()
                ready = under_way[0].take(hypotheses)
                if on_done is not None and ready:
                    on_done(ready)
                if not under_way[0].batches:
                    yield under_way.popleft()
        yield from under_way

    def decode(self, block: Block) -> list[list[Translation]]:
        """For each line of a block with all its hypotheses what `translate` gives."""
        in_order = iter(zip(block.sources, block.found, strict=True))
        translations: list[list[Translation]] = []
        for line, of_line in zip(block.lines, block.parts, strict=True):
            pairs = islice(in_order, len(of_line))
            translations.append(
                join(
                    [
                        [Translation(self._text(h, source, line), h.score, ((source, h.tokens),)) for h in hypotheses]
                        for source, hypotheses in pairs
                    ]
                )
            )
        return translations

    def _parts(self, lines: Sequence[str], first_line: int) -> tuple[list[list[list[int]]], int]:
        """The parts of each line: none where there is no text, one where it is short enough, or a prompt; and how many
        lines were shortened.
        """
        if self.source_tokenizer is None:
            return [[ids] for ids in self.target_tokenizer.encode_batch(lines)], 0
        parts: list[list[list[int]]] = []
        read, shortened = self.reading.sources(self.source_tokenizer, [tagged(self.tag, line) for line in lines])
        whole = self.reading.max_source_tokens is not None
        nothing = self._nothing()
        for number, (line, ids) in enumerate(zip(lines, read, strict=True), first_line):
            if not line.strip() or ids in nothing:
                parts.append([])
            elif whole or len(ids) <= self.max_length:
                parts.append([ids])
            else:
                parts.append(self._cut(line.strip(), nothing))
                logger.warning(
                    "line %d has %d tokens, more than %d: translated in %d parts",
                    *(number, len(ids), self.max_length, len(parts[-1])),
                )
        return parts, int(shortened.sum())

    def _cut(self, text: str, nothing: Sequence[list[int]]) -> list[list[int]]:
        """Halves the text until each part is short enough. text: not empty, without outer whitespace."""
        assert self.source_tokenizer is not None
        ids = self.source_tokenizer.encode(self.reads(text))
        if len(ids) <= self.max_length or len(text) == 1:
            return [] if ids in nothing else [ids[: self.max_length]]
        place = cutting_place(text)
        return self._cut(text[:place].rstrip(), nothing) + self._cut(text[place:].lstrip(), nothing)

    def _nothing(self) -> list[list[int]]:
        """The ids of a line that holds nothing for the tokenizer."""
        assert self.source_tokenizer is not None
        before = [""] if self.tag is None else [self.tag, f"{self.tag} "]
        template = self.reading.template or PLACE
        return [[], *self.source_tokenizer.encode_batch([template.replace(PLACE, text) for text in before])]

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

    def _text(self, hypothesis: Hypothesis, source: Sequence[int], line: str) -> str:
        """Of a prompt its line as it was given, also where the tokenizer does not know all of it, and what follows."""
        text = " ".join(self.target_tokenizer.decode(hypothesis.tokens).splitlines())
        if self.source_tokenizer is not None or not source:
            return text
        prompt = " ".join(self.target_tokenizer.decode(source).splitlines())
        return line.rstrip() + text[len(prompt) :] if text.startswith(prompt) else text


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
        Translation(joined([t.text for t in nth]), sum(t.score for t in nth), sum((t.parts for t in nth), ()))
        for nth in together
    ]
