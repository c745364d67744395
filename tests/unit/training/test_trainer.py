import math
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.data.loader import Loader
from seq2seq.search.translator import Interrupted
from seq2seq.training.checkpoint import CheckpointStore, load_weights
from seq2seq.training.interrupts import Stopped
from seq2seq.training.loss import CrossEntropy, Loss
from seq2seq.training.optimizers import AdamW
from seq2seq.training.options import TrainerOptions
from seq2seq.training.reporters import Reporter
from seq2seq.training.schedules import InverseSqrt
from seq2seq.training.trainer import HOPELESS, Diverged, Trainer

SIZE, BATCHES = 29, 9  # examples, and the batches that they make


class Recorder(Reporter):
    """Keeps the numbers that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []

    def scalars(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        self.told.append((step, dict(values)))

    def samples(self, step: int, rows: object) -> None: ...

    def attention(self, step: int, maps: object) -> None: ...

    def finish(self, options: object, values: object) -> None: ...

    def close(self) -> None: ...


@dataclass
class Scores:
    """A validator that knows the scores of each step beforehand; a signal comes in the middle of it where told so."""

    bleu: Mapping[int, float] = field(default_factory=dict)
    loss: Mapping[int, float] = field(default_factory=dict)
    signals: list[int] = field(default_factory=list)
    step: Callable[[], int] = lambda: 0
    calls: list[int] = field(default_factory=list)
    examples: tuple[()] = ()

    def __call__(self, should_stop: Callable[[], bool]) -> tuple[dict[str, float], list[str]]:
        step = self.step()
        self.calls.append(step)
        if step in self.signals:
            self.signals.remove(step)
            signal.raise_signal(signal.SIGTERM)
        if should_stop():
            raise Interrupted
        return {"loss": self.loss.get(step, 1.0), "bleu": self.bleu.get(step, 0.0)}, []

    def attention_maps(self, translations: list[object]) -> list[object]:
        return []


Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path, make_model, make_corpus) -> Make:
    """A trainer of the run in a folder, resumed where there is a checkpoint; the options are those of `trainer`."""

    def make(
        folder: str = "a",
        *,
        family: str = "transformer",
        validator: Scores | None = None,
        loss: Loss | None = None,
        on_step: Callable[[int, Trainer], None] = lambda step, trainer: None,
        **options: Any,
    ) -> Trainer:
        defaults = {"max_tokens": 24, "validate_every": 1000, "log_every": 1000, "average": 1}
        settings = TrainerOptions(**{**defaults, **options})
        model = make_model(family, dropout=0.3)
        store = CheckpointStore(
            tmp_path / folder,
            metric=settings.metric or "bleu",
            lower_is_better=settings.metric == "loss",
            keep_last=settings.keep_last,
            keep_best=settings.keep_best,
        )
        trainer = Trainer(
            model=model,
            loss=loss or CrossEntropy(),
            optimizer=AdamW(model.named_parameters(), lr=0.01),
            schedule=InverseSqrt(None, warmup=4),
            loader=Loader(make_corpus(SIZE), max_tokens=settings.max_tokens, seed=7),
            validator=validator,  # type: ignore[arg-type]
            checkpoints=store,
            reporters=[Recorder()],
            options=settings,
            device=torch.device("cpu"),
            autocast=nullcontext,
            describe=lambda batch: f"examples {batch.numbers}",
            on_step=lambda step, values: on_step(step, trainer) if not values else None,
        )
        if validator is not None:
            validator.step = lambda: trainer.progress.step
        newest = store.newest(pytest.fail)
        if newest is not None:
            load_weights(model, newest[0])
            trainer.load_state_dict(newest[1])
        return trainer

    return make


def told(trainer: Trainer, prefix: str = "") -> list[tuple[int, dict[str, float]]]:
    """Without what depends on the clock."""
    (reporter,) = trainer.reporters
    assert isinstance(reporter, Recorder)
    lines = [(step, {k: v for k, v in values.items() if "second" not in k}) for step, values in reporter.told]
    return [(step, values) for step, values in lines if any(name.startswith(prefix) for name in values)]


def saved(trainer: Trainer) -> list[int]:
    return [checkpoint.step for checkpoint in trainer.checkpoints.all()]


def best(trainer: Trainer) -> int:
    return trainer.checkpoints.best(1)[0].step


def batches_of(trainer: Trainer) -> list[list[Batch]]:
    """The micro-batches of each step, filled while it trains."""
    steps: list[list[Batch]] = []
    original = trainer._next_micro_batches

    def watched() -> list[Batch]:
        steps.append(original())
        return steps[-1]

    trainer._next_micro_batches = watched  # type: ignore[method-assign]
    return steps


def stop_at(*steps: int) -> Callable[[int, Trainer], None]:
    return lambda step, trainer: signal.raise_signal(signal.SIGINT) if step in steps else None


def test_max_steps(make: Make) -> None:
    trainer = make(max_steps=7)
    assert trainer.train().step == 7
    assert saved(trainer) == [7]
    assert trainer.reached_limit == "trainer.max_steps"


def test_max_epochs_end_with_a_smaller_update_exactly(make: Make) -> None:
    trainer = make(max_steps=None, max_epochs=2, accumulate=4)
    steps = batches_of(trainer)
    assert trainer.loader.batches_per_epoch == BATCHES
    assert trainer.train().step == 5
    assert [len(batches) for batches in steps] == [4, 4, 4, 4, 2]
    seen = [number for batches in steps for batch in batches for number in batch.numbers]
    assert sorted(seen) == sorted([*range(SIZE)] * 2)
    assert trainer.reached_limit == "trainer.max_epochs"


def test_without_max_epochs_an_update_reaches_into_the_next_epoch(make: Make) -> None:
    trainer = make(max_steps=4, accumulate=4)
    steps = batches_of(trainer)
    trainer.train()
    assert [len(batches) for batches in steps] == [4] * 4
    assert (trainer.loader.epoch, trainer.loader.position) == (1, 16 - BATCHES)


def test_patience_counts_validations_without_gain(make: Make) -> None:
    scores = {2: 10.0, 4: 20.0, 6: 15.0, 8: 20.0, 10: 19.0, 12: 90.0}
    trainer = make(validator=Scores(bleu=scores), patience=3, validate_every=2, max_steps=50)
    assert trainer.train().step == 10
    assert best(trainer) == 4
    assert trainer.reached_limit == "trainer.patience"
    trainer = make(validator=Scores(bleu=scores), patience=4, validate_every=2, max_steps=14)
    assert trainer.train().step == 14
    assert best(trainer) == 12


def test_of_two_losses_the_lower_is_better(make: Make) -> None:
    losses = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5}
    trainer = make(validator=Scores(loss=losses), metric="loss", patience=2, validate_every=2, max_steps=50)
    assert trainer.train().step == 8
    assert best(trainer) == 4
    marked = [step for step, values in told(trainer, "validation") if "validation/best" in values]
    assert marked == [2, 4]


def test_a_hopeless_run_ends_with_a_checkpoint_and_may_be_continued(make: Make) -> None:
    asked: list[tuple[int, float]] = []

    def is_hopeless(step: int, metrics: Mapping[str, float]) -> bool:
        asked.append((step, metrics["bleu"]))
        return step in (6, 50)

    trainer = make(validator=Scores(bleu={2: 10.0, 4: 20.0, 6: 15.0}), validate_every=2, max_steps=50)
    trainer.is_hopeless = is_hopeless
    assert trainer.train().step == 6
    assert asked == [(2, 10.0), (4, 20.0), (6, 15.0)]
    assert (trainer.reached_limit, saved(trainer)[-1], best(trainer)) == (HOPELESS, 6, 4)
    resumed = make(validator=Scores(), validate_every=2, max_steps=50)
    resumed.load_state_dict(trainer.state_dict())
    assert (resumed.reached_limit, resumed.train().step) == ("", 50)
    # At its last step no run is hopeless: it is over.
    last = make(validator=Scores(), validate_every=50, max_steps=50)
    last.is_hopeless = is_hopeless
    last.train()
    assert last.reached_limit == "trainer.max_steps"


def test_saves_and_validations_at_different_steps(make: Make) -> None:
    """Every 3 steps, at the end, and at the validations that are better than before."""
    validator = Scores(bleu={4: 1.0, 8: 0.5, 12: 2.0, 16: 3.0})
    trainer = make(validator=validator, save_every=3, validate_every=4, max_steps=17, keep_last=50)
    trainer.train()
    assert validator.calls == [4, 8, 12, 16, 17]
    assert saved(trainer) == [3, 4, 6, 9, 12, 15, 16, 17]
    metrics = {checkpoint.step: checkpoint.metrics.get("bleu") for checkpoint in trainer.checkpoints.all()}
    assert metrics == {3: None, 4: 1.0, 6: None, 9: None, 12: 2.0, 15: None, 16: 3.0, 17: 0.0}


def test_the_learning_rate_follows_the_schedule(make: Make) -> None:
    rates = []
    trainer = make(max_steps=9, on_step=lambda step, t: rates.append([g["lr"] for g in t.optimizer.param_groups]))
    trainer.train()
    # InverseSqrt with warmup 4 and lr 0.01; the first step is not lost at a rate of 0.
    expected = [0.0025, 0.005, 0.0075, 0.01, *(0.01 * math.sqrt(4 / step) for step in (5, 6, 7, 8, 9))]
    assert [len(set(groups)) for groups in rates] == [1] * 9
    assert [groups[0] for groups in rates] == pytest.approx(expected)


class Watched(Loss):
    """Cross-entropy that remembers its sums."""

    def __init__(self) -> None:
        self.sums: list[float] = []
        self.inner = CrossEntropy()

    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        result = self.inner(features, head, labels)
        self.sums.append(result[0].item())
        return result


def test_reports_tell_the_mean_loss_of_a_token_since_the_last_one(make: Make) -> None:
    loss = Watched()
    trainer = make(max_steps=8, log_every=3, accumulate=2, loss=loss)
    steps = batches_of(trainer)
    trainer.train()
    tokens = [int((batch.labels != 0).sum()) for batches in steps for batch in batches]
    reports = told(trainer)
    assert [step for step, _ in reports] == [3, 6, 8]
    for (_, values), part in zip(reports, (slice(0, 6), slice(6, 12), slice(12, 16)), strict=True):
        assert values["train/loss"] == pytest.approx(sum(loss.sums[part]) / sum(tokens[part]), rel=1e-6)
        assert values["train/tokens"] == sum(tokens[: part.stop])
    assert [values["train/epoch"] for _, values in reports] == pytest.approx([n / BATCHES for n in (6, 12, 16)])
    assert [values["train/lr"] for _, values in reports] == pytest.approx([0.0075, 0.01 * 2 / 6**0.5, 0.01 / 2**0.5])


def assert_equal_weights(a: Trainer, b: Trainer) -> None:
    for one, other in zip(a.model.parameters(), b.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("options", [{"max_steps": 19}, {"max_steps": None, "max_epochs": 4}])
def test_stopped_at_any_step_it_ends_with_the_same_bits(make: Make, family: str, options: dict[str, Any]) -> None:
    """Also the reports, the scores, and which checkpoints remain."""
    bleu = {4: 3.0, 8: 5.0, 12: 4.0, 16: 4.5}
    common = {"log_every": 3, "validate_every": 4, "save_every": 5, "keep_last": 2, "accumulate": 3, **options}
    whole = make("whole", family=family, validator=Scores(bleu=bleu), **common)
    whole.train()
    last = whole.progress.step
    # After steps 2, 5 and 8, then in the validation of step 12, and in the last one.
    validator = Scores(bleu=bleu, signals=[12, last])
    reports: list[tuple[int, dict[str, float]]] = []
    stops = []
    for _ in range(6):
        trainer = make("parts", family=family, validator=validator, on_step=stop_at(2, 5, 8), **common)
        try:
            trainer.train()
        except Stopped:
            stops.append(trainer.progress.step)
        reports += told(trainer)
    trainer = make("parts", family=family, validator=validator, **common)
    assert trainer.done
    assert stops == [2, 5, 8, 12, last]
    assert_equal_weights(trainer, whole)
    assert reports == told(whole)
    assert saved(trainer) == saved(whole)
    assert best(trainer) == best(whole) == 8
    assert {**vars(trainer.progress), "seconds": 0} == {**vars(whole.progress), "seconds": 0}
    assert trainer.loader.state_dict() == whole.loader.state_dict()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_and_saves(make: Make, number: int, status: int) -> None:
    trainer = make(max_steps=9, on_step=lambda step, _: signal.raise_signal(number) if step == 3 else None)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped, match="stopped at step 3 and saved; the same command continues") as caught:
        trainer.train()
    assert caught.value.exit_status == status
    assert saved(trainer) == [3]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_validation_that_a_signal_ended_is_done_again(make: Make) -> None:
    """And its checkpoint, which is the best, gets its metrics."""
    validator = Scores(bleu={4: 7.0, 8: 6.0}, signals=[4])
    first = make(validator=validator, validate_every=4, max_steps=10)
    with pytest.raises(Stopped):
        first.train()
    assert told(first, "validation") == []
    assert [dict(checkpoint.metrics) for checkpoint in first.checkpoints.all()] == [{}]
    second = make(validator=validator, validate_every=4, max_steps=10)
    second.train()
    assert validator.calls == [4, 4, 8, 10]
    assert [step for step, _ in told(second, "validation")] == [4, 8, 10]
    assert best(second) == 4
    assert (second.checkpoints.folder / "best").read_text() == "step_00000004\n"


class Killed(BaseException):
    """Stands for the end of the process."""


def test_such_a_validation_is_not_done_a_third_time(make: Make) -> None:
    """It is no gain and no step to save at; yet its scores are kept, or they would be reported twice."""

    def kill(step: int, trainer: Trainer) -> None:
        if step == 7:
            raise Killed

    options = {"validate_every": 2, "save_every": 5, "max_steps": 10, "keep_last": 1}
    validator = Scores(bleu={2: 3.0, 4: 1.0, 6: 1.0}, signals=[6])
    with pytest.raises(Stopped):
        make(validator=validator, **options).train()
    with pytest.raises(Killed):
        make(validator=validator, on_step=kill, **options).train()
    last = make(validator=validator, **options)
    assert last.progress.step == 6
    last.train()
    assert validator.calls == [2, 4, 6, 6, 8, 10]
    assert saved(last) == [2, 10]


def test_a_finished_run_does_nothing_more(make: Make) -> None:
    validator = Scores()
    make(validator=validator, max_steps=5, validate_every=5).train()
    again = make(validator=validator, max_steps=5, validate_every=5)
    assert again.done
    again.train()
    assert told(again) == []
    assert validator.calls == [5]
    longer = make(validator=validator, max_steps=8, validate_every=5)
    assert not longer.done
    assert longer.train().step == 8
    without_its_last_validation = make("b", max_steps=5)
    without_its_last_validation.train()
    assert not make("b", validator=validator, max_steps=5).done


def poison(trainer: Trainer) -> None:
    with torch.no_grad():
        next(iter(trainer.model.parameters()))[:, 0] = math.nan


def test_a_loss_that_is_not_finite_ends_the_training(make: Make, family: str) -> None:
    trainer = make(
        family=family, max_steps=9, save_every=2, accumulate=2, on_step=lambda s, t: poison(t) if s == 3 else None
    )
    steps = batches_of(trainer)
    with pytest.raises(Diverged) as caught:
        trainer.train()
    lines = str(caught.value).splitlines()
    assert lines[0] == "the loss is not finite at step 4; the newest checkpoint, of step 2, is whole"
    assert lines[1:3] == [f"examples {batch.numbers}" for batch in steps[3]]
    assert lines[3].startswith("what helps")
    assert saved(trainer) == [2]
    resumed = make(family=family, max_steps=9, save_every=2, accumulate=2)
    assert resumed.progress.step == 2
    assert all(weight.isfinite().all() for weight in resumed.model.parameters())
    assert resumed.train().step == 9


def test_a_broken_weight_is_never_saved(make: Make) -> None:
    trainer = make(max_steps=9, save_every=3, on_step=lambda step, t: poison(t) if step == 3 else None)
    with pytest.raises(Diverged, match=r"the weight encoder\.embedding\.weight is not finite at step 3; nothing was"):
        trainer.train()
    assert saved(trainer) == []


@pytest.mark.parametrize("metric", ["bleu", "loss"])
def test_a_validation_loss_that_is_not_finite_ends_the_training(make: Make, metric: str) -> None:
    trainer = make(max_steps=9, validate_every=2, validator=Scores(loss={4: math.nan}), metric=metric)
    with pytest.raises(Diverged, match=r"the validation loss is not finite at step 4; the newest .* step 2, is whole"):
        trainer.train()
    assert saved(trainer) == [2]
    assert trainer.progress.best is not None
    assert math.isfinite(trainer.progress.best)


class Explosive(Loss):
    """Of a finite value, but with an infinite gradient."""

    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        return (features * 0).abs().sqrt().sum(), (labels != 0).sum()


def test_a_gradient_that_is_not_finite_ends_the_training(make: Make) -> None:
    with pytest.raises(Diverged, match="the gradient is not finite at step 1; nothing was saved yet"):
        make(max_steps=3, loss=Explosive()).train()


def test_results_that_are_read_later_name_the_right_step(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where nobody looks at the loss before the report."""
    trainer = make(max_steps=9, log_every=5, on_step=lambda step, t: poison(t) if step == 2 else None)
    steps = batches_of(trainer)
    read = trainer._read_results
    monkeypatch.setattr(trainer, "_read_results", lambda: read() if trainer.progress.step == 5 else None)
    with pytest.raises(Diverged, match="the loss is not finite at step 3") as caught:
        trainer.train()
    assert f"examples {steps[2][0].numbers}" in str(caught.value)


