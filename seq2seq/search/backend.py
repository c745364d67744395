"""What finds the hypotheses for a Translator: a model with a search, here or in another engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from seq2seq.data.batch import pad
from seq2seq.models.base import Model
from seq2seq.search.base import Hypothesis, Search
from seq2seq.text.vocab import Vocab

Rows = Sequence[Sequence[int]]

MOST_AT_A_TIME = 4  # batches: Python itself can be run by one thread only


class Backend(ABC):
    """Batches of rows of ids in, their hypotheses out."""

    @abstractmethod
    def __call__(self, batches: Iterable[Rows]) -> Generator[list[list[Hypothesis]], None, None]:
        """Batches of sources, without eos -> for each batch, in order, the hypotheses of each row, best first.

        May take some batches ahead of what it has given back. What iterating over the batches raises is passed on.
        """


@dataclass(frozen=True)
class TorchBackend(Backend):
    """The model itself; without has_source the rows are prompts.

    On a CPU some batches at a time, since the small steps of a search gain little by more threads for each.
    """

    model: Model
    search: Search
    has_source: bool
    device: torch.device
    precision_context: Callable[[], AbstractContextManager[Any]]

    def __call__(self, batches: Iterable[Rows]) -> Generator[list[list[Hypothesis]], None, None]:
        with evaluating(self.model), shared_threads(self.device) as workers:
            if workers == 1:
                yield from map(self._search, batches)
                return
            pool = ThreadPoolExecutor(workers)
            try:
                under_way: deque[Future[list[list[Hypothesis]]]] = deque()
                for rows in batches:
                    under_way.append(pool.submit(self._search, rows))
                    if len(under_way) > workers:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _search(self, rows: Rows) -> list[list[Hypothesis]]:
        # not inference_mode, in which autocast would cast the weights anew at each step
        with torch.no_grad(), self.precision_context():
            if not self.has_source:
                nothing = torch.zeros(len(rows), 0, dtype=torch.long, device=self.device)
                return self.search(self.model, nothing, nothing.bool(), rows)
            tokens, mask = pad([[*ids, Vocab.eos] for ids in rows])
            return self.search(self.model, tokens.to(self.device), mask.to(self.device))


@contextmanager
def shared_threads(device: torch.device) -> Iterator[int]:
    """How many batches to search at a time; torch's threads are shared out among them inside."""
    threads = torch.get_num_threads()
    workers = min(threads, MOST_AT_A_TIME) if device.type == "cpu" else 1
    torch.set_num_threads(threads // workers)
    try:
        yield workers
    finally:
        torch.set_num_threads(threads)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside, and afterwards for each module the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
