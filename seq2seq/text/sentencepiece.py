"""Subwords by the SentencePiece library."""

import hashlib
import io
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le

from seq2seq.errors import ConfigError, DataError, Problem
from seq2seq.registry import PositiveInt
from seq2seq.text.decoding import UNKNOWN, audible, one_line
from seq2seq.text.sampling import BpeSampler, Sampler, UnigramSampler
from seq2seq.text.storage import damaged, read_bytes, read_json, write_json
from seq2seq.text.tokenizer import Tokenizer, tokenizers
from seq2seq.text.vocab import Vocab

_MODEL_FILE = "tokenizer.model"
_ABOUT_FILE = "tokenizer.json"
_MAX_PIECE_LENGTH = 1000  # characters; the time that unigram needs grows with the square of a line's length
_NUM_THREADS = 16  # fixed, not the machine's: the sums of the unigram training, and so the pieces, depend on it
_NUM_BYTES = 256
_COVERAGE = 0.9995  # of a text with many characters, as is usual for Chinese and Japanese


@tokenizers.register("sentencepiece")
class SentencePieceTokenizer(Tokenizer):
    """Subwords learned from the training lines (Kudo and Richardson 2018, https://aclanthology.org/D18-2012).

    Spaces at the ends are dropped and several in a row become one; U+2581, which marks spaces inside the library, is
    read as a space. With `byte_fallback` and the normalization `identity` nothing else is lost: tabs, control
    characters, combining marks and emoji come back as they were. Half a surrogate pair, which UTF-8 cannot hold,
    becomes a question mark.

    A small corpus gives fewer pieces than `vocab_size`.

    Where a piece for every character (`character_coverage` 1) would take over half of what `vocab_size` leaves beside
    special tokens and bytes, as in Chinese, the most frequent ones get one: those that 0.9995 of the text consists of,
    and no more than fit into that half. The others are spelled by `byte_fallback`; without it all get a piece.

    With `sampling` training sees a text cut in many ways: subword regularization of unigram (Kudo 2018,
    https://aclanthology.org/P18-1007), BPE-dropout (Provilkov et al. 2020, https://aclanthology.org/2020.acl-main.170).

    Options:
        shared: one vocabulary for source and target, trained on both
        model_type: how pieces are learned, unigram or bpe
        vocab_size: number of pieces, with the 4 special tokens and the 256 bytes of byte_fallback
        character_coverage: part of the text whose characters get pieces; null = 1, less if 1 fills half of vocab_size
        byte_fallback: spell characters that have no piece with bytes; otherwise they are unk
        normalization: identity keeps text as it is; nfc unifies accents; nfkc and nmt_nfkc unify more
        max_training_lines: train on an evenly drawn sample of so many lines at most; 500,000 need about 1 GB
        sampling: null = off; unigram: 0.1 to 0.5, the smaller the more varied; bpe: share of merges left out, as 0.1
    """

    of_use = ("sampling",)

    def __init__(
        self,
        *,
        shared: bool = True,
        model_type: Literal["unigram", "bpe"] = "unigram",
        vocab_size: PositiveInt = 8000,
        character_coverage: Annotated[float, Ge(0.98), Le(1)] | None = None,
        byte_fallback: bool = True,
        normalization: Literal["identity", "nfc", "nfkc", "nmt_nfkc"] = "identity",
        max_training_lines: PositiveInt = 500_000,
        sampling: Annotated[float, Gt(0), Le(1)] | None = None,
    ) -> None:
        fixed = len(Vocab.special) + (_NUM_BYTES if byte_fallback else 0)
        if vocab_size <= fixed:
            reason = "special tokens and the bytes of byte_fallback" if byte_fallback else "special tokens"
            raise ValueError(f"vocab_size must be more than {fixed}, the {reason}, not {vocab_size}")
        self.shared = shared
        self.model_type = model_type
        self.vocab_size = vocab_size
        self.character_coverage = character_coverage
        self.byte_fallback = byte_fallback
        self.normalization = normalization
        self.max_training_lines = max_training_lines
        self.alpha = sampling
        self.sampling = sampling is not None
        self.symbols: tuple[str, ...] = ()
        self._sampler: Sampler | None = None

    def train(self, lines: Iterable[str], symbols: Sequence[str] = ()) -> None:
        """Raises ConfigError where vocab_size is too small for the characters of the lines."""
        from sentencepiece import SentencePieceTrainer

        self.symbols = tuple(symbols)
        drawn = sample(filter(str.strip, lines), self.max_training_lines)
        texts: Iterable[str] = map(self._normalized, drawn)
        if self.character_coverage is None and self.byte_fallback:
            room = self.vocab_size - len(Vocab.special) - _NUM_BYTES - len(symbols)
            texts = _without_rare(list(texts), room // 2)
        model = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=_training_pieces(texts),
                model_writer=model,
                model_type=self.model_type,
                vocab_size=self.vocab_size,
                user_defined_symbols=list(symbols),
                hard_vocab_limit=False,
                character_coverage=self.character_coverage or 1.0,
                byte_fallback=self.byte_fallback,
                normalization_rule_name="identity" if self.normalization == "nfc" else self.normalization,
                num_threads=_NUM_THREADS,
                pad_id=Vocab.pad,
                unk_id=Vocab.unk,
                bos_id=Vocab.bos,
                eos_id=Vocab.eos,
                pad_piece=Vocab.special[Vocab.pad],
                unk_piece=Vocab.special[Vocab.unk],
                bos_piece=Vocab.special[Vocab.bos],
                eos_piece=Vocab.special[Vocab.eos],
                unk_surface=UNKNOWN,
                minloglevel=4,  # silent; faults come as exceptions
            )
        except (RuntimeError, OSError) as error:
            raise self._explain(str(error)) from error
        self._use(model.getvalue())

    def _explain(self, message: str) -> ConfigError | DataError:
        """A fault of the library in the user's terms."""
        if small := re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", message):
            needed = "the special tokens, bytes and characters of the training lines are"
            advice = f"{self.vocab_size} is too small: {needed} {small[1]}; raise it, or lower character_coverage"
            return ConfigError(Problem("vocab_size", advice))
        if "sentences_.empty" in message or "all_chars_count" in message:
            return DataError("the training lines hold no text")
        return DataError(f"sentencepiece cannot learn from the training lines: {message.strip()}")

    def _use(self, model: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._processor: Any = SentencePieceProcessor(model_proto=model)
        self.vocab = Vocab(tuple(map(self._processor.id_to_piece, range(len(self._processor)))))
        self._make_sampler()

    @property
    def processor(self) -> Any:
        """The library's own object."""
        return self._processor

    def _make_sampler(self) -> None:
        kind = UnigramSampler if self.model_type == "unigram" else BpeSampler
        self._sampler = None if self.alpha is None else kind(self._processor, self.symbols, self.alpha)

    def use_as(self, other: Self) -> None:
        self.alpha, self.sampling = other.alpha, other.sampling
        self._make_sampler()

    def _normalized(self, text: str) -> str:
        """By the form that the library lacks."""
        return unicodedata.normalize("NFC", text) if self.normalization == "nfc" else text

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._processor.encode(_utf8(self._normalized(text)))
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._processor.encode([_utf8(self._normalized(text)) for text in texts])
        return ids

    def sample_batch(self, texts: Sequence[str], seed: int) -> list[list[int]]:
        if self._sampler is None:
            return self.encode_batch(texts)
        generator = random.Random(seed)
        return [self._sampler(_utf8(self._normalized(text)).decode(), generator) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return one_line(self._processor.decode(audible(ids)))

    def save(self, folder: Path) -> None:
        model = self._processor.serialized_model_proto()
        (folder / _MODEL_FILE).write_bytes(model)
        about = {"shared": self.shared, "sha256": hashlib.sha256(model).hexdigest()}
        if self.normalization == "nfc":  # the others are in the model
            about["normalization"] = self.normalization
        if self.model_type != "unigram":
            about["model_type"] = self.model_type
        if self.sampling:
            about["sampling"] = self.alpha
        if self.symbols:
            about["symbols"] = list(self.symbols)
        write_json(folder / _ABOUT_FILE, about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        usual: dict[str, Any] = {"normalization": "identity", "model_type": "unigram", "sampling": None, "symbols": []}
        about = {**usual, **read_json(folder / _ABOUT_FILE)}
        if not _is_whole(about):
            raise damaged(folder / _ABOUT_FILE)
        model = read_bytes(folder / _MODEL_FILE)
        # The hash, because a file that was cut between two pieces is still a model for the library.
        if hashlib.sha256(model).hexdigest() != about["sha256"]:
            raise damaged(folder / _MODEL_FILE)
        options = {name: about[name] for name in ("shared", "normalization", "model_type", "sampling")}
        tokenizer = cls(**options)
        tokenizer.symbols = tuple(about["symbols"])
        try:
            tokenizer._use(model)
        except (RuntimeError, ValueError, OSError) as error:
            raise damaged(folder / _MODEL_FILE) from error
        return tokenizer


def _is_whole(about: dict[str, Any]) -> bool:
    symbols, sampling = about["symbols"], about["sampling"]
    return (
        isinstance(about.get("shared"), bool)
        and "sha256" in about
        and about["normalization"] in ("identity", "nfc")
        and about["model_type"] in ("unigram", "bpe")
        and (sampling is None or (isinstance(sampling, int | float) and 0 < sampling <= 1))
        and isinstance(symbols, list)
        and all(isinstance(symbol, str) for symbol in symbols)
    )


def sample(lines: Iterable[str], size: int) -> list[str]:
    """Each line with the same chance, the same ones at every call; all, in order, where there are no more."""
    generator = random.Random(0)
    kept: list[str] = []
    for number, line in enumerate(lines):
        if number < size:
            kept.append(line)
        elif (place := generator.randrange(number + 1)) < size:
            kept[place] = line
    return kept


def _without_rare(lines: list[str], most: int) -> Iterable[str]:
    """With NUL, which the library leaves out of every piece, for each rare character.

    most: characters that are no rare ones, spaces aside. Where there are no more, the lines stay as they are.
    """
    counts = Counter[str]()
    for line in lines:
        counts.update(line)
    del counts[" "]
    if len(counts) <= most:
        return lines
    wanted = _COVERAGE * counts.total()
    rare: dict[int, str] = {}
    covered = 0
    for number, (character, count) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0]))):
        if number >= most or covered >= wanted:
            rare[ord(character)] = "\0"
        covered += count
    return (line.translate(rare) for line in lines)


def _training_pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines as the library takes them: long ones cut, at a space where there is one, since it would skip them."""
    for line in lines:
        # U+2585 is the library's private mark: it skips, without a word, any line that holds one.
        line = line.replace("\u2585", " ")
        start = 0
        while len(line) - start > _MAX_PIECE_LENGTH:
            space = line.rfind(" ", start + 1, start + _MAX_PIECE_LENGTH)
            end = space if space > 0 else start + _MAX_PIECE_LENGTH
            yield _utf8(line[start:end])
            start = end
        yield _utf8(line[start:])


def _utf8(text: str) -> bytes:
    # U+2581 stands for a space inside the library; as a space, several in a row become one like any others.
    return text.replace("\u2581", " ").encode("utf-8", errors="replace")
