"""The tokenizers of models that others have trained, as the transformers library reads them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from seq2seq.errors import ConfigError, Problem
from seq2seq.text.decoding import UNKNOWN, audible, one_line
from seq2seq.text.pretrained import read_from, writing
from seq2seq.text.storage import damaged, read_json, write_json
from seq2seq.text.tokenizer import Tokenizer, tokenizers
from seq2seq.text.vocab import Vocab

TABLE = "table.json"
NO_ROW = -1
FILES = {  # one of which every tokenizer has; without any the library makes an empty one
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("source.spm", "vocab.json", "vocab.txt", "spm.model", "tekken.json"),
}


@dataclass(frozen=True)
class NumberedVocab(Vocab):
    """A vocabulary whose tokens have other ids in the model that they come from.

    theirs: for each token its row in that model's tables; NO_ROW for a special token that the model does not have.
    num_rows: of those tables. Tokens of rows from there on were added for this run.
    """

    theirs: tuple[int, ...] = ()
    num_rows: int = 0


def numbered(names: Sequence[str | None], special: Sequence[int | None], num_rows: int) -> NumberedVocab:
    """Our order: pad, unk, bos and eos, then all others in theirs.

    names: of the tokens by their ids; None for an id without one.  special: the ids of our four special tokens there;
    one that is named twice, as the end that is also the beginning, is eos.
    """
    first = [NO_ROW if row is None or row in special[place + 1 :] else row for place, row in enumerate(special)]
    chosen = set(first)
    rest = [row for row in range(max(num_rows, len(names))) if row not in chosen]
    told = [names[row] if row < len(names) else None for row in rest]
    tokens = (*Vocab.special, *(f"<row {row}>" if name is None else name for row, name in zip(rest, told, strict=True)))
    return NumberedVocab(tokens, (*first, *rest), num_rows)


@tokenizers.register("huggingface")
class HuggingFaceTokenizer(Tokenizer):
    """The tokenizer that a pretrained model was trained with. It is stored in the run.

    Options:
        path: a hub id, or a folder with the tokenizer's files
    """

    learns = False
    shared = True

    def __init__(self, *, path: str) -> None:
        self.path = path
        self._is_target = False

    def train(self, lines: Iterable[str], symbols: Sequence[str] = ()) -> None:
        """Reads it; the lines are left alone. Raises ConfigError where it cannot be read."""
        folder = Path(self.path).expanduser()
        if folder.is_dir() and not any(file.name in FILES for file in folder.iterdir()):
            raise ConfigError(Problem("path", f"{self.path}: holds no tokenizer, as tokenizer.json is one"))
        library = read_from("tokenizer", self.path)
        known = library.get_vocab()
        library.add_tokens([symbol for symbol in symbols if symbol not in known])
        self._use(library, _num_rows(self.path, len(library)), symbols)

    def _use(self, library: Any, num_rows: int, symbols: Sequence[str]) -> None:
        self._library = library
        self._symbols = list(symbols)
        # Those that are written in Python leave added tokens alone only together with special ones.
        self._parted = None if library.is_fast or not symbols else re.compile(f"({'|'.join(map(re.escape, symbols))})")
        if getattr(library, "tgt_lang", "") is None:  # asked for in any case, and of no effect on the text alone
            library.tgt_lang = languages(library)[0]
        names: list[str | None] = [None] * (max(library.get_vocab().values()) + 1)
        for token, number in library.get_vocab().items():
            names[number] = token
        special = (library.pad_token_id, library.unk_token_id, *ends(library))
        self.vocab: NumberedVocab = numbered(names, special, num_rows)
        ours = {theirs: number for number, theirs in enumerate(self.vocab.theirs) if theirs != NO_ROW}
        self._ours = [ours.get(number, Vocab.unk) for number in range(len(names))]
        self._named = len(names)
        self._specials = {Vocab.pad, Vocab.bos, Vocab.eos}

    def as_target(self) -> HuggingFaceTokenizer:
        """The same for the other side: some cut sources and targets in other ways."""
        other = copy.copy(self)
        other._is_target = True
        return other

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """What looks like a special token in a text is text; of ids that mean an end nothing is left."""
        if not texts:
            return []
        if self._parted is not None and any(map(self._parted.search, texts)):
            parted = [[part for part in self._parted.split(text) if part.strip()] for text in texts]
            found = iter(self._encoded([part for parts in parted for part in parts if part not in self._symbols]))
            known = {symbol: [self._ours[self._library.convert_tokens_to_ids(symbol)]] for symbol in self._symbols}
            return [[i for part in parts for i in (known[part] if part in known else next(found))] for parts in parted]
        return self._encoded(texts)

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        given = {"text_target" if self._is_target else "text": [_sound(text) for text in texts]}
        found = self._library(
            **given, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
        )
        return [
            [ours for number in ids if (ours := self._ours[number]) not in self._specials] for ids in found["input_ids"]
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Runs of known tokens as the library writes them, the sign for what is unknown between them."""
        theirs = [self.vocab.theirs[token] for token in audible(ids)]
        rows = [row for row in theirs if row == NO_ROW or row < self._named]
        unknown = self.vocab.theirs[Vocab.unk]
        texts: list[str] = []
        run: list[int] = []
        for row in [*rows, None]:
            if row is None or row in (NO_ROW, unknown):
                texts += [self._library.decode(run, skip_special_tokens=True)] if run else []
                texts += [] if row is None else [UNKNOWN]
                run = []
            else:
                run.append(row)
        return one_line(" ".join(texts))

    def save_as_theirs(self, folder: Path) -> None:
        """Without what only this project reads."""
        with writing(folder):
            self._library.save_pretrained(folder)

    def save(self, folder: Path) -> None:
        self.save_as_theirs(folder)
        write_json(folder / TABLE, {"rows": self.vocab.num_rows, "path": self.path, "symbols": self._symbols})

    @classmethod
    def load(cls, folder: Path) -> Self:
        stored = read_json(folder / TABLE)
        num_rows, path = stored.get("rows"), stored.get("path")
        symbols = stored.get("symbols")
        if not isinstance(num_rows, int) or not isinstance(path, str) or not isinstance(symbols, list):
            raise damaged(folder / TABLE)
        tokenizer = cls(path=path)
        try:
            library = read_from("tokenizer", str(folder))
        except ConfigError as error:
            raise damaged(folder / "tokenizer_config.json") from error
        tokenizer._use(library, num_rows, symbols)
        return tokenizer


