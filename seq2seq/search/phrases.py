"""Words and phrases as the ids that spell them."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.data.scripts import has_spaces
from seq2seq.errors import ConfigError, Problem
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

Spelling = tuple[int, ...]

MAX_SPELLINGS = 1000  # of a phrase; those of the most tokens are left out
BEFORE = ("\u2585", "\x01", "#", "0")  # what pieces of a phrase are hardly ever joined with
NUM_SPECIAL = len(Vocab.special)


def listed_phrases(given: str | Sequence[str] | None) -> list[str]:
    """What an option gives, each phrase once."""
    return list(dict.fromkeys([given] if isinstance(given, str) else given or []))


def usual_spellings(tokenizer: Tokenizer, option: str, phrases: Sequence[str]) -> list[list[Spelling]]:
    """Of each phrase what the tokenizer makes of it, alone and behind other words; in scripts without spaces also of
    what follows directly.

    option: where the phrases are from, for messages. Raises ConfigError where a phrase cannot be spelled.
    """
    problems: list[Problem] = []
    found: list[list[Spelling]] = []
    for phrase in phrases:
        ids = tuple(tokenizer.encode(phrase))
        if not phrase.strip() or not ids:
            problems.append(Problem(option, f"{phrase!r} holds no text"))
        elif Vocab.unk in ids:
            problems.append(Problem(option, f"{phrase!r} holds what the tokenizer does not know, so it is never said"))
        else:
            inside = [] if has_spaces(phrase) else _behind("", tokenizer, phrase)
            every = dict.fromkeys([ids, *_behind(" ", tokenizer, phrase), *inside])
            found.append([one for one in every if not any(_holds(one, other) for other in every if other != one)])
    if problems:
        raise ConfigError(*problems)
    return found


def all_spellings(tokenizer: Tokenizer, option: str, phrases: Sequence[str]) -> list[Spelling]:
    """Every way in which the tokens of the vocabulary spell the phrases, behind a space or not; the shortest first.

    Raises ConfigError where a phrase cannot be spelled.
    """
    usual = usual_spellings(tokenizer, option, phrases)
    places = {name: token for token, name in enumerate(tokenizer.vocab.tokens) if token >= NUM_SPECIAL}
    longest = max(map(len, places), default=0)
    found: dict[Spelling, None] = {}
    for phrase, spellings in zip(phrases, usual, strict=True):
        for ids in [*spellings, *_behind("", tokenizer, phrase)]:
            found[ids] = None
            told = tokenizer.decode(ids)
            spelled = "".join(tokenizer.vocab.tokens[token] for token in ids)
            others = _divisions(spelled, places, longest)
            found |= dict.fromkeys(other for other in others if tokenizer.decode(other) == told)
    return list(found)


def _behind(space: str, tokenizer: Tokenizer, phrase: str) -> list[Spelling]:
    """What spells the phrase after other text and this between the two."""
    found: dict[Spelling, None] = {}
    for before in BEFORE:
        start, ids = tokenizer.encode(before), tokenizer.encode(before + space + phrase)
        rest = tuple(ids[len(start) :])
        if ids[: len(start)] == start and rest and Vocab.unk not in rest and tokenizer.decode(rest).strip() == phrase:
            found[rest] = None
    return list(found)


def _holds(spelling: Spelling, other: Spelling) -> bool:
    size = len(other)
    return any(spelling[start : start + size] == other for start in range(len(spelling) - size + 1))


def _divisions(text: str, places: dict[str, int], longest: int) -> list[Spelling]:
    """The ways to divide a text into tokens, the MAX_SPELLINGS of them with the fewest."""
    from_here: list[list[Spelling]] = [[] for _ in text] + [[()]]
    for start in range(len(text) - 1, -1, -1):
        found = [
            (places[text[start:end]], *rest)
            for end in range(start + 1, min(start + longest, len(text)) + 1)
            if text[start:end] in places
            for rest in from_here[end]
        ]
        from_here[start] = sorted(found, key=len)[:MAX_SPELLINGS]
    return from_here[0]
