"""Made-up English-Chinese sentences: other word order, classifiers, no spaces."""

import random
from pathlib import Path

# English, Chinese, the classifier.
NOUNS = (
    ("dog", "\u72d7", "\u53ea"), ("cat", "\u732b", "\u53ea"), ("bird", "\u9e1f", "\u53ea"),
    ("horse", "\u9a6c", "\u5339"), ("book", "\u4e66", "\u672c"), ("magazine", "\u6742\u5fd7", "\u672c"),
    ("letter", "\u4fe1", "\u5c01"), ("car", "\u8f66", "\u8f86"), ("bicycle", "\u81ea\u884c\u8f66", "\u8f86"),
    ("table", "\u684c\u5b50", "\u5f20"), ("picture", "\u753b", "\u5f20"), ("chair", "\u6905\u5b50", "\u628a"),
    ("umbrella", "\u96e8\u4f1e", "\u628a"), ("house", "\u623f\u5b50", "\u5ea7"), ("tree", "\u6811", "\u68f5"),
    ("flower", "\u82b1", "\u6735"), ("shirt", "\u886c\u886b", "\u4ef6"), ("coat", "\u5927\u8863", "\u4ef6"),
    ("apple", "\u82f9\u679c", "\u4e2a"), ("stamp", "\u90ae\u7968", "\u5f20"),
)  # fmt: skip
PEOPLE = (
    ("teacher", "\u8001\u5e08", "\u4f4d"), ("doctor", "\u533b\u751f", "\u4f4d"), ("friend", "\u670b\u53cb", "\u4f4d"),
    ("student", "\u5b66\u751f", "\u4e2a"), ("child", "\u5b69\u5b50", "\u4e2a"), ("singer", "\u6b4c\u624b", "\u540d"),
)  # fmt: skip
VERBS = (
    ("sees", "\u770b\u89c1"), ("buys", "\u4e70"), ("sells", "\u5356"), ("likes", "\u559c\u6b22"), ("wants", "\u8981"),
    ("finds", "\u627e\u5230"), ("washes", "\u6d17"), ("needs", "\u9700\u8981"), ("loses", "\u4e22"),
    ("brings", "\u5e26\u6765"), ("forgets", "\u5fd8\u8bb0"),
)  # fmt: skip
ADJECTIVES = (
    ("big", "\u5927"), ("small", "\u5c0f"), ("old", "\u65e7"), ("new", "\u65b0"), ("red", "\u7ea2\u8272\u7684"),
    ("white", "\u767d\u8272\u7684"), ("black", "\u9ed1\u8272\u7684"), ("beautiful", "\u6f02\u4eae\u7684"),
    ("cheap", "\u4fbf\u5b9c\u7684"),
)  # fmt: skip
NUMBERS = (
    ("two", "\u4e24"), ("three", "\u4e09"), ("four", "\u56db"), ("five", "\u4e94"), ("six", "\u516d"),
    ("seven", "\u4e03"), ("eight", "\u516b"), ("nine", "\u4e5d"), ("ten", "\u5341"),
)  # fmt: skip
SINGULAR = (("one", "\u4e00"), ("this", "\u8fd9"), ("that", "\u90a3"), ("every", "\u6bcf"))
PLACES = (
    ("at school", "\u5728\u5b66\u6821"), ("at home", "\u5728\u5bb6"), ("in the park", "\u5728\u516c\u56ed"),
    ("in the city", "\u5728\u57ce\u91cc"),
)  # fmt: skip
TIMES = (("today", "\u4eca\u5929"), ("tomorrow", "\u660e\u5929"), ("every day", "\u6bcf\u5929"))
FULL_STOP, QUESTION = "\u3002", "\u5417\uff1f"


def sentence(draw: random.Random) -> tuple[str, str]:
    """As `This child buys two red books at school today.`: on the day this child at school buys two of red books."""
    (person, ren, ge), (noun, thing, classifier) = draw.choice(PEOPLE), draw.choice(NOUNS)
    (which, zhe), (verb, act) = draw.choice(SINGULAR), draw.choice(VERBS)
    (number, many), (adjective, kind) = draw.choice((*SINGULAR, *NUMBERS)), draw.choice((("", ""), *ADJECTIVES))
    (place, where), (time, when) = (draw.choice((("", ""), *choices)) for choices in (PLACES, TIMES))
    plural = noun if (number, many) in SINGULAR else f"{noun}s"
    english = [which, person, verb, number, adjective, plural, place, time]
    chinese = [when, zhe, ge, ren, where, act, many, classifier, kind, thing]
    text = " ".join(word for word in english if word)
    if draw.random() < 0.2:
        return f"Is it true that {text}?", "".join(chinese) + QUESTION
    return f"{text[0].upper()}{text[1:]}.", "".join(chinese) + FULL_STOP


def write(**sizes: int) -> None:
    """NAME.en and NAME.zh in the working directory, of so many pairs; no pair is in two of them."""
    draw = random.Random(3)
    seen: set[tuple[str, str]] = set()
    for name, size in sizes.items():
        pairs: list[tuple[str, str]] = []
        while len(pairs) < size:
            pair = sentence(draw)
            if pair not in seen:
                seen.add(pair)
                pairs.append(pair)
        for language, lines in zip(("en", "zh"), zip(*pairs, strict=True), strict=True):
            Path(f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