def ends(library: Any) -> tuple[int | None, int]:
    """The ids of what stands before and after a text: bos and eos, or what is used in their place.

    Raises ConfigError where there is no end.
    """
    first = next((i for i in (library.bos_token_id, library.cls_token_id) if i is not None), None)
    last = next((i for i in (library.eos_token_id, library.sep_token_id) if i is not None), None)
    if last is None:
        raise ConfigError(Problem("", f"the tokenizer of {library.name_or_path} has no token for the end of a text"))
    return first, last


def languages(library: Any) -> list[str]:
    """The codes that a multilingual tokenizer knows."""
    for name in ("lang_code_to_id", "lang_code_to_token"):
        if found := getattr(library, name, None):
            return sorted(found)
    return sorted(str(token) for token in getattr(library, "extra_special_tokens", []))


def _num_rows(path: str, num_tokens: int) -> int:
    """Of the model's tables, which may have more than the tokenizer has tokens."""
    file = Path(path).expanduser() / "config.json"
    if Path(path).expanduser().is_dir() and not file.exists():  # a tokenizer alone
        return num_tokens
    size = read_from("config", path).get_text_config().vocab_size
    return int(size)


def _sound(text: str) -> str:
    """Half a pair of UTF-16 is no character, and the library refuses it."""
    return text.encode("utf-8", "replace").decode("utf-8")
