"""The tokenizers of a run: one for the source and one for the target, or one for both."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from seq2seq.errors import CheckpointError, ConfigError, DataError
from seq2seq.registry import Factory
from seq2seq.text.storage import flush
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

Lines = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class TokenizerPair:
    """Of one vocabulary where the tokenizer is shared; source is None for text alone."""

    source: Tokenizer | None
    target: Tokenizer

    @property
    def vocabs(self) -> tuple[Vocab, Vocab]:
        """Of the source and the target."""
        return (self.source or self.target).vocab, self.target.vocab

    def save(self, folder: Path) -> None:
        """Writes folder/shared, or folder/source and folder/target: all of it or, if the process is killed, nothing.

        The folder must not exist yet, or be empty; otherwise OSError. What a killed process left is cleared away.
        """
        parts = {"target": self.target}
        if self.source is not None and self.source.shared:
            parts = {"shared": self.source}
        elif self.source is not None:
            parts["source"] = self.source
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for name, tokenizer in parts.items():
            (partial / name).mkdir(parents=True)
            tokenizer.save(partial / name)
        for path in (*partial.rglob("*"), partial):
            flush(path)
        partial.replace(folder)
        flush(folder.parent)


def train_pair(
    factory: Factory[Tokenizer], source_lines: Lines | None, target_lines: Lines, symbols: Sequence[str] = ()
) -> TokenizerPair:
    """A shared tokenizer is trained on both sides, the source first; separate ones on their own side each.

    source_lines: None for text alone.  symbols: as Tokenizer.train takes them.

    Raises DataError, naming the side, where there is no text; ConfigError where the options do not fit the text.
    """
    target = factory()
    if source_lines is None:
        _train(target, target_lines(), "target", factory.path, symbols)
        return TokenizerPair(None, target)
    if target.shared:
        _train(target, chain(source_lines(), target_lines()), "shared", factory.path, symbols)
        return TokenizerPair(target, target.as_target())
    source = factory()
    _train(source, source_lines(), "source", factory.path, symbols)
    _train(target, target_lines(), "target", factory.path, symbols)
    return TokenizerPair(source, target)


def load_pair(cls: type[Tokenizer], folder: Path, has_source: bool = True) -> TokenizerPair:
    """Raises CheckpointError, naming the file or folder, where anything is missing or damaged.

    has_source: false for text alone.
    """
    if (folder / "shared").is_dir():
        shared = cls.load(folder / "shared")
        return TokenizerPair(shared, shared.as_target())
    parts = ("source", "target") if has_source else ("target",)
    for part in (folder, *(folder / name for name in parts)):
        if not part.is_dir():
            raise CheckpointError(f"{part}: the tokenizer's folder is missing")
    return TokenizerPair(cls.load(folder / "source") if has_source else None, cls.load(folder / "target"))


def _train(tokenizer: Tokenizer, lines: Iterable[str], side: str, path: str, symbols: Sequence[str]) -> None:
    unreadable: list[DataError] = []  # what went wrong with the lines, and not in the tokenizer

    def watched() -> Iterator[str]:
        try:
            yield from lines
        except DataError as error:
            unreadable.append(error)
            raise

    try:
        tokenizer.train(watched(), symbols)
    except DataError as error:
        if unreadable:
            raise unreadable[0] from error
        raise DataError(f"{side} tokenizer: {error}") from error
    except ConfigError as error:
        # The tokenizer knows its option's name; the factory knows where in the config its options are.
        raise ConfigError(*(problem.inside(path) for problem in error.problems)) from error
