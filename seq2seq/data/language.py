"""Filters by an identifier of languages: a side in a wrong language, and sides that have changed places."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from seq2seq.data.corpus import Example
from seq2seq.data.filters import Action, Filter, Surroundings, filters
from seq2seq.data.scripts import code_of
from seq2seq.registry import NonNegativeInt

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

READ = 300  # characters of a text: enough to tell its language
REMEMBERED = 2**14  # texts, so that two filters that see the same examples identify them once
ALIKE = (  # codes of one language, or of those that the identifier takes for each other; pcm: Nigerian Pidgin
    *("no nb nn", "bs hr sr", "id ms", "en pcm", "zh yue wuu", "ar ary arz", "he iw hbo"),
    *("el grc", "ku sdh", "uz uzs", "tl fil"),
)


class _OfLanguages(Filter):
    """Knows the languages of the sides.

    The identifier is no attribute, but loaded by each process that examines.
    """

    def __init__(self, action: Action, min_characters: int) -> None:
        """Raises ValueError where the library is missing."""
        try:
            import py3langid  # noqa: F401
        except ImportError as error:
            raise ValueError(
                "the library `py3langid` is missing: pip install 'seq2seq[language]', or set null to do without"
            ) from error
        self.action = action
        self.min_characters = min_characters
        self._source = self._target = ""

    def learn(self, surroundings: Surroundings) -> None:
        """Languages that the identifier does not know become empty."""
        known = set(map(_group_of, _identifier().labels))
        source, target = (_group_of(code_of(name or "")) for name in (surroundings.source, surroundings.target))
        self._source, self._target = (group if group in known else "" for group in (source, target))


@filters.register("language")
class Language(_OfLanguages):
    """Pairs with a side in another language than it should be; needs py3langid. Sides that have changed places are
    among them. Languages that the identifier does not know are not looked at, and those of one group of ALIKE count as
    one.

    Options:
        action: drop leaves them out; count only counts them
        min_characters: shorter sides are not looked at, since their language is hard to tell
        min_probability: that the identifier must give the other language
    """

    fault = "a side in another language"

    def __init__(
        self,
        *,
        action: Action = "drop",
        min_characters: NonNegativeInt = 30,
        min_probability: Annotated[float, Ge(0), Lt(1)] = 0.5,
    ) -> None:
        super().__init__(action, min_characters)
        self.min_probability = min_probability

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        found = (
            self._is_other(example.source, self._source) or self._is_other(example.target, self._target)
            for example in examples
        )
        return np.fromiter(found, bool, count=len(examples))

    def _is_other(self, text: str, language: str) -> bool:
        if not language or len(text) < self.min_characters:
            return False
        found, probability = _identified(text[:READ])
        return found != language and probability >= self.min_probability


@filters.register("swapped")
class Swapped(_OfLanguages):
    """Pairs of which the source is in the target's language and the target in the source's; needs py3langid. Not looked
    for where the identifier does not know one of the two, or cannot tell them apart.

    Options:
        action: drop leaves them out; count only counts them
        min_characters: pairs with a shorter side are not looked at, since its language is hard to tell
    """

    fault = "source and target have changed places"

    def __init__(self, *, action: Action = "drop", min_characters: NonNegativeInt = 15) -> None:
        super().__init__(action, min_characters)

    def examine(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        if not self._source or not self._target or self._source == self._target:
            return np.zeros(len(examples), bool)
        return np.fromiter(map(self._is_swapped, examples), bool, count=len(examples))

    def _is_swapped(self, example: Example) -> bool:
        if min(len(example.source), len(example.target)) < self.min_characters:
            return False
        return (
            _identified(example.source[:READ])[0] == self._target
            and _identified(example.target[:READ])[0] == self._source
        )


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(REMEMBERED)
def _identified(text: str) -> tuple[str, float]:
    """The likeliest of all languages that the identifier knows, and its probability."""
    code, probability = _identifier().classify(text)
    return _group_of(code), probability


def _group_of(code: str) -> str:
    """The first of those that are hard to tell from it, or are written another way."""
    return _GROUPS.get(code, code)


_GROUPS = {code: group.split()[0] for group in ALIKE for code in group.split()}
