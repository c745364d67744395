"""Made-up sentences in English, German and Chinese: three orders of words, genders, classifiers, no spaces.

English and German are made by the demo's grammar, of some of its words.
"""

import random
from pathlib import Path

from seq2seq.data.grammar import NOTHING, Clause, NounPhrase, noun_phrase, prepositional, sentence, statement
from seq2seq.data.lexicon import ADJECTIVES, NOUNS, NUMBERS, TIMES, VERBS
from seq2seq.data.parts_of_speech import Noun, Pair

# The Chinese noun and its classifier.
THINGS = {
    "dog": ("\u72d7", "\u53ea"), "cat": ("\u732b", "\u53ea"), "bird": ("\u9e1f", "\u53ea"),
    "horse": ("\u9a6c", "\u5339"), "cow": ("\u725b", "\u5934"), "book": ("\u4e66", "\u672c"),
    "letter": ("\u4fe1", "\u5c01"), "newspaper": ("\u62a5\u7eb8", "\u4efd"), "picture": ("\u753b", "\u5f20"),
    "key": ("\u94a5\u5319", "\u628a"), "knife": ("\u5200", "\u628a"), "umbrella": ("\u96e8\u4f1e", "\u628a"),
    "table": ("\u684c\u5b50", "\u5f20"), "chair": ("\u6905\u5b50", "\u628a"), "bag": ("\u5305", "\u4e2a"),
    "bicycle": ("\u81ea\u884c\u8f66", "\u8f86"), "flower": ("\u82b1", "\u6735"), "coat": ("\u5927\u8863", "\u4ef6"),
    "shirt": ("\u886c\u886b", "\u4ef6"), "apple": ("\u82f9\u679c", "\u4e2a"),
}  # fmt: skip
PEOPLE = {
    "teacher": ("\u8001\u5e08", "\u4f4d"), "doctor": ("\u533b\u751f", "\u4f4d"), "friend": ("\u670b\u53cb", "\u4f4d"),
    "student": ("\u5b66\u751f", "\u4e2a"), "child": ("\u5b69\u5b50", "\u4e2a"), "girl": ("\u5973\u5b69", "\u4e2a"),
}  # fmt: skip
CHINESE_NOUNS = THINGS | PEOPLE
DOES = {
    "see": "\u770b\u89c1", "buy": "\u4e70", "sell": "\u5356", "find": "\u627e\u5230", "lose": "\u4e22",
    "look for": "\u5bfb\u627e",
}  # fmt: skip
KINDS = {
    "big": "\u5927", "small": "\u5c0f", "new": "\u65b0", "old": "\u65e7", "red": "\u7ea2\u8272\u7684",
    "white": "\u767d\u8272\u7684", "black": "\u9ed1\u8272\u7684", "beautiful": "\u6f02\u4eae\u7684",
    "expensive": "\u6602\u8d35\u7684",
}  # fmt: skip
WHICH = {"a": "\u4e00", "this": "\u8fd9", "every": "\u6bcf"}
_FROM_TWO = "\u4e24\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341"
MANY = {pair.english: chinese for pair, chinese in zip(NUMBERS, _FROM_TWO, strict=False)}
WHERE = {"park": "\u5728\u516c\u56ed", "city": "\u5728\u57ce\u91cc", "garden": "\u5728\u82b1\u56ed"}
WHEN = {"today": "\u4eca\u5929", "now": "\u73b0\u5728", "every day": "\u6bcf\u5929", "in the evening": "\u665a\u4e0a"}

_NOUNS: dict[str, Noun] = {noun.english[0]: noun for noun in NOUNS}
_VERBS = {f"{verb.english} {verb.english_particle}".strip(): verb for verb in VERBS}
_ADJECTIVES = {adjective.english: adjective for adjective in ADJECTIVES}
_TIMES = {time.english: time for time, _ in TIMES}


def made(draw: random.Random) -> tuple[str, str, str]:
    """As `This girl finds a red book in the park today.` in the three languages."""
    subject, chinese_subject = _phrase(draw, [*PEOPLE], "", "")
    number = draw.choice(["", "", *MANY])
    phrase, chinese_object = _phrase(draw, [*THINGS], number, draw.choice(["", *KINDS]))
    verb, place, time = draw.choice([*DOES]), draw.choice(["", *WHERE]), draw.choice(["", *WHEN])
    clause = Clause(
        subject,
        _VERBS[verb],
        (("accusative", phrase),),
        complement=prepositional(Pair("in", "in"), "dative", noun_phrase("the", _NOUNS[place])) if place else NOTHING,
        time=_TIMES[time] if time else NOTHING,
    )
    chinese = [WHEN.get(time, ""), chinese_subject, WHERE.get(place, ""), DOES[verb], chinese_object, "\u3002"]
    return (*sentence(statement(clause)), "".join(chinese))


def _phrase(draw: random.Random, nouns: list[str], number: str, adjective: str) -> tuple[NounPhrase, str]:
    determiner, noun = draw.choice([*WHICH]), draw.choice(nouns)
    phrase = noun_phrase(
        "" if number else determiner,
        _NOUNS[noun],
        plural=bool(number),
        number=next((pair for pair in NUMBERS if pair.english == number), NOTHING),
        adjectives=[_ADJECTIVES[adjective]] if adjective else [],
    )
    chinese, classifier = CHINESE_NOUNS[noun]
    return phrase, (MANY[number] if number else WHICH[determiner]) + classifier + KINDS.get(adjective, "") + chinese


def write(folder: Path, **sizes: int) -> None:
    """NAME.en, NAME.de and NAME.zh, of so many sentences; none of them is in two of these."""
    draw = random.Random(3)
    seen: set[tuple[str, ...]] = set()
    for name, size in sizes.items():
        sentences: list[tuple[str, ...]] = []
        while len(sentences) < size:
            if (one := made(draw)) not in seen:
                seen.add(one)
                sentences.append(one)
        for language, lines in zip(("en", "de", "zh"), zip(*sentences, strict=True), strict=True):
            (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
