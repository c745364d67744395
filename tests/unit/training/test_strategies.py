"""Several ranks train as one process does over the same batches: losses, weights, checkpoints."""

import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp
import torch.distributed.tensor
from torch import Tensor, nn

from seq2seq.data.loader import Loader
from seq2seq.training.checkpoint import CheckpointStore, load_training, load_weights
from seq2seq.training.generators import seed_generators
from seq2seq.training.interrupts import Stopped
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.optimizers import AdamW, Muon
from seq2seq.training.options import TrainerOptions
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.schedules import InverseSqrt
from seq2seq.training.strategies import Replicas, _buckets, make_strategy
from seq2seq.training.trainer import Diverged, Trainer

CPU = torch.device("cpu")
SIZE = 29
STRATEGIES = ["ddp", "fsdp"]


Make = Callable[..., Trainer]


@pytest.fixture
def make(make_model, make_corpus, tmp_path: Path) -> Make:
    """One rank's trainer of a run in tmp_path, resumed where there is a checkpoint."""

    def make(
        parallel: Parallel = ALONE,
        strategy: str = "ddp",
        folder: str = "run",
        dropout: float = 0.0,
        family: str = "transformer",
        muon: bool = False,
        **options: Any,
    ) -> Trainer:
        defaults = {"max_tokens": 24, "validate_every": 1000, "log_every": 1000, "average": 1}
        settings = TrainerOptions(**{**defaults, **options})
        model = make_model(family, dropout)
        chosen = make_strategy(strategy, model, parallel, CPU)
        seed_generators(3, parallel.rank)
        store = CheckpointStore(tmp_path / folder, metric="loss", keep_last=settings.keep_last, keep_best=1)
        loader = Loader(
            make_corpus(SIZE),
            max_tokens=settings.max_tokens,
            seed=7,
            rank=parallel.rank,
            world_size=parallel.world_size,
        )
        trainer = Trainer(
            model=model,
            loss=CrossEntropy(),
            # A large eps, since some gradients (of the biases of keys) are nothing but rounding.
            optimizer=(Muon if muon else AdamW)(model.named_parameters(), lr=0.01, eps=1e-3),
            schedule=InverseSqrt(None, warmup=4),
            loader=loader,
            validator=None,
            checkpoints=store,
            reporters=[],
            options=settings,
            device=CPU,
            autocast=nullcontext,
            describe=lambda batch: f"examples {batch.numbers}",
            strategy=chosen,
        )
        newest = store.last(1)
        if newest:
            load_weights(model, *newest, strategy=chosen)
            trainer.load_state_dict(load_training(newest[0]))
        return trainer

    return make


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: trainer.strategy.whole(weight.detach()).clone() for name, weight in trainer.model.named_parameters()}


def losses(trainer: Trainer) -> list[tuple[float, float, int]]:
    """Of each step: mean loss, norm of the gradient, label tokens."""
    seen = []
    read = trainer._read_results

    def watched() -> None:
        before = (trainer.progress.loss_sum, trainer.progress.num_tokens)
        read()
        loss, tokens = trainer.progress.loss_sum - before[0], trainer.progress.num_tokens - before[1]
        if tokens:
            seen.append((loss / tokens, trainer.progress.gradient_norm, tokens))

    trainer._read_results = watched  # type: ignore[method-assign]
    trainer.train()
    return seen


