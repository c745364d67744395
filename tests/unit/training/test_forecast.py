from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.data.loader import Loader
from seq2seq.training import forecast as module
from seq2seq.training.checkpoint import CheckpointStore
from seq2seq.training.forecast import failed, forecast, told
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.optimizers import AdamW
from seq2seq.training.options import TrainerOptions
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.schedules import InverseSqrt
from seq2seq.training.strategies import make_strategy
from seq2seq.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)  # as few updates as it ever makes


@pytest.fixture
def make(tmp_path: Path, make_model: Any, make_corpus: Any) -> Callable[..., Trainer]:
    def make(parallel: Parallel = ALONE, corpus: EncodedCorpus | None = None, **options: Any) -> Trainer:
        settings = TrainerOptions(max_tokens=24, **options)
        model = make_model("transformer", dropout=0.3)
        ranks = {"rank": parallel.rank, "world_size": parallel.world_size}
        return Trainer(
            model=model,
            loss=CrossEntropy(),
            optimizer=AdamW(model.named_parameters(), lr=0.01),
            schedule=InverseSqrt(None, warmup=4),
            loader=Loader(corpus or make_corpus(57), max_tokens=24, seed=7, **ranks),
            validator=None,
            checkpoints=CheckpointStore(tmp_path / "checkpoints", metric="loss", keep_last=5, keep_best=1),
            reporters=[],
            options=settings,
            device=CPU,
            autocast=nullcontext,
            describe=str,
            strategy=make_strategy("ddp", model, parallel, CPU),
        )

    return make


def test_what_is_foretold(make: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = make()
    found = forecast(trainer, 1000)
    assert found["updates timed"] == 5
    assert found["batches in an epoch"] == trainer.loader.batches_per_epoch
    seconds_of_update = found["minutes of the run"] * 60 / 1000
    assert found["minutes of an epoch"] * 60 == pytest.approx(seconds_of_update * trainer.loader.batches_per_epoch)
    shadow = make().loader
    batches = [shadow.next_batch() for _ in range(7)][2:]  # the first two are not timed
    per_update = {
        "examples per second": sum(len(batch.numbers) for batch in batches) / 5,
        "target tokens per second": sum(batch.num_tokens for batch in batches) / 5,
    }
    for name, number in per_update.items():
        assert found[name] == pytest.approx(number / seconds_of_update)
    pads = sum(int((~mask).sum()) for batch in batches for mask in (batch.source_mask, batch.target_mask))
    assert found["padding"] == pytest.approx(pads / sum(b.source.numel() + b.target.numel() for b in batches))
    assert found["peak memory"] > 10_000_000  # torch alone
    assert trainer.progress.step == 0
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").iterdir())


def test_micro_batches_are_gathered(make: Callable[..., Trainer]) -> None:
    found = forecast(make(accumulate=3), None)
    assert found["minutes of the run"] is None
    assert not any(line.startswith("the run") for line in told(found))
    assert found["longest batch"]["parts"] == 1


def test_the_longest_batch_is_found_and_the_loader_stays(make_corpus: Any) -> None:
    corpus = make_corpus(57)
    loader = Loader(corpus, max_tokens=24, seed=7)
    longest = loader.longest_batch()
    assert max(longest.source.size(1), longest.target.size(1)) == 8  # 7 and eos
    assert (loader.epoch, loader.position) == (0, 0)


def test_text_alone(make: Callable[..., Trainer]) -> None:
    lengths = np.array([3, 9, 4])
    rows = Rows((np.full(16, 5, np.int32), np.cumsum([0, *lengths])))
    longest = make(corpus=EncodedCorpus(None, rows, np.arange(3))).loader.longest_batch()
    assert (longest.source.size(1), longest.target.size(1)) == (0, 10)


def test_ranks_tell_the_same(make: Callable[..., Trainer], on_ranks: Callable[..., list[Any]]) -> None:
    one, two = on_ranks(2, lambda parallel: forecast(make(parallel), 1000))
    for name in ("updates timed", "batches in an epoch", "peak memory", "longest batch"):
        assert one[name] == two[name]
    alone = forecast(make(), 1000)
    assert one["batches in an epoch"] == -(-alone["batches in an epoch"] // 2)


LARGE = {
    "device": "cuda:11", "updates timed": 100, "examples per second": 123456.7, "target tokens per second": 12345678.9,
    "padding": 0.1234, "batches in an epoch": 123_456_789, "minutes of an epoch": 12345.6, "updates": 1_000_000_000,
    "minutes of the run": 9999999.9, "peak memory": 79.5 * 2**30,
    "longest batch": {"examples": 12_345, "source tokens": 12_345, "target tokens": 12_345, "parts": 16},
}  # fmt: skip


def test_what_is_told_fits_the_screen() -> None:
    lines = list(told(LARGE))
    assert all(len(line) <= 79 for line in lines)
    assert lines == [
        "training: 123,457 examples and 12,345,679 target tokens a second on cuda:11",
        "an epoch: 123,456,789 batches, 12.3% padding, about 8.6 days",
        "the run: up to 1,000,000,000 updates, about 6944.4 days without validations",
        "longest batch: 12,345 x 12,345 and 12,345 tokens; peak memory 79.5 GiB",
        "  it did not fit in memory and was done in 16 parts",
    ]


@pytest.mark.parametrize(
    ("minutes", "duration"), [(0.1, "6 seconds"), (5, "5 minutes"), (300, "5 hours"), (3000, "2.1 days")]
)
def test_durations(minutes: float, duration: str) -> None:
    assert f"about {duration} without" in list(told({**LARGE, "minutes of the run": minutes}))[2]


def test_only_a_lack_of_memory_is_a_forecast() -> None:
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):
        fault = failed(error)
        assert fault is not None
        assert list(told(fault)) == [
            "an update was tried and failed: out of memory: lower trainer.max_tokens, or take a smaller model"
        ]
    assert failed(RuntimeError("shapes differ")) is None
