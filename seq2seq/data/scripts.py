"""Scripts: which ones a language is written in, and how much their characters say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

# For sets of characters in a pattern. Han has its extensions and compatibility forms.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = "\uac00-\ud7a3"
UNSPACED = f"{HAN}{KANA}\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # and Thai, Lao, Tibetan, Burmese, Khmer

_HAN = re.compile(f"[{HAN}]+")
_SYLLABLES = re.compile(f"[{KANA}{HANGUL}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]+")
# Two characters of Chinese or Japanese, or one after their punctuation.
_WITHOUT_SPACE = re.compile(f"[{HAN}{KANA}][{HAN}{KANA}]|[\u3000-\u303f\uff01-\uff0f\uff1a-\uff1f].")

SCRIPTS = {  # names as in Unicode, and the codes (ISO 639) of languages that are written in them
    "LATIN": "af ca cs cy da de en eo es et eu fi fr ga gl hr hu id is it lt lv ms mt nb nl nn no pl pt ro sk sl so sq"
    " sv sw tl tr vi",
    "CYRILLIC": "be bg kk ky mk mn ru tg uk",
    "ARABIC": "ar fa ps ur",
    "HEBREW": "he yi",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "DEVANAGARI": "hi mr ne",
    "BENGALI": "bn as",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "ETHIOPIC": "am ti",
    "HANGUL CJK": "ko",
    "CJK": "zh zho chi cmn yue",
    "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA": "ja",
}


def extent(text: str) -> int:
    """The length of about the same text in letters: a Han character says as much as 3 of them, a syllable as 2."""
    if text.isascii():
        return len(text)
    return len(text) + 2 * _length_of(_HAN, text) + _length_of(_SYLLABLES, text)


def has_spaces(text: str) -> bool:
    """Whether most of it is in scripts with spaces between words."""
    return text.isascii() or 2 * _length_of(_UNSPACED, text) < len(text)


def joined(parts: Sequence[str]) -> str:
    """A text of its parts, which have a space between, but in Chinese and Japanese."""
    text = parts[0]
    for part in parts[1:]:
        text += part if _WITHOUT_SPACE.fullmatch(text[-1:] + part[:1]) else f" {part}"
    return text


def _length_of(runs: re.Pattern[str], text: str) -> int:
    return sum(map(len, runs.findall(text)))


@cache
def script_of(character: str) -> str:
    """By the first word of its name in Unicode."""
    return unicodedata.name(character, "").partition(" ")[0].partition("-")[0]


def scripts_of(language: str) -> frozenset[str]:
    found = (scripts for scripts, codes in SCRIPTS.items() if code_of(language) in codes.split())
    return frozenset(next(found, "").split())


def code_of(language: str) -> str:
    """Without the country or the script."""
    return re.split(r"[-_]", language.lower())[0]
