"""The largest batch that fits, where the end of memory is made up: a loss without room for more label tokens."""

import gc
import logging
import random
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seq2seq.errors import ConfigError
from seq2seq.models.decoder_only import DecoderOnly
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab
from seq2seq.training import fitting
from seq2seq.training.fitting import Parts, find_max_tokens, largest, longest_batch, stored_or_found_max_tokens
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.optimizers import AdamW
from seq2seq.training.options import TrainerOptions
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.run_dir import RunDir

CPU = torch.device("cpu")
VOCAB = Vocab((*Vocab.special, *(f"w{i}" for i in range(9))))


class Limited(CrossEntropy):
    """Raises where a micro-batch has more label tokens than `room`; keeps how many those have that it was given."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.seen: list[int] = []

    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(int((labels != Vocab.pad).sum()))
        if self.seen[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().__call__(features, head, labels)


LONGEST = (6, 4)  # tokens of source and target; with eos 7 and 5
NUM_EXAMPLES = 40


@pytest.fixture
def find(make_model) -> Callable[..., int]:
    def find(loss: Limited, parallel: Parallel = ALONE, **options: Any) -> int:
        def make_parts() -> Parts:
            model = make_model("transformer", dropout=0.3)
            return model, loss, AdamW(model.named_parameters(), lr=0.1)

        settings = TrainerOptions(max_tokens="auto", **options)
        return find_max_tokens(make_parts, LONGEST, settings, CPU, nullcontext, parallel, num_examples=NUM_EXAMPLES)

    return find


@pytest.mark.parametrize("most", [1, 2, 3, 50, 64, 1000])
@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 31, 32, 33, 63, 700, 5000])
def test_the_search_ends_near_the_limit_and_never_far_beyond_it(most: int, limit: int) -> None:
    tried = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= limit

    found = largest(fits, most)
    highest = min(limit, most)
    assert found <= highest
    assert highest - found <= 0.03 * found
    assert found == most or limit < most
    assert all(1 <= number <= most and number <= max(1, 2 * limit) for number in tried)
    assert len(tried) == len(set(tried)) <= 20


@pytest.mark.parametrize(("room", "examples"), [(5, 1), (14, 2), (63, 12), (160, 32), (200, 40), (10_000, 40)])
def test_examples_as_long_as_the_longest_of_each_side_fill_the_memory(
    room: int, examples: int, find: Callable[..., int]
) -> None:
    loss = Limited(room)
    assert find(loss) == examples * 7
    assert set(loss.seen) <= {5 * number for number in range(1, 41)}


def test_a_cpu_takes_no_larger_ones_than_it_is_fast_with(find: Callable[..., int], monkeypatch) -> None:
    monkeypatch.setattr(fitting, "CPU_TOKENS", 7 * 9 + 6)
    loss = Limited(10_000)
    assert find(loss) == 7 * 9
    assert max(loss.seen) == 5 * 9


def test_with_accumulation_there_are_gradients_beside_a_second_micro_batch(find: Callable[..., int]) -> None:
    alone, several = Limited(63), Limited(63)
    assert find(alone) == find(several, accumulate=4) == 12 * 7
    assert alone.seen[:5] == [5, 5, 10, 20, 40]
    assert several.seen[:10] == [5, 5, 5, 5, 10, 10, 20, 20, 40, 40]


def test_text_alone() -> None:
    def make_parts() -> Parts:
        options = {"d_model": 12, "num_layers": 1, "num_heads": 2, "d_ff": 20}
        model = DecoderOnly(VOCAB, VOCAB, decoder=Factory(TransformerDecoder, "transformer", options))
        return model, loss, AdamW(model.named_parameters(), lr=0.1)

    loss = Limited(63)
    found = find_max_tokens(make_parts, (None, LONGEST[1]), TrainerOptions(max_tokens="auto"), CPU, nullcontext)
    assert found == 12 * 5


@pytest.mark.parametrize("recompute", [False, True])
def test_not_even_one_example(recompute: bool, find: Callable[..., int]) -> None:
    with pytest.raises(ConfigError) as refused:
        find(Limited(4), recompute=recompute)
    advice = "a smaller trainer.max_length or model" + ("" if recompute else ", or trainer.recompute=true")
    assert str(refused.value) == (
        "trainer.max_tokens: auto: not even one example as long as the longest (7 and 5 tokens) fits in the memory of "
        f"cpu; what helps: {advice}"
    )


def test_nothing_is_left_of_the_search_but_the_number(make_model) -> None:
    made: list[weakref.ref[nn.Module]] = []

    def make_parts() -> Parts:
        random.random()
        np.random.random()
        model = make_model("lstm", dropout=0.3)
        made.append(weakref.ref(model))
        return model, Limited(63), AdamW(model.named_parameters(), lr=0.1)

    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), random.random(), float(np.random.random())

    torch.manual_seed(8)
    random.seed(8)
    np.random.seed(8)
    expected = draw()
    torch.manual_seed(8)
    random.seed(8)
    np.random.seed(8)
    gc.disable()
    try:
        find_max_tokens(make_parts, LONGEST, TrainerOptions(max_tokens="auto"), CPU, nullcontext)
        assert [model() for model in made] == [None]
    finally:
        gc.enable()
    assert draw() == expected


class Machine:
    """A CPU on which a trial of n examples needs `start` and n times `each` bytes."""

    def __init__(self, available: int, start: int, each: int) -> None:
        self.available, self.start, self.each = available, start, each
        self.peak = 0
        self.needed: list[int] = []

    def passes(self, number: int) -> bool:
        self.needed.append(self.start + number * self.each)
        self.peak = max(self.peak, 500 + self.needed[-1])
        return True

    def forget_peak(self) -> None:
        self.peak = 500


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("start", [0, 700])
def test_of_a_cpu_s_memory_half_is_used_and_no_more_is_ever_tried(start: int, processes: int, monkeypatch) -> None:
    machine = Machine(available=60_000, start=start, each=100)
    monkeypatch.setattr(fitting, "available_memory", lambda: machine.available)
    monkeypatch.setattr(fitting, "resident_memory", lambda: 500)
    monkeypatch.setattr(fitting, "peak_memory", lambda: machine.peak)
    monkeypatch.setattr(fitting, "forget_peak", machine.forget_peak)
    found = largest(fitting._HostRoom(processes).bounded(machine.passes), 10_000)
    room = 30_000 / processes
    assert max(machine.needed) <= room
    assert 0.9 * room < start + found * 100 <= room


def test_a_cpu_without_memory_for_one_example_is_told_so(find: Callable[..., int], monkeypatch) -> None:
    monkeypatch.setattr(fitting, "available_memory", lambda: 2000)
    monkeypatch.setattr(fitting, "resident_memory", lambda: 0)
    with pytest.raises(ConfigError, match="auto: not even one example"):
        find(Limited(63))


def test_ranks_take_the_smallest_number(find: Callable[..., int], on_ranks) -> None:
    assert on_ranks(2, lambda parallel: find(Limited(63 - 20 * parallel.rank), parallel=parallel)) == [8 * 7, 8 * 7]

    def refused(parallel: Parallel) -> str:
        with pytest.raises(ConfigError) as error:
            find(Limited(63 * parallel.rank), parallel=parallel)
        return str(error.value)

    first, second = on_ranks(2, refused)
    assert first == second
    assert "not even one example" in first


def test_the_number_is_found_once_and_stored(tmp_path: Path, on_ranks, caplog) -> None:
    run = RunDir(tmp_path)

    def never() -> int:
        raise AssertionError

    caplog.set_level(logging.INFO)
    assert stored_or_found_max_tokens(run, lambda: 84) == 84
    assert (tmp_path / "max_tokens.txt").read_text() == "84\n"
    assert stored_or_found_max_tokens(run, never) == 84
    assert caplog.messages == [
        "trainer.max_tokens=auto: looking for the largest batch that fits in memory",
        "trainer.max_tokens=auto: 84",
        "trainer.max_tokens=auto: 84, as this run has found before",
    ]

    def again(parallel: Parallel) -> int:
        own = run if parallel.first else RunDir(tmp_path / "elsewhere")
        return stored_or_found_max_tokens(own, never, parallel)

    assert on_ranks(2, again) == [84, 84]


def test_the_longest_batch() -> None:
    for max_tokens, expected in ((5 * 7 + 1, 5), (2 * 7, 2), (1, 2)):
        batch = longest_batch(LONGEST, max_tokens=max_tokens)
        assert batch.source.shape == (expected, 7)
        assert batch.labels.shape == (expected, 5)
