"""A model small enough to try every output: its logits are random, and fixed by the source and the prefix."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import DecoderState, Model
from seq2seq.text.vocab import Vocab


class ToyState(DecoderState):
    """Sources and, for each, the same number of prefixes; strict about its contract."""

    def __init__(self, sources: list[tuple[int, ...]], prefixes: list[tuple[int, ...]], max_length: int) -> None:
        self.sources = sources
        self.prefixes = prefixes
        self.max_length = max_length
        self.used_up = False

    def select(self, sources: Tensor) -> "ToyState":
        width = len(self.prefixes) // len(self.sources)
        kept = [self.prefixes[row * width + n] for row in sources.tolist() for n in range(width)]
        return ToyState([self.sources[row] for row in sources.tolist()], kept, self.max_length)

    def reorder(self, hypotheses: Tensor) -> "ToyState":
        rows = hypotheses.tolist()
        assert len(rows) % len(self.sources) == 0
        before, after = len(self.prefixes) // len(self.sources), len(rows) // len(self.sources)
        assert all(old // before == new // after for new, old in enumerate(rows)), "a row moved to another source"
        return ToyState(self.sources, [self.prefixes[row] for row in rows], self.max_length)


class ToyModel(Model):
    """`change` edits a row of logits (V,), given the prefix; rows counts what each step was asked for."""

    def __init__(self, seed: int, vocab_size: int, change: Callable[[Tensor, tuple[int, ...]], None] | None) -> None:
        super().__init__()
        self.seed = seed
        self.vocab_size = vocab_size
        self.change = change
        self.layer = nn.Linear(1, 1)
        self.rows: list[int] = []
        self.started: list[list[tuple[int, ...]]] = []
        self.was_training: list[bool] = []

    @property
    def head(self) -> nn.Linear:
        raise NotImplementedError

    def features(self, batch: object) -> Tensor:
        raise NotImplementedError

    def logits(self, source: tuple[int, ...], prefix: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(abs(hash((self.seed, source, prefix))) % 2**31)
        row = 2 * torch.randn(self.vocab_size, generator=generator)
        if self.change is not None:
            self.change(row, prefix)
        return row

    def log_probability(self, source: Sequence[int], tokens: Sequence[int]) -> float:
        """Of these tokens and eos, one prefix at a time, without search."""
        total, prefix = 0.0, (Vocab.bos,)
        for token in [*tokens, Vocab.eos]:
            total += torch.log_softmax(self.logits(tuple(source), prefix).double(), -1)[token].item()
            prefix = (*prefix, token)
        return total

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> ToyState:
        rows = [tuple(line[real].tolist()) for line, real in zip(source, mask, strict=True)]
        self.started.append(rows)
        self.was_training.append(self.training)
        return ToyState(rows, [()] * len(rows), max_length)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, ToyState]:
        assert isinstance(state, ToyState)
        assert not state.used_up
        state.used_up = True
        assert tokens.shape == (len(state.prefixes),)
        prefixes = [(*prefix, token) for prefix, token in zip(state.prefixes, tokens.tolist(), strict=True)]
        assert all(prefix[0] == Vocab.bos and len(prefix) <= state.max_length for prefix in prefixes)
        self.rows.append(len(prefixes))
        width = len(prefixes) // len(state.sources)
        logits = [self.logits(state.sources[n // width], prefix) for n, prefix in enumerate(prefixes)]
        return torch.stack(logits), ToyState(state.sources, prefixes, state.max_length)


@pytest.fixture
def make_model():
    def make(seed: int = 1, vocab_size: int = 7, change=None) -> ToyModel:
        return ToyModel(seed, vocab_size, change)

    return make