def test_a_checkpoint_of_an_older_version_still_loads(make: Make) -> None:
    """What was added to the progress later has defaults."""
    trainer = make(max_steps=3)
    trainer.train()
    state = trainer.state_dict()
    for name in ("loss_sum", "num_tokens", "gradient_norm"):
        del state["progress"][name]
    trainer.load_state_dict(state)
    assert trainer.progress.step == 3


def test_state_holds_only_what_loads_safely(make: Make, tmp_path: Path) -> None:
    trainer = make(max_steps=2)
    trainer.train()

    def leaves(value: object) -> Sequence[object]:
        if isinstance(value, dict):
            return [leaf for pair in value.items() for part in pair for leaf in leaves(part)]
        if isinstance(value, list | tuple):
            return [leaf for part in value for leaf in leaves(part)]
        return [value]

    kinds = {type(leaf) for leaf in leaves(trainer.state_dict())}
    assert kinds <= {Tensor, int, float, str, bool, type(None)}


def test_a_step_that_does_not_fit_is_told_and_counts_as_one(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Small(CrossEntropy):
        def __call__(self, features: Tensor, head: torch.nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
            if len(labels) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(features, head, labels)

    trainer = make(max_steps=1, loss=Small())
    steps = batches_of(trainer)
    with caplog.at_level("WARNING"):
        assert trainer.train().step == 1
    ((batch,),) = steps
    rows = len(batch.numbers)
    assert rows > 2
    (message,) = caplog.messages
    assert message.startswith(f"step 1 did not fit in memory (examples x source and target tokens: {rows} x ")
    assert message.endswith("; where this happens often, a smaller trainer.max_tokens (now 24) is faster")
