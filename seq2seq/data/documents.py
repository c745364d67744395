"""Document context: each sentence is read together with those before it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from seq2seq.data.corpus import Context, Corpus, Example, Source, Split, corpora
from seq2seq.data.wrapping import WrappingCorpus, WrappingSource
from seq2seq.registry import Factory, PositiveInt


@dataclass(frozen=True)
class SentencesBefore(Context):
    """The last sentences of the document, as many whole ones as fit into max_characters, and the sentence itself."""

    before: int
    separator: str
    max_characters: int

    def with_context(self, lines: Iterable[str]) -> Iterator[str]:
        """An empty line ends the document."""
        document: deque[str] = deque(maxlen=self.before)
        for line in lines:
            if line.strip():
                yield self.joined(document, line, self.fitting(document, line))
                document.append(line)
            else:
                document.clear()
                yield line

    def last_sentence(self, text: str) -> str:
        return text.rpartition(self.separator)[2].strip()

    def fitting(self, document: Sequence[str], sentence: str) -> int:
        """How many of the document's last sentences may stand before this one."""
        left = self.max_characters - len(sentence)
        for number, before in enumerate(reversed(document)):
            left -= len(f"{before} {self.separator} ")
            if left < 0:
                return number
        return len(document)

    def joined(self, document: Sequence[str], sentence: str, number: int) -> str:
        """The last sentences of the document, so many, and this one."""
        return f" {self.separator} ".join([*list(document)[len(document) - number :], sentence])


@corpora.register("documents")
class Documents(WrappingCorpus):
    """Pairs of sentences in their order, each with the sentences before it, `s1 <sep> s2 <sep> s`.

    An example with an empty side ends a document, so an empty line on both sides parts two of them. A sentence that is
    too long alone gets no context. With sides=both training gives both sides the same sentences; for validation and
    test the target is always the sentence alone, and of a translation counts what stands after the last separator.

    Options:
        sentences: where the pairs come from, data@data.sentences=jsonl for example
        before: sentences of context at most, the nearest ones
        sides: whether the source alone has context, or both sides
        separator: what stands between two sentences; one token
        max_characters: of the sentence with its context, on each side that has any
    """

    part = "sentences"
    usual_parts: ClassVar = {"sentences": "text_files"}

    def __init__(
        self,
        *,
        sentences: Factory[Corpus],
        before: PositiveInt = 2,
        sides: Literal["source", "both"] = "source",
        separator: str = "<sep>",
        max_characters: PositiveInt = 600,
    ) -> None:
        inner = sentences()
        if inner.source is None:
            raise ValueError("sentences.source is null: context is for pairs of sentences, not for text alone")
        if inner.noise is not None or inner.context is not None:
            raise ValueError(f"sentences={sentences.name} does not give sentences as they are")
        if not re.fullmatch(r"\S+", separator):
            raise ValueError(f"separator is {separator!r}, but must be one word, without spaces")
        super().__init__(inner)
        self.source, self.target = inner.source, inner.target
        self.tags = inner.tags
        self.symbols = tuple(dict.fromkeys([*inner.symbols, separator]))
        self.context: SentencesBefore = SentencesBefore(before, separator, max_characters)
        self._sides = sides

    def wrapped(self, source: Source, name: Split) -> Source:
        return _WithContext(source, self.context, on_target=name == "train" and self._sides == "both")


class _WithContext(WrappingSource):
    """on_target: whether the target has context too."""

    def __init__(self, inner: Source, context: SentencesBefore, on_target: bool) -> None:
        super().__init__(inner, f"{context} on_target={on_target}")
        self.context = context
        self.on_target = on_target

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        """Whatever the shard is, all examples of the inner source are read."""
        first, shards = shard
        document: deque[Example] = deque(maxlen=self.context.before)
        for example in self.inner.read(start=max(start - self.context.before, 0)):
            has_text = bool(example.source.strip() and example.target.strip())
            if example.number >= start and example.number % shards == first:
                yield self._with_context(document, example) if has_text else example
            if has_text:
                document.append(example)
            else:
                document.clear()

    def _with_context(self, document: Iterable[Example], example: Example) -> Example:
        sources, targets = [before.source for before in document], [before.target for before in document]
        number = self.context.fitting(sources, example.source)
        if not self.on_target:
            return replace(example, source=self.context.joined(sources, example.source, number))
        number = min(number, self.context.fitting(targets, example.target))
        return Example(
            self.context.joined(sources, example.source, number),
            self.context.joined(targets, example.target, number),
            example.number,
        )
