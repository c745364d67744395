"""The kinds of words that the demo corpus is made of, in English and German side by side."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Case = Literal["nominative", "accusative", "dative"]
CASES: tuple[Case, ...] = ("nominative", "accusative", "dative")


class Pair(NamedTuple):
    """The same thing in both languages."""

    english: str
    german: str


@dataclass(frozen=True, slots=True)
class Noun:
    """Singular and plural. A `weak` noun takes its plural form in the accusative and dative singular, too.

    gender: m, f or n.  tags: what the noun can be in a sentence; the first is the kind that adjectives go by.
    """

    english: tuple[str, str]
    german: tuple[str, str]
    gender: str
    tags: tuple[str, ...]
    weak: bool


@dataclass(frozen=True, slots=True)
class Adjective:
    """`stem` carries the German endings; `kinds` are the nouns that it suits."""

    english: str
    german: str
    stem: str
    kinds: frozenset[str]
    color: bool


@dataclass(frozen=True, slots=True)
class Verb:
    """English: base, participle, a particle after the verb, and whether an object pronoun comes before the particle.

    German: infinitive and present without the separable particle (for ich, du, er, plural), the particle, participle,
    auxiliary (haben or sein).  frame: the complements.  preposition: of the object.  subjects, objects:
    tags of nouns; an intransitive verb has there its manner.  state: no action, so not said with can, must and so on.
    """

    english: str
    english_participle: str
    english_particle: str
    pronoun_first: bool
    infinitive: str
    present: tuple[str, str, str, str]
    particle: str
    participle: str
    auxiliary: str
    frame: str
    preposition: str
    subjects: str
    objects: str
    state: bool


@dataclass(frozen=True, slots=True)
class Modal:
    """`full` is an English verb with `to`, which needs do-support; the others are auxiliaries."""

    english: str
    full: bool
    present: tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Pronoun:
    """Subject and object form; nominative, accusative, dative; the place of its verb form in `Verb.present`."""

    english: tuple[str, str]
    german: tuple[str, str, str]
    person: int


@dataclass(frozen=True, slots=True)
class Determiner:
    """Singular and plural; `declension` is that of the German word: der, dieser, ein or viele."""

    english: tuple[str, str]
    stem: str
    declension: str
