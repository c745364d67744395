"""A synchronous grammar: one derivation gives an English sentence and its German translation.

Agreement, cases and word order of both languages; nothing here is random. Phrases are built bottom up: `noun_phrase`,
`prepositional`, a `Clause`, then `statement`, `fronted`, `question`, `subordinate` and `sentence`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seq2seq.data.lexicon import CONTRACTIONS, DETERMINERS, present
from seq2seq.data.parts_of_speech import CASES, Adjective, Case, Modal, Noun, Pair, Pronoun, Verb

NOTHING = Pair("", "")
THIRD, PLURAL = 2, 3  # places in Verb.present

# Endings by case, for masculine, feminine, neuter, plural.
_DER = {"nominative": "der die das die", "accusative": "den die das die", "dative": "dem der dem den"}
_DIESER = {"nominative": "er e es e", "accusative": "en e es e", "dative": "em er em en"}
_EIN = {"nominative": "- e - e", "accusative": "en e - e", "dative": "em er em en"}
_WEAK = {"nominative": "e e e en", "accusative": "en e e en", "dative": "en en en en"}
_MIXED = {"nominative": "er e es en", "accusative": "en e es en", "dative": "en en en en"}
_STRONG = {"nominative": "er e es e", "accusative": "en e es e", "dative": "em er em en"}


def _table(lines: dict[str, str]) -> dict[tuple[str, str], str]:
    return {
        (case, gender): "" if ending == "-" else ending
        for case, line in lines.items()
        for gender, ending in zip("mfnp", line.split(), strict=True)
    }


# The endings of the determiner and of an adjective after it, by the determiner's declension.
_DECLENSIONS = {
    "der": (_table(_DER), _table(_WEAK)),
    "dieser": (_table(_DIESER), _table(_WEAK)),
    "ein": (_table(_EIN), _table(_MIXED)),
    "viele": (_table(_STRONG), _table(_STRONG)),
}
_DEFINITE = {"the", "this", "every", "my", "your", "his", "her", "our"}

_BE = ("am", "are", "is", "are")
_HABEN = present("haben", "")
_SEIN = present("sein", "")


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """Subject and object form; the German cases in the order of CASES.

    head: what it speaks of.  person: its place in Verb.present.  kind: what decides the order in the German sentence.
    """

    head: str
    english: tuple[str, str]
    german: tuple[str, str, str]
    person: int
    kind: Literal["pronoun", "definite", "indefinite"]

    def case(self, case: Case) -> str:
        return self.german[CASES.index(case)]


Object = tuple[Case, NounPhrase]


@dataclass(frozen=True, slots=True)
class Clause:
    """A subject and what is said of it.

    complement: a phrase of place or direction, an adverb of manner, a predicative adjective.  tense: present, perfect,
    or the infinitive with a modal verb.  time, frequency: adverbs; a frequency excludes negation.
    """

    subject: NounPhrase
    verb: Verb
    objects: tuple[Object, ...] = ()
    complement: Pair = NOTHING
    tense: Modal | Literal["present", "perfect"] = "present"
    negated: bool = False
    time: Pair = NOTHING
    frequency: Pair = NOTHING


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def pronoun(word: Pronoun) -> NounPhrase:
    return NounPhrase(word.english[0], word.english, word.german, word.person, "pronoun")


def name(word: str) -> NounPhrase:
    return NounPhrase(word, (word, word), (word, word, word), THIRD, "definite")


def who() -> NounPhrase:
    """The subject of a question."""
    return NounPhrase("who", ("who", "who"), ("wer", "wen", "wem"), THIRD, "definite")


def noun_phrase(
    determiner: str,
    noun: Noun,
    *,
    plural: bool = False,
    number: Pair = NOTHING,
    adjectives: Sequence[Adjective] = (),
    modifier: Pair = NOTHING,
) -> NounPhrase:
    """`determiner` is a key of DETERMINERS; "" is none, for the plural; `modifier` is a prepositional phrase."""
    article = DETERMINERS[determiner]
    gender = "p" if plural else noun.gender
    endings, adjective_endings = _DECLENSIONS[article.declension]

    def german(case: Case) -> str:
        form = noun.german[plural]
        if noun.weak and case != "nominative":
            form = noun.german[1]
        if plural and case == "dative" and form[-1] not in "ns":
            form += "n"
        first = article.stem + endings[case, gender] if article.stem or determiner else ""
        inflected = (adjective.stem + adjective_endings[case, gender] for adjective in adjectives)
        return _words(first, number.german, *inflected, form, modifier.german)

    rest = _words(number.english, *(adjective.english for adjective in adjectives), noun.english[plural])
    first = article.english[plural]
    if first == "a" and rest[0] in "aeiou":
        first = "an"
    english = _words(first, rest, modifier.english)
    kind: Literal["definite", "indefinite"] = "definite" if determiner in _DEFINITE else "indefinite"
    cases = (german("nominative"), german("accusative"), german("dative"))
    return NounPhrase(noun.english[0], (english, english), cases, PLURAL if plural else THIRD, kind)


def both(first: NounPhrase, second: NounPhrase) -> NounPhrase:
    """Two noun phrases joined by `and`."""
    english = (f"{first.english[0]} and {second.english[0]}", f"{first.english[1]} and {second.english[1]}")
    nominative, accusative, dative = (f"{a} und {b}" for a, b in zip(first.german, second.german, strict=True))
    return NounPhrase(english[0], english, (nominative, accusative, dative), PLURAL, first.kind)


def prepositional(preposition: Pair, case: Case, phrase: NounPhrase) -> Pair:
    german = f"{preposition.german} {phrase.case(case)}"
    for long, short in CONTRACTIONS.items():
        if german.startswith(long + " "):
            german = short + german[len(long) :]
    return Pair(f"{preposition.english} {phrase.english[1]}", german)


def _third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith(("s", "sh", "ch", "x", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + "s"


def _english_verb(clause: Clause, supported: bool) -> tuple[str, str]:
    """The auxiliary, which a negation or a question needs (`supported`), and the rest of the verb."""
    verb, tense, third = clause.verb.english, clause.tense, clause.subject.person == THIRD
    if tense == "perfect":
        return "has" if third else "have", clause.verb.english_participle
    if isinstance(tense, Modal) and not tense.full:
        return tense.english, verb
    if not isinstance(tense, Modal) and verb == "be":
        return _BE[clause.subject.person], ""
    first, rest = (tense.english, f"to {verb}") if isinstance(tense, Modal) else (verb, "")
    if supported:
        return "does" if third else "do", _words(first, rest)
    return "", _words(_third_person(first) if third else first, rest)


def _english(clause: Clause, *, inverted: bool = False) -> str:
    verb = clause.verb
    subject = clause.subject.english[0]
    auxiliary, main = _english_verb(clause, inverted or clause.negated)
    negation = "not" if clause.negated else ""
    if (auxiliary, negation) == ("can", "not") and not inverted:
        auxiliary, negation = "cannot", ""
    objects = [phrase.english[1] for _, phrase in clause.objects]
    if verb.pronoun_first and clause.objects and clause.objects[0][1].kind == "pronoun":
        objects.append(verb.english_particle)
    else:
        objects.insert(0, verb.english_particle)
    start = (auxiliary, subject) if inverted else (subject, auxiliary)
    return _words(
        *start, negation, clause.frequency.english, main, *objects, clause.complement.english, clause.time.english
    )


def _german_verb(clause: Clause) -> tuple[str, str, str]:
    """The finite verb; what ends a main clause; the whole as it ends a subordinate clause."""
    verb, person = clause.verb, clause.subject.person
    if clause.tense == "present":
        finite = verb.present[person]
        return finite, verb.particle, verb.particle + finite
    if clause.tense == "perfect":
        finite, rest = (_SEIN if verb.auxiliary == "sein" else _HABEN)[person], verb.participle
    else:
        assert isinstance(clause.tense, Modal)
        finite, rest = clause.tense.present[person], verb.particle + verb.infinitive
    return finite, rest, f"{rest} {finite}"


def _german(clause: Clause, order: Literal["main", "inverted", "final"]) -> str:
    """The finite verb is second (`main`), first (`inverted`: after a fronted phrase, or in a question) or last."""
    subject = clause.subject.german[0]
    finite, end, final = _german_verb(clause)

    def objects(kind: str) -> list[str]:
        if clause.verb.frame == "prepositional":
            return []
        return [phrase.case(case) for case, phrase in clause.objects if phrase.kind == kind]

    prepositional_objects = [
        prepositional(Pair("", clause.verb.preposition), case, phrase).german
        for case, phrase in clause.objects
        if clause.verb.frame == "prepositional"
    ]
    field = _words(
        *objects("pronoun"),
        clause.time.german,
        *objects("definite"),
        "nicht" if clause.negated else clause.frequency.german,
        *objects("indefinite"),
        *prepositional_objects,
        clause.complement.german,
    )
    if order == "final":
        return _words(subject, field, final)
    start = (subject, finite) if order == "main" else (finite, subject)
    return _words(*start, field, end)


def statement(clause: Clause) -> Pair:
    """A main clause; a question, too, where its subject is `who`."""
    return Pair(_english(clause), _german(clause, "main"))


def fronted(front: Pair, clause: Clause) -> Pair:
    """A main clause after an adverb."""
    return Pair(_words(front.english, _english(clause)), _words(front.german, _german(clause, "inverted")))


def question(clause: Clause, word: Pair = NOTHING) -> Pair:
    """Yes or no; or what `word` asks for, which the clause then lacks."""
    return Pair(_words(word.english, _english(clause, inverted=True)), _words(word.german, _german(clause, "inverted")))


def subordinate(conjunction: Pair, clause: Clause) -> Pair:
    return Pair(f"{conjunction.english} {_english(clause)}", f"{conjunction.german} {_german(clause, 'final')}")


def clause_after(main: Pair, second: Pair) -> Pair:
    """A main clause, then a subordinate one."""
    return Pair(f"{main.english} {second.english}", f"{main.german}, {second.german}")


def clause_before(first: Pair, clause: Clause) -> Pair:
    """A subordinate clause, then the main one."""
    return Pair(f"{first.english}, {_english(clause)}", f"{first.german}, {_german(clause, 'inverted')}")


def joined(first: Pair, second: Pair, *, contrast: bool = False) -> Pair:
    """Two main clauses, by `and` or by `but`."""
    if contrast:
        return Pair(f"{first.english}, but {second.english}", f"{first.german}, aber {second.german}")
    return Pair(f"{first.english} and {second.english}", f"{first.german} und {second.german}")


def sentence(pair: Pair, mark: str = ".") -> Pair:
    return Pair(*(text[0].upper() + text[1:] + mark for text in pair))
