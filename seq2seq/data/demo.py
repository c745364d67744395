"""The demo corpus: an English-German parallel corpus that the project makes itself, and its random derivations."""

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal, TypeVar

from seq2seq.data import grammar, lexicon
from seq2seq.data.corpus import Corpus, Example, IndexedSource, Split, corpora
from seq2seq.data.grammar import NOTHING, Clause, NounPhrase, Object
from seq2seq.data.parts_of_speech import Adjective, Case, Modal, Noun, Pair, Verb
from seq2seq.registry import PositiveInt

T = TypeVar("T")
Tense = Literal["present", "perfect", "modal"]

MIN_WORDS, MAX_WORDS = 4, 16

# A choice takes every entry with the same chance, so what stands there more often is more frequent.
_DEFINITE = (*["the"] * 8, "this", "this", "my", "your", "his", "her", "our")
_SINGULAR = (*_DEFINITE, *["a"] * 9)
_PLURAL = (*_DEFINITE, *[""] * 6, "many", "many", *["number"] * 4)
_FRAMES = (
    *["accusative"] * 17,
    *["dative"] * 6,
    *["ditransitive"] * 5,
    *["prepositional"] * 4,
    *["place"] * 3,
    *["direction"] * 4,
    *["intransitive"] * 5,
    *["being"] * 6,
)
_EVENTS = tuple(frame for frame in _FRAMES if frame != "being")
_TENSES: tuple[Tense, ...] = (
    "present", "present", "present", "present", "present", "perfect", "perfect", "modal", "modal", "modal",
)  # fmt: skip
_POLARITIES = (*["plain"] * 13, *["not"] * 4, *["no"] * 2, *["frequency"] * 3)
_MOSTLY_PLAIN = (*["plain"] * 6, "not", "no")
_SAME_SPEAKER = ({"I", "we"}, {"you"})


@cache
def _verbs(frame: str) -> tuple[Verb, ...]:
    return tuple(verb for verb in lexicon.VERBS if verb.frame == frame)


@cache
def _nouns(tags: str) -> tuple[Noun, ...]:
    """The nouns with one of the tags, which commas separate; `living` is person and animal."""
    wanted = set(tags.replace("living", "person,animal").split(","))
    return tuple(noun for noun in lexicon.NOUNS if wanted.intersection(noun.tags))


@cache
def _adjectives(kind: str, color: bool) -> tuple[Adjective, ...]:
    return tuple(word for word in lexicon.ADJECTIVES if kind in word.kinds and word.color == color)


