import threading
import time
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.search.backend import Rows, TorchBackend
from seq2seq.search.base import Hypothesis, Search

BATCHES = [[[number]] for number in range(4, 16)]


class Slow(Search):
    """Says the source again; the later it began the sooner it is done. failing: the batch that cannot be searched."""

    def __init__(self, failing: int | None = None) -> None:
        self.failing = failing
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.seen: list[int] = []
        self.threads: set[int] = set()
        self.gradients: set[bool] = set()

    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        number = int(source[0, 0])
        with self.lock:
            self.seen.append(number)
            self.threads.add(torch.get_num_threads())
            self.gradients.add(torch.is_grad_enabled())
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.02 / len(self.seen))
        with self.lock:
            self.running -= 1
        if number == self.failing:
            raise ArithmeticError(f"batch {number}")
        return [[Hypothesis([number], 0.0, 0.0)]]


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    assert torch.get_num_threads() == 4  # whatever a search did
    torch.set_num_threads(before)


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(1, 1)


def backend(model: torch.nn.Module, search: Search) -> TorchBackend:
    return TorchBackend(model, search, True, torch.device("cpu"), torch.no_grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("at_a_time", [1, 2, 3, 4, 9])
def test_batches_are_searched_side_by_side_and_come_back_in_order(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("seq2seq.search.backend.MOST_AT_A_TIME", at_a_time)
    search = Slow()
    found = list(backend(model, search)(BATCHES))
    assert [hypotheses[0].tokens for [hypotheses] in found] == [rows[0] for rows in BATCHES]
    workers = min(at_a_time, 4)
    assert (search.most > 1) is (workers > 1)
    assert search.most <= workers
    assert search.threads == {4 // workers}
    assert search.gradients == {False}


def test_a_fault_in_a_batch_is_passed_on_and_no_more_is_begun(model: torch.nn.Module) -> None:
    search = Slow(failing=6)
    results = backend(model, search)(BATCHES)
    assert len([next(results), next(results)]) == 2
    with pytest.raises(ArithmeticError, match="batch 6"):
        next(results)
    assert len(search.seen) < len(BATCHES)
    assert model.training


def test_a_fault_in_what_gives_the_batches_is_passed_on(model: torch.nn.Module) -> None:
    def batches() -> Iterator[Rows]:
        yield from BATCHES[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(backend(model, Slow())(batches()))


def test_an_early_end_waits_for_nothing_that_has_not_begun(model: torch.nn.Module) -> None:
    search = Slow()
    results = backend(model, search)(BATCHES)
    next(results)
    results.close()
    assert len(search.seen) < len(BATCHES)
    assert model.training
