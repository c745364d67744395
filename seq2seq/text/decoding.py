"""What the `decode` of every tokenizer has in common."""

from collections.abc import Iterable

from seq2seq.text.vocab import Vocab

UNKNOWN = "\u2047"  # what unk decodes to: a double question mark
_SILENT = frozenset((Vocab.pad, Vocab.bos, Vocab.eos))
_LINE_BREAKS = str.maketrans("\n\r", "  ")


def audible(ids: Iterable[int]) -> list[int]:
    """The ids without pad, bos and eos."""
    return [token for token in ids if token not in _SILENT]


def one_line(text: str) -> str:
    """Line breaks become spaces: a model can spell one, and one line in has to be one line out."""
    return text.translate(_LINE_BREAKS)
