"""A vocabulary of pyonmttok, which OpenNMT-py and eole use, whose ids are those of the work."""

from __future__ import annotations

from collections.abc import Sequence

import pyonmttok


def vocab_of(size: int, special: Sequence[str]) -> pyonmttok.Vocab:
    """special: the names of pad, unk, bos and eos, in this order."""
    words = [f"t{number}" for number in range(len(special), size)]
    vocab = pyonmttok.build_vocab_from_tokens(words, special_tokens=list(special))
    vocab.default_id = vocab[special[1]]
    assert [vocab[token] for token in special] == [0, 1, 2, 3]
    assert len(vocab) == size
    return vocab
