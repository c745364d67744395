"""Words and sentences of texts in any script, for counting them."""

import re
import unicodedata
from functools import cache

from seq2seq.data.scripts import UNSPACED

_ONE_BY_ONE = re.compile(f"([{UNSPACED}])")
_ENDS = re.compile("(?<=[.!?])\\s+(?=\\S)|(?<=[\u3002\uff01\uff1f])\\s*(?=\\S)")
_RUNS = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")


def words(text: str) -> list[str]:
    """Runs of letters, digits and the marks on them, in lower case; of scripts without spaces each character."""
    text = unicodedata.normalize("NFC", text).lower()
    if not text.isascii():
        text = _ONE_BY_ONE.sub(r" \1 ", text)
    return "".join(c if _is_of_a_word(c) else " " for c in text).split()


def count_words(text: str) -> int:
    """What whitespace divides, punctuation with the word before; of scripts without spaces each character."""
    return len(text.split()) if text.isascii() else len(_RUNS.findall(text))


def sentences(text: str) -> list[str]:
    """By their punctuation alone: after an abbreviation one may end too early."""
    return [sentence for sentence in _ENDS.split(text) if sentence.strip()]


@cache
def _is_of_a_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M"
