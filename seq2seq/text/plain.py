"""Tokenizers without a model: characters, bytes, words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from seq2seq.errors import ConfigError, DataError, Problem
from seq2seq.registry import PositiveInt
from seq2seq.text.decoding import UNKNOWN, audible, one_line
from seq2seq.text.storage import VOCAB_FILE, damaged, load_vocab, save_vocab
from seq2seq.text.tokenizer import Tokenizer, tokenizers
from seq2seq.text.vocab import Vocab

_NO_TEXT = "the training lines hold no text"
_NUM_SPECIAL = len(Vocab.special)


def _index(vocab: Vocab) -> dict[str, int]:
    """Without the special tokens: `<s>` in a text is three characters, or a word like any other."""
    return {token: number for number, token in enumerate(vocab.tokens) if number >= _NUM_SPECIAL}


def _surfaces(vocab: Vocab, ids: Sequence[int]) -> list[str]:
    return [UNKNOWN if token == Vocab.unk else vocab.tokens[token] for token in audible(ids)]


@tokenizers.register("characters")
class CharacterTokenizer(Tokenizer):
    """One token for each character (code point) of the training lines; any other character is unk.

    Decoding gives back exactly what was encoded, spaces included, where all characters are known.

    Options:
        shared: one vocabulary for source and target, trained on both
    """

    def __init__(self, *, shared: bool = True) -> None:
        self.shared = shared

    def train(self, lines: Iterable[str], symbols: Sequence[str] = ()) -> None:
        characters: set[str] = set()
        for line in lines:
            characters.update(line)
        if not any(character.strip() for character in characters):
            raise DataError(_NO_TEXT)
        self._use(Vocab((*Vocab.special, *sorted(characters))))

    def _use(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self._ids = _index(vocab)

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(character, Vocab.unk) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return one_line("".join(_surfaces(self.vocab, ids)))

    def save(self, folder: Path) -> None:
        save_vocab(folder, "characters", self.vocab, shared=self.shared)

    @classmethod
    def load(cls, folder: Path) -> Self:
        vocab, shared = load_vocab(folder, "characters")
        tokenizer = cls(shared=shared)
        tokenizer._use(vocab)
        return tokenizer


@tokenizers.register("bytes")
class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8. Any text can be encoded, and decoding gives it back exactly.

    Bytes that are no UTF-8, which a model can generate, decode to U+FFFD. Half a surrogate pair, which UTF-8 cannot
    hold, becomes a question mark.

    Options:
        shared: one vocabulary for source and target; the ids are the same in any case
    """

    def __init__(self, *, shared: bool = True) -> None:
        self.shared = shared
        self.vocab = Vocab((*Vocab.special, *(f"<0x{byte:02X}>" for byte in range(256))))

    def train(self, lines: Iterable[str], symbols: Sequence[str] = ()) -> None:
        if not any(line.strip() for line in lines):
            raise DataError(_NO_TEXT)

    def encode(self, text: str) -> list[int]:
        return [byte + _NUM_SPECIAL for byte in text.encode("utf-8", errors="replace")]

    def decode(self, ids: Sequence[int]) -> str:
        unknown = UNKNOWN.encode()
        parts = (unknown if token == Vocab.unk else bytes((token - _NUM_SPECIAL,)) for token in audible(ids))
        return one_line(b"".join(parts).decode("utf-8", errors="replace"))

    def save(self, folder: Path) -> None:
        save_vocab(folder, "bytes", self.vocab, shared=self.shared)

    @classmethod
    def load(cls, folder: Path) -> Self:
        vocab, shared = load_vocab(folder, "bytes")
        tokenizer = cls(shared=shared)
        if vocab != tokenizer.vocab:
            raise damaged(folder / VOCAB_FILE)
        return tokenizer


@tokenizers.register("words")
class WordTokenizer(Tokenizer):
    """What stands between white space; the most frequent words first, in the order of the alphabet where equal.

    Decoding puts one space between two words. A word that is not in the vocabulary is unk.

    Options:
        shared: one vocabulary for source and target, trained on both
        max_size: keep at most so many words, the most frequent ones, beside tags and the like; null keeps all
        min_count: leave out words that occur less often than this
    """

    def __init__(self, *, shared: bool = True, max_size: PositiveInt | None = None, min_count: PositiveInt = 1) -> None:
        self.shared = shared
        self.max_size = max_size
        self.min_count = min_count

    def train(self, lines: Iterable[str], symbols: Sequence[str] = ()) -> None:
        """Raises ConfigError where no word occurs min_count times."""
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(line.split())
        if not counts:
            raise DataError(_NO_TEXT)
        words = [word for word, count in counts.items() if count >= self.min_count]
        if not words:
            most = max(counts.values())
            raise ConfigError(
                Problem("min_count", f"{self.min_count} is too high: no word occurs more than {most} times")
            )
        words = sorted(set(words) - set(symbols), key=lambda word: (-counts[word], word))
        self._use(Vocab((*Vocab.special, *symbols, *words[: self.max_size])))

    def _use(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self._ids = _index(vocab)

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(word, Vocab.unk) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        return one_line(" ".join(_surfaces(self.vocab, ids)))

    def save(self, folder: Path) -> None:
        save_vocab(folder, "words", self.vocab, shared=self.shared)

    @classmethod
    def load(cls, folder: Path) -> Self:
        vocab, shared = load_vocab(folder, "words")
        tokenizer = cls(shared=shared)
        tokenizer._use(vocab)
        return tokenizer
