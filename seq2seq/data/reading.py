"""How a model reads examples: what stands around each source, and what becomes of texts that are too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import corpora
from seq2seq.errors import ConfigError, Problem
from seq2seq.text.tokenizer import Tokenizer

PLACE = "{source}"

Ids = list[int]
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Reading:
    """What `data.template`, `data.truncate` and the limits say, the same in training, evaluation and translation.

    template: what is read of a source, which stands in the place of {source}; None: the source alone.
    max_source_tokens: longer sources lose their end (truncate=right) or their beginning (left), but never their tag or
    the template; None: they stay as they are.  max_target_tokens: longer targets lose their end.
    tags: what a source may begin with.
    """

    template: str | None = None
    truncate: Side = "right"
    max_source_tokens: int | None = None
    max_target_tokens: int | None = None
    tags: tuple[str, ...] = ()

    def problems(self, has_source: bool) -> Iterator[Problem]:
        """What is wrong with it for data with a source or without."""
        if self.template is not None:
            yield from (_problem("template", told) for told in self._about_template(has_source))
        if self.max_source_tokens is not None and not has_source:
            yield _problem("max_source_tokens", "the data is text alone, without a source: set max_target_tokens")
        elif self.truncate == "left" and self.max_source_tokens is None:
            yield _problem("truncate", f"left has no effect without {corpora.group}.max_source_tokens")

    def _about_template(self, has_source: bool) -> Iterator[str]:
        assert self.template is not None
        if not has_source:
            yield "stands around sources, and the data is text alone, without any"
        if self.template.count(PLACE) != 1:
            told = "without" if PLACE not in self.template else "with more than one"
            yield f"is {self.template!r}, {told} {PLACE}, the place of the source; for example 'summarize: {PLACE}'"
        if len(self.template.splitlines()) > 1:
            yield "has a line break, but a source is one line"

    def text(self, source: str) -> str:
        """What is read of a source; nothing of one without text."""
        return source if self.template is None or not source.strip() else self.template.replace(PLACE, source)

    def limits(self, max_length: int | None) -> tuple[int | None, int | None]:
        """Tokens of a source and of a target; max_length: where nothing is shortened."""
        return self.max_source_tokens or max_length, self.max_target_tokens or max_length

    @property
    def told(self) -> str:
        """The limits by their keys."""
        limits = {"max_source_tokens": self.max_source_tokens, "max_target_tokens": self.max_target_tokens}
        return ", ".join(f"{corpora.group}.{key}={limit}" for key, limit in limits.items() if limit is not None)

    def sources(
        self, tokenizer: Tokenizer, texts: Sequence[str], encode: Callable[[list[str]], list[Ids]] | None = None
    ) -> tuple[list[Ids], NDArray[np.bool_]]:
        """What is read of each, and which of them were shortened. encode: in the place of the tokenizer's usual way.

        Raises ConfigError where tag and template leave no room.
        """
        rows = (encode or tokenizer.encode_batch)([self.text(text) for text in texts])
        shortened = np.zeros(len(rows), bool)
        if self.max_source_tokens is None:
            return rows, shortened
        known: dict[str, Ids] = {}
        for number, ids in enumerate(rows):
            if len(ids) > self.max_source_tokens:
                rows[number] = self._shortened(tokenizer, texts[number], ids, known)
                shortened[number] = True
        return rows, shortened

    def targets(self, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[Ids], NDArray[np.bool_]]:
        """As `sources`."""
        rows, limit = tokenizer.encode_batch(texts), self.max_target_tokens
        if limit is None:
            return rows, np.zeros(len(rows), bool)
        shortened = np.fromiter((len(ids) > limit for ids in rows), bool, count=len(rows))
        return [ids[:limit] for ids in rows], shortened

    def _shortened(self, tokenizer: Tokenizer, source: str, ids: Ids, known: dict[str, Ids]) -> Ids:
        """ids: all that is read of the source.  known: what is encoded already."""
        before, after = ("", "") if self.template is None else self.template.split(PLACE)
        tag = next((f"{tag} " for tag in self.tags if source.startswith(f"{tag} ")), "")
        head, tail = before + tag, after

        def encoded(text: str) -> Ids:
            if text not in known:
                known[text] = tokenizer.encode(text) if text else []
            return known[text]

        # Where a tokenizer has tokens of space and word together, the space at the source belongs to its first word.
        begins, ends = ([encoded(text), encoded(text.strip())] for text in (head, tail))
        begin = next((found for found in begins if ids[: len(found)] == found), None)
        end = next((found for found in ends if ids[len(ids) - len(found) :] == found), None)
        if begin is None or end is None:  # a token goes over the border
            begin, end = begins[1], ends[1]
            own = tokenizer.encode(source[len(tag) :])
        else:
            own = ids[len(begin) : len(ids) - len(end)]
        assert self.max_source_tokens is not None
        room = self.max_source_tokens - len(begin) - len(end)
        if room < 1:
            what = "the template alone has" if not tag else "the tag alone has"
            what = "template and tag alone have" if tag and self.template is not None else what
            told = f"is {self.max_source_tokens}, but {what} {len(begin) + len(end)} tokens: set more"
            raise ConfigError(_problem("max_source_tokens", told))
        own = own[:room] if self.truncate == "right" else own[-room:]
        return [*begin, *own, *end]


def _problem(option: str, told: str) -> Problem:
    return Problem(f"{corpora.group}.{option}", told)