@pytest.mark.parametrize(
    ("family", "strategy", "accumulate"),
    [
        ("transformer", "ddp", 1),
        ("transformer", "ddp", 2),
        ("transformer", "fsdp", 1),
        ("transformer", "fsdp", 2),
        ("lstm", "ddp", 2),
        ("lstm", "fsdp", 1),
    ],
)
def test_ranks_train_as_one_process_over_the_same_batches(
    family: str, strategy: str, accumulate: int, make: Make, on_ranks
) -> None:
    """Nine batches an epoch, of unequal lengths; two ranks fill up the last turn, so that only one epoch is alike."""
    steps = 4 // accumulate
    alone = make(family=family, accumulate=2 * accumulate, max_steps=steps, folder="alone")
    expected = losses(alone)
    assert len({tokens for _, _, tokens in expected}) > 1

    def train(parallel: Parallel) -> Any:
        trainer = make(parallel, strategy, family=family, accumulate=accumulate, max_steps=steps)
        return losses(trainer), weights(trainer)

    for found, of_rank in on_ranks(2, train):
        assert [tokens for _, _, tokens in found] == [tokens for _, _, tokens in expected]
        for (loss, norm, _), (expected_loss, expected_norm, _) in zip(found, expected, strict=True):
            assert loss == pytest.approx(expected_loss, rel=1e-6)
            assert norm == pytest.approx(expected_norm, rel=1e-5)
        torch.testing.assert_close(of_rank, weights(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("muon", [False, True], ids=["adamw", "muon"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stopped_and_resumed_ranks_end_with_the_same_bits(strategy: str, muon: bool, make: Make, on_ranks) -> None:
    """With dropout, of which each rank draws its own."""

    def whole(parallel: Parallel) -> Any:
        trainer = make(parallel, strategy, "whole", dropout=0.3, max_steps=9, muon=muon)
        trainer.train()
        return weights(trainer), torch.rand(1).item()

    def in_two_parts(parallel: Parallel) -> Any:
        make(parallel, strategy, dropout=0.3, max_steps=5, muon=muon).train()
        torch.manual_seed(99)
        trainer = make(parallel, strategy, dropout=0.3, max_steps=9, muon=muon)
        assert trainer.progress.step == 5
        trainer.train()
        return weights(trainer), torch.rand(1).item()

    (first, drawn), (second, drawn_by_other) = on_ranks(2, whole)
    assert drawn != drawn_by_other
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    for (resumed, drawn_after), expected in zip(on_ranks(2, in_two_parts), (drawn, drawn_by_other), strict=True):
        torch.testing.assert_close(resumed, first, rtol=0, atol=0)
        assert drawn_after == expected


@pytest.mark.parametrize(("family", "strategy"), [("transformer", "ddp"), ("transformer", "fsdp"), ("lstm", "fsdp")])
def test_ranks_orthogonalize_the_matrices_that_one_process_has(
    family: str, strategy: str, make: Make, on_ranks
) -> None:
    """Parts of 3 ranks, which matrices stored in one do not end at; rounded to bfloat16, as torch's Muon does it."""
    alone = make(family=family, accumulate=3, max_steps=2, muon=True, folder="alone")
    begin = weights(alone)
    alone.train()

    def train(parallel: Parallel) -> Any:
        trainer = make(parallel, strategy, family=family, max_steps=2, muon=True)
        trainer.train()
        return weights(trainer)

    for of_rank in on_ranks(3, train):
        for name, weight in weights(alone).items():
            moved = weight - begin[name]
            assert (of_rank[name] - weight).norm() < 0.02 * moved.norm(), name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_checkpoints_fit_any_number_of_ranks_and_either_strategy(strategy: str, make: Make, on_ranks) -> None:
    """A step after resuming, with the optimizer's state, is that of the ranks that saved."""

    def train(parallel: Parallel) -> Any:
        trainer = make(parallel, strategy, max_steps=3)
        trainer.train()
        return weights(trainer)

    saved, _ = on_ranks(2, train)
    batch = make().loader.next_batch()

    def a_step(parallel: Parallel, strategy: str) -> Any:
        trainer = make(parallel, strategy, max_steps=4)
        resumed = weights(trainer)
        trainer.loader.next_batch = lambda: batch  # type: ignore[method-assign]
        trainer._step()
        return trainer.progress.step, resumed, weights(trainer)

    step, resumed, expected = a_step(ALONE, "ddp")
    assert step == 4
    torch.testing.assert_close(resumed, saved, rtol=0, atol=0)
    moved = max((expected[name] - saved[name]).abs().max() for name in saved)
    assert moved > 1e-3
    other = "ddp" if strategy == "fsdp" else "fsdp"
    for step, resumed, after in on_ranks(3, lambda parallel: a_step(parallel, other)):
        assert step == 4
        torch.testing.assert_close(resumed, saved, rtol=0, atol=0)
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)


def test_of_fsdp_a_rank_keeps_its_part_only(make: Make, on_ranks) -> None:
    def parts(parallel: Parallel) -> Any:
        trainer = make(parallel, "fsdp", max_steps=2)
        whole = sum(weight.numel() for weight in trainer.model.parameters())
        trainer.train()
        weights = sum(weight.to_local().numel() for weight in trainer.model.parameters())
        state = trainer.optimizer.state.values()
        return whole, weights, sum(of_weight["exp_avg"].to_local().numel() for of_weight in state)

    found = on_ranks(2, parts)
    whole = sum(weight.numel() for weight in make().model.parameters())
    assert [of_rank[0] for of_rank in found] == [whole, whole]
    assert sum(of_rank[1] for of_rank in found) == sum(of_rank[2] for of_rank in found) == whole
    assert all(0.4 * whole < of_rank[1] < 0.6 * whole for of_rank in found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_signal_to_one_rank_stops_all_after_the_same_step(strategy: str, make: Make, on_ranks) -> None:
    def train(parallel: Parallel) -> Any:
        def signalled(step: int, values: object) -> None:
            if step == 2 and parallel.rank == 1:
                signal.raise_signal(signal.SIGTERM)

        trainer = make(parallel, strategy, max_steps=50)
        trainer.on_step = signalled
        try:
            trainer.train()
        except Stopped as error:
            return str(error), error.exit_status, trainer.progress.step
        return None

    told = "stopped at step 3 and saved; the same command continues"
    assert on_ranks(2, train) == [(told, 143, 3), (told, 143, 3)]
    assert make().progress.step == 3


class Broken(CrossEntropy):
    """Of one rank, from a step on."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        super().__init__()
        self.trainer = trainer
        self.step = step

    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        total, count = super().__call__(features, head, labels)
        return (total * float("nan") if self.trainer.progress.step + 1 == self.step else total), count


def test_a_loss_that_is_not_finite_on_one_rank_ends_all_and_names_its_batch(make: Make, on_ranks) -> None:
    def train(parallel: Parallel) -> Any:
        trainer = make(parallel, max_steps=50, save_every=2)
        if parallel.rank == 1:
            trainer.loss = Broken(trainer, step=4)
        try:
            trainer.train()
        except Diverged as error:
            return str(error).splitlines()
        return None

    alone = make(folder="alone", max_steps=50)
    batches = [alone.loader.next_batch() for _ in range(8)]
    first, second = on_ranks(2, train)
    assert first == second
    assert first[0] == "the loss is not finite at step 4; the newest checkpoint, of step 2, is whole"
    assert first[1] == f"examples {batches[7].numbers}"
    assert first[2].startswith("what helps")


def test_every_rank_begins_with_the_first_one_s_weights(make_model, on_ranks) -> None:
    def begin(parallel: Parallel) -> Any:
        model = make_model("lstm")
        with torch.no_grad():
            for weight in model.parameters():
                weight += parallel.rank
        make_strategy("ddp", model, parallel, CPU)
        return dict(model.state_dict())

    expected = make_model("lstm").state_dict()
    for of_rank in on_ranks(2, begin):
        torch.testing.assert_close(of_rank, dict(expected), rtol=0, atol=0)


class Halves(nn.Module):
    """Ranks use different parts of it, and nobody uses `idle`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(3, 2) for _ in range(2))
        self.idle = nn.Linear(5, 1)


def test_gradients_are_sums_and_those_of_the_others_where_a_rank_has_none(on_ranks) -> None:
    def gradients(parallel: Parallel) -> Any:
        torch.manual_seed(0)
        model = Halves()
        replicas = Replicas(model, parallel)
        for last in (False, True):
            replicas.before_backward(last=last)
            x = torch.full((1, 3), 10.0 * parallel.rank + last)
            model.parts[parallel.rank](x).sum().backward()
        replicas.finish()
        return {name: weight.grad for name, weight in model.named_parameters()}

    first, second = on_ranks(2, gradients)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert first["parts.0.weight"].tolist() == [[1.0] * 3] * 2
    assert first["parts.1.weight"].tolist() == [[21.0] * 3] * 2
    assert first["parts.1.bias"].tolist() == [2.0] * 2
    assert first["idle.weight"].tolist() == [[0.0] * 5]


def test_buckets_hold_one_type_and_about_25_mib_from_the_last_parameter_on() -> None:
    def parameter(mib: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
        return nn.Parameter(torch.empty(mib * 2**20 // dtype.itemsize, dtype=dtype, device="meta"))

    half = torch.bfloat16
    parameters = [parameter(9), parameter(4, half), parameter(30), parameter(14), parameter(12), parameter(3)]
    places = {id(p): i for i, p in enumerate(parameters)}
    assert [[places[id(p)] for p in bucket] for bucket in _buckets(parameters)] == [[5, 4, 3], [2], [1], [0]]
