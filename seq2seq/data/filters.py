"""What is wrong with an example: each filter finds one fault, and leaves the example out or only counts it."""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from seq2seq.data.corpus import Context, Example
from seq2seq.data.scripts import extent, script_of, scripts_of
from seq2seq.registry import Family, PositiveInt

Action = Literal["drop", "count"]

SHOWN = 3  # examples of each fault
ALL = 100_000
EVERY = 16
_MOST_SPACE = 20  # characters


class Filter(ABC):
    """Finds one fault. What takes time is `examine`, which several processes do at a time; `finds` goes through its
    results in the order of the split, and may remember.

    action: `drop` leaves the examples out that are found, `count` only counts them.  fault: how the report names it.
    needs_all: whether a count of a sample would say nothing.  needs_context: whether it examines the texts as a model
    reads them, and not the sentences alone, without tags and context.
    """

    fault: ClassVar[str]
    needs_all: ClassVar[bool] = False
    needs_context: ClassVar[bool] = False
    action: Action

    @abstractmethod
    def examine(self, examples: Sequence[Example]) -> NDArray[Any]:
        """A value for each example: what `finds` decides by."""

    def finds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of them have the fault."""
        return values.astype(bool)

    def learn(self, surroundings: Surroundings) -> None:  # noqa: B027 - most have nothing to learn
        """Called once, before any example."""

    def forget(self) -> None:  # noqa: B027 - most remember nothing
        """Earlier examples were never seen; what was learned stays. Of a copy, so nothing is changed in place."""


@dataclass(frozen=True)
class Surroundings:
    """What an example is seen against. source: null for text alone. held_out: validation and test data, as it was
    before anything was made of it.
    """

    source: str | None
    target: str
    held_out: Callable[[], Iterable[Example]]


filters: Family[Filter] = Family("filters", Filter)


@dataclass(frozen=True)
class Finding:
    """What a filter has found. first: numbers of examples. of_all: false where it saw a sample of a large split."""

    fault: str
    action: Action
    of_all: bool
    count: int
    first: list[int]


class Sieve:
    """All filters of a run, by name. Counts what each finds, and keeps the numbers of the first examples.

    Of large splits those filters that only count see one example of EVERY, after the first ALL.

    tags: what may stand before sources.  context: what texts are read with.
    """

    def __init__(self, filters: Mapping[str, Filter], tags: Sequence[str] = (), context: Context | None = None) -> None:
        self.filters = filters
        self.tags = tuple(tags)
        self.context = context
        self.counts = dict.fromkeys(filters, 0)
        self.first: dict[str, list[int]] = {name: [] for name in filters}

    def findings(self) -> dict[str, Finding]:
        return {
            name: Finding(one.fault, one.action, _sees_all(one), self.counts[name], self.first[name])
            for name, one in self.filters.items()
        }

    def plain(self, example: Example) -> Example:
        """The sentence alone: without tag and context."""
        source, target = example.source, example.target
        tag = next((f"{tag} " for tag in self.tags if source.startswith(f"{tag} ")), "")
        source = source[len(tag) :]
        if self.context is not None:
            source, target = self.context.last_sentence(source), self.context.last_sentence(target)
        return replace(example, source=source, target=target)

    def fresh(self) -> Sieve:
        """One that has learned the same and seen nothing yet."""
        filters = {name: copy(one) for name, one in self.filters.items()}
        for one in filters.values():
            one.forget()
        return Sieve(filters, self.tags, self.context)

    def examine(self, examples: Sequence[Example]) -> list[NDArray[Any]]:
        changed = self.tags or self.context is not None
        alone = [self.plain(example) for example in examples] if changed else examples
        chosen = [i for i, example in enumerate(examples) if example.number < ALL or example.number % EVERY == 0]
        some = alone if len(chosen) == len(examples) else [alone[i] for i in chosen]

        def values(one: Filter) -> NDArray[Any]:
            if one.needs_context:
                return one.examine(examples)
            if _sees_all(one) or some is alone:
                return one.examine(alone)
            found = np.zeros(len(examples), bool)
            found[chosen] = one.examine(some)
            return found

        return [values(one) for one in self.filters.values()]

    def keeps(self, numbers: NDArray[np.int64], values: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
        """Which of the examples stay; to be called in the order of the split. values: what examine gave for them."""
        keeps = np.ones(len(numbers), bool)
        for (name, one), of_filter in zip(self.filters.items(), values, strict=True):
            found = one.finds(of_filter)
            self.counts[name] += int(found.sum())
            wanted = SHOWN - len(self.first[name])
            self.first[name] += numbers[np.flatnonzero(found)[:wanted]].tolist()
            if one.action == "drop":
                keeps &= ~found
        return keeps


def _sees_all(one: Filter) -> bool:
    return one.needs_all or one.action == "drop"


@filters.register("duplicates")
class Duplicates(Filter):
    """Examples that were there before.

    A hash of 8 bytes is kept of each, so in 100 million examples a few are taken for another's.

    Options:
        action: drop leaves them out, all but the first; count only counts them
        of: what has to be the same: the pair, its source or its target
    """

    fault = "there before"
    needs_all = True
    needs_context = True

    def __init__(self, *, action: Action = "drop", of: Literal["pair", "source", "target"] = "pair") -> None:
        self.action = action
        self.of = of
        self._seen: list[NDArray[np.uint64]] = []  # each sorted

    def forget(self) -> None:
        self._seen = []

    def examine(self, examples: Sequence[Example]) -> NDArray[np.uint64]:
        import xxhash

        digest: Callable[[bytes], int] = xxhash.xxh3_64_intdigest
        if self.of == "pair":
            texts = [f"{example.source}\n{example.target}" for example in examples]
        else:
            texts = [getattr(example, self.of) for example in examples]
        hashes = (digest(text.encode("utf-8", "surrogatepass")) for text in texts)
        return np.fromiter(hashes, np.uint64, count=len(examples))

    def finds(self, values: NDArray[np.uint64]) -> NDArray[np.bool_]:
        new, places = np.unique(values, return_index=True)
        known = np.zeros(len(new), bool)
        for seen in self._seen:
            at = np.searchsorted(seen, new)
            at[at == len(seen)] = 0
            known |= seen[at] == new
        found = np.ones(len(values), bool)
        found[places[~known]] = False  # the first of each
        self._remember(new[~known])
        return found

    def _remember(self, new: NDArray[np.uint64]) -> None:
        """Each array stays at least twice as long as the next one, so there are few, and each hash is sorted rarely."""
        if not len(new):
            return
        self._seen.append(new)
        while len(self._seen) > 1 and len(self._seen[-2]) < 2 * len(self._seen[-1]):
            last = self._seen.pop()
            self._seen[-1] = np.sort(np.concatenate([self._seen[-1], last]))


@filters.register("identical")
class Identical(Filter):
    """Pairs of which the target repeats the source, but for case and space: what was not translated.

    Options:
        action: drop leaves them out; count only counts them
        min_words: shorter ones are taken for names or numbers, and are right
    """

    fault = "source and target are the same"

    def __init__(self, *, action: Action = "drop", min_words: PositiveInt = 3) -> None:
        self.action = action
        self.min_words = min_words

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        return _marked(examples, self._is_same)

    def _is_same(self, example: Example) -> bool:
        if abs(len(example.source) - len(example.target)) > _MOST_SPACE:
            return False
        words = example.source.casefold().split()
        return len(words) >= self.min_words and words == example.target.casefold().split()


@filters.register("characters")
class Characters(Filter):
    """Texts of more characters than a sentence or paragraph has.

    Options:
        action: drop leaves them out; count only counts them
        limit: characters of either side
    """

    fault = "too many characters"

    def __init__(self, *, action: Action = "drop", limit: PositiveInt = 5000) -> None:
        self.action = action
        self.limit = limit

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        return _marked(examples, lambda e: len(e.source) > self.limit or len(e.target) > self.limit)


@filters.register("length_ratio")
class LengthRatio(Filter):
    """Pairs of which one side is many times as long as the other: often two that do not belong together. Counted are
    characters, one of Chinese as 3 and a Japanese or Korean syllable as 2, since they say as much.

    Options:
        action: drop leaves them out; count only counts them
        limit: how many times as long
        slack: characters that are added to both sides first, for short ones differ more
    """

    fault = "one side is many times as long as the other"

    def __init__(
        self, *, action: Action = "drop", limit: Annotated[float, Gt(1)] = 3.0, slack: Annotated[int, Gt(-1)] = 10
    ) -> None:
        self.action = action
        self.limit = limit
        self.slack = slack

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        lengths = np.array([(extent(e.source), extent(e.target)) for e in examples], np.float64).reshape(-1, 2)
        empty = lengths.min(axis=1) == 0  # another fault, or text alone
        lengths += self.slack
        found: NDArray[np.bool_] = (lengths.max(axis=1) > self.limit * lengths.min(axis=1)) & ~empty
        return found


@filters.register("few_letters")
class FewLetters(Filter):
    """Texts of digits, signs, emoji and the like alone, or nearly.

    Options:
        action: drop leaves them out; count only counts them
        min_share: of letters (and the signs that belong to them) in the characters that are no spaces
    """

    fault = "hardly any letters"

    def __init__(self, *, action: Action = "drop", min_share: Annotated[float, Gt(0), Le(1)] = 0.3) -> None:
        self.action = action
        self.min_share = min_share

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        return _marked(examples, lambda e: self._has_few(e.source) or self._has_few(e.target))

    def _has_few(self, text: str) -> bool:
        """A text without any character is another fault."""
        length = len(text) - text.count(" ")
        if _ascii_letters(text) >= self.min_share * length:  # the quick way past most texts
            return False
        return length > 0 and length - len(_NO_LETTERS.findall(text)) < self.min_share * length


_ASCII_LETTERS = string.ascii_letters.encode()
_OTHER_ASCII = bytes(set(range(128)) - set(_ASCII_LETTERS))


def _ascii_letters(text: str) -> int:
    return len(text.encode("ascii", "ignore").translate(None, _OTHER_ASCII))


_NO_LETTERS = re.compile(r"[^\S ]|[^\w\s]|[\d_]")


@filters.register("control_characters")
class ControlCharacters(Filter):
    """Texts with control characters (but for tabs) or with U+FFFD, which stands for what could not be decoded.

    Options:
        action: drop leaves them out; count only counts them
    """

    fault = "control characters, or what could not be decoded"

    def __init__(self, *, action: Action = "drop") -> None:
        self.action = action

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        found = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]").search
        return _marked(examples, lambda e: found(e.source) is not None or found(e.target) is not None)


@filters.register("held_out")
class HeldOut(Filter):
    """Examples of which both sides are in the validation or test data too, so that scores would be of what was learned
    by heart.

    Options:
        action: drop leaves them out; count only counts them
    """

    fault = "in the validation or test data too"
    needs_all = True

    def __init__(self, *, action: Action = "drop") -> None:
        self.action = action
        self._sources: frozenset[str] = frozenset()
        self._targets: frozenset[str] = frozenset()

    def learn(self, surroundings: Surroundings) -> None:
        examples = list(surroundings.held_out())
        self._sources = frozenset(_plain(example.source) for example in examples)
        self._targets = frozenset(_plain(example.target) for example in examples)

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        if not self._targets:
            return np.zeros(len(examples), bool)
        return _marked(examples, self._is_held_out)

    def _is_held_out(self, example: Example) -> bool:
        return _plain(example.target) in self._targets and _plain(example.source) in self._sources


@filters.register("script")
class Script(Filter):
    """Texts that are mostly written in another script than their language is. Letters count as in length_ratio, so that
    a few Chinese characters outweigh a foreign name. Languages that are not known here are not looked at.

    Options:
        action: drop leaves them out; count only counts them
        min_share: of letters in a script of the language, among all letters
    """

    fault = "in another script than the language's"

    def __init__(self, *, action: Action = "drop", min_share: Annotated[float, Gt(0), Le(1)] = 0.5) -> None:
        self.action = action
        self.min_share = min_share
        self._scripts: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    def learn(self, surroundings: Surroundings) -> None:
        self._scripts = (scripts_of(surroundings.source or ""), scripts_of(surroundings.target))

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        source, target = self._scripts
        return _marked(examples, lambda e: self._is_other(e.source, source) or self._is_other(e.target, target))

    def _is_other(self, text: str, scripts: frozenset[str]) -> bool:
        if not scripts or ("LATIN" in scripts and _ascii_letters(text) >= self.min_share * extent(text)):
            return False
        letters = [character for character in text if character.isalpha()]
        own = "".join(letter for letter in letters if script_of(letter) in scripts)
        return len(letters) > 0 and extent(own) < self.min_share * extent("".join(letters))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _marked(examples: Sequence[Example], is_wrong: Any) -> NDArray[np.bool_]:
    return np.fromiter(map(is_wrong, examples), bool, count=len(examples))
