"""Dialogues: texts of turns as examples, in which a turn is answered, or all of them are read at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from seq2seq.data.corpus import Context, Corpus, Example, Source, Split, corpora
from seq2seq.data.wrapping import WrappingCorpus, WrappingSource
from seq2seq.registry import Factory, PositiveInt


@dataclass(frozen=True)
class Turns(Context):
    """A line holds a whole context, whose turns are parted by the separator; nothing of it is written.

    speakers: symbols that stand before turns, by turns; the last one before the last turn.
    """

    separator: str
    before: int | None
    speakers: tuple[str, ...]

    def with_context(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            turns = self.turns(line)
            yield self.joined(turns) if turns else line

    def last_sentence(self, text: str) -> str:
        """What is written is the answer alone, and what is read belongs together."""
        return text

    def turns(self, text: str) -> list[str]:
        return [turn for part in text.split(self.separator) if (turn := part.strip())]

    def joined(self, turns: Sequence[str]) -> str:
        """The last turns, as many as may be."""
        turns = turns[-self.before :] if self.before is not None else turns
        if not self.speakers:
            return f" {self.separator} ".join(turns)
        number = len(self.speakers)
        symbols = (self.speakers[(place - len(turns)) % number] for place in range(len(turns)))
        return " ".join(f"{symbol} {turn}" for symbol, turn in zip(symbols, turns, strict=True))


@corpora.register("dialogue")
class Dialogue(WrappingCorpus):
    """Dialogues, `t1 <turn> t2 <turn> t3`: each turn but the first is what answers those before it.

    A text is a dialogue: a list of turns, or one text with line breaks or separators between them. Of text alone
    (source=null) each turn becomes a target, with the turns before as its source; of pairs, such as dialogues and their
    summaries, the turns are those of the source, and the target stays as it is.

    Options:
        turns: where the dialogues come from, data@data.turns=huggingface for example
        before: turns that are read at most, the last ones; null for all
        separator: what stands between two turns, in the lines that are translated, too; one token
        speakers: tokens before turns in its place, `<me> <you>` by turns, the last one before the last turn
    """

    part = "turns"
    usual_parts: ClassVar = {"turns": "jsonl"}

    def __init__(
        self,
        *,
        turns: Factory[Corpus],
        before: PositiveInt | None = None,
        separator: str = "<turn>",
        speakers: str | None = None,
    ) -> None:
        inner = turns()
        if inner.noise is not None or inner.context is not None or inner.tags:
            raise ValueError(f"turns={turns.name} does not give dialogues as they are")
        if not re.fullmatch(r"\S+", separator):
            raise ValueError(f"separator is {separator!r}, but must be one word, without spaces")
        symbols = (speakers or "").split()
        if speakers is not None and (len(symbols) < 2 or len({separator, *symbols}) <= len(symbols)):
            raise ValueError(f"speakers is {speakers!r}, but must be two or more different words, as in '<me> <you>'")
        super().__init__(inner)
        inner.line_break = f" {separator} "
        self.answers = inner.source is None
        self.source = inner.target if inner.source is None else inner.source
        self.target = inner.target
        self.symbols = tuple(dict.fromkeys([*inner.symbols, separator, *symbols]))
        self.context: Turns = Turns(separator, before, tuple(symbols))

    def wrapped(self, source: Source, name: Split) -> Source:
        return _Answers(source, self.context) if self.answers else _Read(source, self.context)

    def split(self, name: Split) -> Source | None:
        source = super().plain_split(name)
        return None if source is None else self.wrapped(source, name)

    def plain_split(self, name: Split) -> Source | None:
        """An answer alone says little, so it is compared with what was said before."""
        return self.split(name)


class _OfTurns(WrappingSource):
    def __init__(self, inner: Source, turns: Turns) -> None:
        super().__init__(inner, f"{type(self).__name__} {turns}")
        self.turns = turns


class _Answers(_OfTurns):
    """Of each dialogue every turn but the first. One of a single turn is an example without a source."""

    def about_how_many(self) -> None:
        """Turns are counted in reading only."""

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        """Whatever the place is, all examples of the inner source are read."""
        first, shards = shard
        number = 0
        for dialogue in self.inner.read():
            turns = self.turns.turns(dialogue.target)
            answers = [(turns[:place], turns[place]) for place in range(1, len(turns))]
            for before, answer in answers or [([], "".join(turns))]:
                if number >= start and number % shards == first:
                    yield Example(self.turns.joined(before), answer, number)
                number += 1


class _Read(_OfTurns):
    """The turns of the source together."""

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        for example in self.inner.read(shard, start):
            source = self.turns.joined(self.turns.turns(example.source))
            yield Example(source, " ".join(self.turns.turns(example.target)), example.number)
