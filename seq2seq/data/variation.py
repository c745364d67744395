"""What is made anew of examples whenever they are loaded: other subwords of the same text, or noise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from seq2seq.data.noise import Noise
from seq2seq.data.reading import Reading
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.tokenizer import Tokenizer

Ids = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Variation:
    """A function of the ids and a seed, so that a resumed run loads the same.

    Texts are what the tokenizer makes of the ids. noise: makes both sides out of the target; None where there are both.
    reading: how sources are read that are made here.
    """

    tokenizers: TokenizerPair
    noise: Noise | None = None
    reading: Reading = field(default_factory=Reading)

    def __call__(
        self, sources: Sequence[Ids] | None, targets: Sequence[Ids], seed: int
    ) -> tuple[Sequence[Ids] | None, Sequence[Ids]]:
        source, target = self.tokenizers.source, self.tokenizers.target
        if self.noise is not None:
            assert source is not None
            generator = random.Random(seed)
            pairs = [self.noise(text, generator) for text in _texts(target, targets)]
            said = [text for _, text in pairs]
            read, _ = self.reading.sources(source, [text for text, _ in pairs], partial(source.sample_batch, seed=seed))
            return read, target.sample_batch(said, seed + 1)
        if sources is not None and source is not None:
            sources = _sampled(source, sources, seed)
        return sources, _sampled(target, targets, seed + 1)


def _sampled(tokenizer: Tokenizer, rows: Sequence[Ids], seed: int) -> Sequence[Ids]:
    """A row with unk stays as it is, for its text is not known."""
    if not tokenizer.sampling:
        return rows
    sampled = tokenizer.sample_batch(_texts(tokenizer, rows), seed)
    return [ids if tokenizer.vocab.unk in ids else new for ids, new in zip(rows, sampled, strict=True)]


def _texts(tokenizer: Tokenizer, rows: Sequence[Ids]) -> list[str]:
    return [tokenizer.decode(np.asarray(ids).tolist()) for ids in rows]


def make_variation(tokenizers: TokenizerPair, noise: Noise | None, reading: Reading | None = None) -> Variation | None:
    """None where every loading would give the same."""
    sampling = any(side is not None and side.sampling for side in (tokenizers.source, tokenizers.target))
    return Variation(tokenizers, noise, reading or Reading()) if noise is not None or sampling else None
