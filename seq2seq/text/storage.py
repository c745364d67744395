"""Tokenizers as JSON files."""

import json
import os
from pathlib import Path
from typing import Any

from seq2seq.errors import CheckpointError
from seq2seq.text.vocab import Vocab

VOCAB_FILE = "vocab.json"


def read_bytes(file: Path) -> bytes:
    """Raises CheckpointError, naming the file, where it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{file}: the file is missing") from None
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error


def write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=0) + "\n", encoding="ascii")


def read_json(file: Path) -> dict[str, Any]:
    """Raises CheckpointError, naming the file, where it is missing or no JSON object."""
    try:
        value = json.loads(read_bytes(file))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise damaged(file)
    return value


def damaged(file: Path) -> CheckpointError:
    return CheckpointError(f"{file}: the file is damaged; copy the tokenizer again from where it was trained")


def save_vocab(folder: Path, kind: str, vocab: Vocab, *, shared: bool) -> None:
    """kind: the registered name of the tokenizer."""
    write_json(folder / VOCAB_FILE, {"tokenizer": kind, "shared": shared, "tokens": vocab.tokens})


def load_vocab(folder: Path, kind: str) -> tuple[Vocab, bool]:
    """The vocabulary and whether it is shared. Raises CheckpointError, naming the file."""
    file = folder / VOCAB_FILE
    stored = read_json(file)
    if stored.get("tokenizer") != kind:
        raise CheckpointError(f"{file}: holds the tokenizer {stored.get('tokenizer')!r}, not {kind!r}")
    tokens, shared = stored.get("tokens"), stored.get("shared")
    if not isinstance(shared, bool) or not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
        raise damaged(file)
    try:
        return Vocab(tuple(tokens)), shared
    except ValueError:
        raise damaged(file) from None


def flush(path: Path) -> None:
    """Puts a file, or a folder's list of names, safely on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