class Derivations:
    """Random derivations of the grammar: for one seed the same on every platform and Python version."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random  # of all its methods the one that is promised never to change

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random() * len(choices))]

    def _chance(self, probability: float) -> bool:
        return self._random() < probability

    def sentence(self) -> Pair:
        form = self._random()
        if form < 0.38:
            return grammar.sentence(grammar.statement(self._clause()))
        if form < 0.50:
            return grammar.sentence(self._fronted())
        if form < 0.68:
            return grammar.sentence(self._question(), "?")
        if form < 0.78:
            main, reason = self._reason()
            return grammar.sentence(grammar.clause_after(grammar.statement(main), reason))
        if form < 0.85:
            main, reason = self._reason()
            return grammar.sentence(grammar.clause_before(reason, main))
        if form < 0.95:
            return self._opinion()
        first, second = (grammar.statement(self._clause(short=True)) for _ in range(2))
        return grammar.sentence(grammar.joined(first, second, contrast=self._chance(0.5)))

    def _fronted(self) -> Pair:
        """A main clause after an adverb of time."""
        front, tenses = self._pick(lexicon.TIMES)
        return grammar.fronted(front, self._clause(tenses, event=True, polarities=_MOSTLY_PLAIN, time=False))

    def _reason(self) -> tuple[Clause, Pair]:
        """A main clause and a subordinate one."""
        if self._chance(0.6):
            return self._clause(short=True), grammar.subordinate(self._pick(lexicon.REASONS), self._clause(short=True))
        main = self._clause(("present", "modal"), short=True)
        occasion = self._clause(("present",), event=True, polarities=("plain",), short=True)
        return main, grammar.subordinate(self._pick(lexicon.OCCASIONS), occasion)

    def _opinion(self) -> Pair:
        """Somebody believes that, or asks whether."""
        frame = self._pick(("that", "that", "whether"))
        verb = self._pick(_verbs(frame))
        main = Clause(self._subject("person", short=True), verb, negated=self._chance(0.3))
        content = grammar.subordinate(lexicon.THAT if frame == "that" else lexicon.WHETHER, self._clause(short=True))
        if self._chance(0.2):
            return grammar.sentence(grammar.clause_after(grammar.question(main), content), "?")
        return grammar.sentence(grammar.clause_after(grammar.statement(main), content))

    def _question(self) -> Pair:
        form = self._random()
        if form < 0.4:
            return grammar.question(self._clause(polarities=("plain", "plain", "plain", "not")))
        if form < 0.55:
            return grammar.statement(self._clause(subject=grammar.who(), polarities=("plain", "plain", "not")))
        if form < 0.7:
            clause = self._clause(polarities=("plain", "plain", "not"), time=False)
            return grammar.question(clause, self._pick(lexicon.ADVERBIAL_QUESTIONS))
        frame = self._pick(("accusative", "accusative", "dative", "ditransitive", "place", "direction"))
        clause = self._clause(frames=(frame,), polarities=("plain",))
        if frame in ("place", "direction"):
            return grammar.question(replace(clause, complement=NOTHING), lexicon.QUESTIONS[frame])
        if frame == "accusative":
            tag = self._pick(clause.verb.objects.split(","))
            frame = "person" if tag in ("living", "person") else "thing"
        return grammar.question(replace(clause, objects=clause.objects[:-1]), lexicon.QUESTIONS[frame])

    def _clause(
        self,
        tenses: Collection[str] = ("present", "perfect", "modal"),
        *,
        frames: Sequence[str] = _FRAMES,
        event: bool = False,
        subject: NounPhrase | None = None,
        polarities: Sequence[str] = _POLARITIES,
        time: bool = True,
        short: bool = False,
    ) -> Clause:
        """An `event` is no state. `short` leaves out adverbs of time, most adjectives and prepositional modifiers."""
        frame = self._pick(_EVENTS if event else frames)
        if frame == "being":
            return self._being(tenses, subject, polarities, short)
        verb = self._pick([verb for verb in _verbs(frame) if not (event and verb.state)])
        tense = self._tense(verb, tenses)
        polarity = self._pick(polarities)
        if polarity == "frequency" and verb.state:
            polarity = "plain"
        if polarity == "no" and tense is lexicon.NECESSITY:
            polarity = "not"  # "has to see no dog" and "muss keinen Hund sehen" are not the same
        no_subject = polarity == "no" and frame != "accusative"
        if subject is None:
            every = polarity == "plain" and self._chance(0.06)
            determiner = "no" if no_subject else "every" if every else None
            subject = self._subject(verb.subjects, determiner=determiner, short=short)
        frequency = self._frequency(tense) if polarity == "frequency" else NOTHING
        return Clause(
            subject=subject,
            verb=verb,
            objects=self._objects(verb, subject, polarity, short),
            complement=self._complement(verb),
            tense=tense,
            negated=polarity == "not",
            time=self._time(tense) if time and not short and not verb.state and polarity == "plain" else NOTHING,
            frequency=frequency,
        )

    def _being(
        self, tenses: Collection[str], subject: NounPhrase | None, polarities: Sequence[str], short: bool
    ) -> Clause:
        """Somebody or something is so, or is somewhere."""
        verb = _verbs("being")[0]
        polarity = self._pick(polarities)
        kind = "person"
        if subject is None and self._chance(0.3):
            subject = self._subject("person", short=True)
        elif subject is None:
            noun = self._pick(lexicon.NOUNS)
            kind = noun.tags[0]
            subject = self._phrase(noun, _DEFINITE if polarity != "no" else ("no",), short=True)
        if kind in ("person", "animal", "thing") and self._chance(0.3):
            complement = self._place(lexicon.PLACES, avoid=subject.head)
        else:
            words = _adjectives(kind, False)
            adjective = self._pick([word for word in words if word.english not in subject.english[0].split()])
            complement = Pair(adjective.english, adjective.german)
        tense = self._tense(verb, tenses)
        frequency = self._frequency(tense) if polarity == "frequency" else NOTHING
        return Clause(subject, verb, complement=complement, tense=tense, negated=polarity == "not", frequency=frequency)

    def _tense(self, verb: Verb, tenses: Collection[str]) -> Modal | Literal["present", "perfect"]:
        """One of the tenses; of a state, only the present and the future."""
        tense = self._pick([tense for tense in _TENSES if tense in tenses])
        if verb.state:
            return "present" if "present" in tenses else lexicon.FUTURE
        return self._pick(lexicon.MODALS) if tense == "modal" else tense

    def _time(self, tense: Modal | str) -> Pair:
        if not self._chance(0.15):
            return NOTHING
        kind = tense if isinstance(tense, str) else "modal"
        return self._pick([word for word, tenses in lexicon.TIMES if kind in tenses])

    def _frequency(self, tense: Modal | str) -> Pair:
        """Not everything that can be rare has been rare."""
        return self._pick(lexicon.FREQUENCIES if tense == "present" else lexicon.FREQUENCIES[:2])

    def _subject(self, tags: str, *, determiner: str | None = None, short: bool = False) -> NounPhrase:
        if determiner is not None:
            return self._phrase(self._pick(_nouns(tags)), (determiner,), short=short)
        form = self._random()
        if form < 0.32:
            return grammar.pronoun(self._pick(lexicon.PRONOUNS))
        if form < 0.43:
            return grammar.name(self._pick(lexicon.NAMES))
        if form < 0.48:
            first, second = (
                self._phrase(self._pick(_nouns("person")), _DEFINITE, plural=False, short=True) for _ in range(2)
            )
            return first if first.head == second.head else grammar.both(first, second)
        return self._phrase(self._pick(_nouns(tags)), short=short)

    def _object(
        self, tags: str, case: Case, subject: NounPhrase, determiners: Sequence[str] | None, short: bool
    ) -> NounPhrase:
        """Not what the subject speaks of."""
        form = self._random()
        person = "person" in tags or "living" in tags
        if person and determiners != ("no",):
            if form < 0.25:
                same = next((group for group in _SAME_SPEAKER if subject.head in group), {subject.head})
                words = [grammar.pronoun(word) for word in lexicon.PRONOUNS if word.english[0] not in same]
                return self._pick([word for word in words if word.case(case)])
            if form < 0.35:
                return grammar.name(self._pick([name for name in lexicon.NAMES if name != subject.head]))
        nouns = _nouns(self._pick(tags.split(",")))
        return self._phrase(
            self._pick([noun for noun in nouns if noun.english[0] != subject.head]), determiners, short=short
        )

    def _objects(self, verb: Verb, subject: NounPhrase, polarity: str, short: bool) -> tuple[Object, ...]:
        # Beside an indefinite object, "nicht" would have to be "kein".
        determiners = {"not": _DEFINITE, "no": ("no",)}.get(polarity)
        if verb.frame == "accusative":
            return (("accusative", self._object(verb.objects, "accusative", subject, determiners, short)),)
        if polarity == "no":
            determiners = None
        if verb.frame == "dative":
            return (("dative", self._object(verb.objects, "dative", subject, determiners, short)),)
        if verb.frame == "prepositional":
            case = lexicon.PREPOSITION_CASES[verb.preposition]
            return ((case, self._object(verb.objects, case, subject, None, short)),)
        if verb.frame == "ditransitive":
            receiver = self._object("person", "dative", subject, _DEFINITE, True)
            thing = self._object(verb.objects, "accusative", subject, determiners, True)
            return (("dative", receiver), ("accusative", thing))
        return ()

    def _complement(self, verb: Verb) -> Pair:
        if verb.frame == "place":
            # Nobody lives under a tree.
            return self._place(lexicon.PLACES[:1] if verb.state else lexicon.PLACES)
        if verb.frame == "direction":
            return self._place(lexicon.DIRECTIONS, tags=verb.objects)
        if verb.frame == "intransitive" and verb.objects != "-" and self._chance(0.7):
            kind = self._pick(verb.objects.split(","))
            return self._place(lexicon.PLACES[:1]) if kind == "place" else self._pick(lexicon.MANNERS[kind])
        return NOTHING

    def _place(self, places: Sequence[tuple[Pair, Case, str]], *, tags: str = "-", avoid: str = "") -> Pair:
        preposition, case, own_tags = self._pick(places)
        nouns = [noun for noun in _nouns(own_tags if tags == "-" else tags) if noun.english[0] != avoid]
        return grammar.prepositional(preposition, case, self._phrase(self._pick(nouns), plural=False, short=True))

    def _phrase(
        self,
        noun: Noun,
        determiners: Sequence[str] | None = None,
        *,
        plural: bool | None = None,
        short: bool = False,
    ) -> NounPhrase:
        if plural is None:
            plural = determiners != ("every",) and self._chance(0.3)
        determiner = self._pick(determiners or (_PLURAL if plural else _SINGULAR))
        number = NOTHING
        if determiner == "number" or (plural and determiner in _DEFINITE and self._chance(0.15)):
            determiner = "" if determiner == "number" else determiner
            number = self._pick(lexicon.NUMBERS)
        adjectives: list[Adjective] = []
        for color in (False, True):
            words = _adjectives(noun.tags[0], color)
            if words and self._chance(0.12 if short or color else 0.35):
                adjectives.append(self._pick(words))
        modifier = NOTHING if short or adjectives else self._modifier(noun)
        return grammar.noun_phrase(
            determiner, noun, plural=plural, number=number, adjectives=adjectives, modifier=modifier
        )

    def _modifier(self, noun: Noun) -> Pair:
        kind = noun.tags[0]
        if kind not in ("person", "animal", "thing") or not self._chance(0.15):
            return NOTHING
        if kind == "animal" or self._chance(0.5):
            # Who goes through the city sits on no chair meanwhile.
            places = lexicon.PLACES if kind == "thing" else lexicon.PLACES[:4]
            return self._place(places, avoid=noun.english[0])
        preposition, case, tags = self._pick(lexicon.MODIFIERS[kind])
        return grammar.prepositional(
            preposition, case, self._phrase(self._pick(_nouns(tags)), plural=False, short=True)
        )


class _Pairs(IndexedSource):
    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> Example:
        source, target = self._pairs[number]
        return Example(source, target, number)


def generate(count: int, seed: int) -> list[Pair]:
    """Pairs of MIN_WORDS to MAX_WORDS words on both sides, no sentence twice on either side."""
    derivations = Derivations(seed)
    pairs: list[Pair] = []
    known: tuple[set[str], set[str]] = (set(), set())
    while len(pairs) < count:
        pair = derivations.sentence()
        fits = all(MIN_WORDS <= text.count(" ") + 1 <= MAX_WORDS for text in pair)
        if fits and pair.english not in known[0] and pair.german not in known[1]:
            known[0].add(pair.english)
            known[1].add(pair.german)
            pairs.append(pair)
    return pairs


@corpora.register("demo")
class Demo(Corpus):
    """English and German sentences from a small grammar, for trying the toolkit in a minute without any download.

    A few hundred words; cases and genders, irregular plurals, negation, modal and separable verbs, questions, and the
    word order of subordinate clauses. Each sentence has one right translation, so a model can come near to BLEU 100.
    No sentence of one split stands in another, and the test set is the same whatever the other sizes are.

    Options:
        source: language to translate from, en or de; null for text alone, for a language model
        target: language to translate into, en or de
        train: number of sentence pairs to train on
        validation: number of sentence pairs to validate on
        test: number of sentence pairs to test on
        seed: other sentences for another number
    """

    def __init__(
        self,
        *,
        source: Literal["en", "de"] | None = "en",
        target: Literal["en", "de"] = "de",
        train: PositiveInt = 60000,
        validation: PositiveInt = 500,
        test: PositiveInt = 500,
        seed: int = 1,
    ) -> None:
        if source == target:
            raise ValueError(f"source and target are both {source}: one has to be en, the other de")
        self.source = source
        self.target = target
        self._sizes: dict[Split, int] = {"test": test, "validation": validation, "train": train}
        self._seed = seed
        self._splits: dict[Split, IndexedSource] = {}

    def split(self, name: Split) -> IndexedSource:
        if not self._splits:
            pairs: list[tuple[str, str]] = list(generate(sum(self._sizes.values()), self._seed))
            if self.target == "en":
                pairs = [(german, english) for english, german in pairs]
            if self.source is None:
                pairs = [("", text) for _, text in pairs]
            start = 0
            for split, size in self._sizes.items():
                self._splits[split] = _Pairs(pairs[start : start + size])
                start += size
        return self._splits[name]
