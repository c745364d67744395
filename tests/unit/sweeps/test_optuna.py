"""A study: what is tried, what becomes of it, and what is left of one that was killed."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from seq2seq.errors import ConfigError, UserError
from seq2seq.sweeps.optuna import Dimension, Goal, Optuna, Study, Trial, _place, make_judge

SPACE = (
    Dimension("++optimizer.lr", low=1e-4, high=1e-1, logarithmic=True),
    Dimension("model", choices=("lstm", "gru")),
    Dimension("++model.num_layers", low=1, high=7, step=2, whole=True),
    Dimension("++model.dropout", low=0.1, high=0.5, step=0.2),
)
BLEU = Goal("bleu", lower_is_better=False)


def study(folder: Path, *goals: Goal, space: tuple[Dimension, ...] = SPACE, **options: Any) -> Study:
    return Optuna(**options).study(space, ["trainer.max_steps=5"], goals or (BLEU,), folder)


def end(value: float, *, pruned: bool = False, **others: float) -> dict[str, Any]:
    return {"pruned": pruned, "metrics": {"bleu": value}, **others}


def test_what_is_tried_lies_in_the_space(tmp_path: Path) -> None:
    found = study(tmp_path, n_trials=30)
    tried = []
    for trial in found.trials():
        fixed, *varied = trial.overrides
        assert fixed == "trainer.max_steps=5"
        values = dict(override.split("=") for override in varied)
        assert list(values) == ["++optimizer.lr", "model", "++model.num_layers", "++model.dropout"]
        assert 1e-4 <= float(values["++optimizer.lr"]) <= 1e-1
        assert len(values["++optimizer.lr"].replace(".", "").lstrip("0")) <= 8  # 4 digits, and perhaps an exponent
        assert values["model"] in ("lstm", "gru")
        assert values["++model.num_layers"] in ("1", "3", "5", "7")
        assert values["++model.dropout"] in ("0.1", "0.3", "0.5")
        tried.append(tuple(values.values()))
        found.tell(trial.number, end(1.0))
    assert len(tried) == 30
    assert len(set(tried)) > 20
    assert len({values[2] for values in tried}) == 4


def test_the_best_is_found_and_told(tmp_path: Path) -> None:
    """The score grows with the rate up to 0.02; a search comes near it, a random one seldom does."""
    found = study(tmp_path, space=SPACE[:1], n_trials=30)
    for trial in found.trials():
        rate = float(trial.overrides[-1].partition("=")[2])
        found.tell(trial.number, end(-abs(rate - 0.02)))
    (best,) = found.best()
    assert best.values[0] > -0.004
    assert best.overrides[0].startswith("optimizer.lr=0.0")


def test_less_is_better_where_it_is(tmp_path: Path) -> None:
    found = study(tmp_path, Goal("loss", lower_is_better=True), n_trials=3)
    for trial, loss in zip(found.trials(), (3.0, 1.0, 2.0), strict=True):
        found.tell(trial.number, {"pruned": False, "metrics": {"loss": loss}})
    assert [best.values for best in found.best()] == [[1.0]]


def test_several_goals(tmp_path: Path) -> None:
    """A trial is among the best unless another one is as good in all, and better in some."""
    goals = (BLEU, Goal("parameters", lower_is_better=True))
    found = study(tmp_path, *goals, n_trials=4, objectives=["bleu", "parameters"])
    for trial, (bleu, size) in zip(found.trials(), ((30, 5), (20, 1), (25, 6), (31, 9)), strict=True):
        assert trial.judge is None  # Optuna ends no run early for several goals
        found.tell(trial.number, end(bleu, parameters=size))
    assert sorted(best.values for best in found.best()) == [[20, 1], [30, 5], [31, 9]]


def test_a_killed_sweep_goes_on_with_the_runs_that_it_left(tmp_path: Path) -> None:
    first = study(tmp_path, n_trials=4)
    begun = first.trials()
    left = [next(begun), next(begun)]
    first.tell(left[1].number, end(2.0))
    again = study(tmp_path, n_trials=4)
    assert again.num_over == 1
    trials: list[Trial] = []
    for trial in again.trials():
        trials.append(trial)
        again.tell(trial.number, end(1.0))
    assert [trial.number for trial in trials] == [0, 2, 3]
    assert trials[0].overrides == left[0].overrides
    # A later start asks for more; the values tried are new ones, whatever the seed.
    more = study(tmp_path, n_trials=6)
    new = [trial for trial in more.trials() if more.tell(trial.number, end(1.0)) is None]
    assert [trial.number for trial in new] == [4, 5]
    old = [tuple(trial.overrides) for trial in (*left, *trials)]
    assert not set(old) & {tuple(trial.overrides) for trial in new}


def test_what_failed_is_tried_once_more_at_the_next_start(tmp_path: Path) -> None:
    first = study(tmp_path, n_trials=3)
    failed = [trial for trial in first.trials() if first.tell(trial.number, None) is None]
    assert (len(failed), first.num_over) == (3, 0)
    second = study(tmp_path, n_trials=3)
    again = [trial for trial in second.trials() if second.tell(trial.number, None) is None]
    assert [trial.overrides for trial in again] == [trial.overrides for trial in failed]
    third = study(tmp_path, n_trials=3)
    new = [trial for trial in third.trials() if third.tell(trial.number, end(1.0)) is None]
    assert (len(new), third.num_over) == (3, 3)
    assert not {tuple(trial.overrides) for trial in new} & {tuple(trial.overrides) for trial in failed}
    assert list(study(tmp_path, n_trials=3).trials()) == []


def test_another_search_is_another_study(tmp_path: Path) -> None:
    for space in (SPACE, SPACE[:2]):
        found = study(tmp_path, space=space, n_trials=1)
        for trial in found.trials():
            assert trial.number == 0
            found.tell(trial.number, end(1.0))
    assert len(optuna.get_all_study_names(f"sqlite:///{tmp_path}/optuna.db")) == 2


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (end(1.0), "COMPLETE"),
        (end(1.0, pruned=True), "PRUNED"),
        (None, "FAIL"),
        ({"pruned": False, "metrics": {}}, "FAIL"),
    ],
)
def test_what_becomes_of_a_trial(tmp_path: Path, told: Mapping[str, Any] | None, state: str) -> None:
    found = study(tmp_path, n_trials=1)
    for trial in found.trials():
        found.tell(trial.number, told)
    assert [trial.state.name for trial in found.study.trials] == [state]


def test_a_run_behind_the_median_of_the_others_is_hopeless(tmp_path: Path) -> None:
    found = study(tmp_path, n_trials=4, startup_trials=2)
    hopeless = []
    for trial, scores in zip(found.trials(), ((1, 5), (3, 7), (4, 9), (1, 4)), strict=True):
        assert trial.judge is not None
        judge = make_judge(trial.judge)
        hopeless.append(
            [judge(step, {"bleu": score, "loss": 1.0}) for step, score in zip((10, 20), scores, strict=True)]
        )
        found.tell(trial.number, end(scores[-1]))
    # At step 10 the medians of those before are -, 1, 2, 3; the first two trials are never judged.
    assert hopeless == [[False, False], [False, False], [False, False], [True, True]]


def test_a_database_that_does_not_answer_ends_no_run(tmp_path: Path) -> None:
    gone = {"storage": f"sqlite:///{tmp_path}/no/folder/x.db", "study": "x", "trial": 3, "goal": "bleu"}
    judge = make_judge({**gone, "prune": "median", "startup_trials": 0, "warmup_steps": 0})
    assert judge(10, {"bleu": 1.0}) is False


def test_no_run_is_ended_where_nobody_asks_for_it(tmp_path: Path) -> None:
    found = study(tmp_path, n_trials=1, prune="none")
    assert [trial.judge for trial in found.trials() if found.tell(trial.number, end(1.0)) is None] == [None]


def test_a_storage_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.storage: cannot be used \("):
        study(tmp_path, storage="sqlite:////no/such/folder/x.db")
    with pytest.raises(ValueError, match="objectives: needs one at least"):
        Optuna(objectives=[])


LOSS = Goal("loss", lower_is_better=True)


@pytest.mark.parametrize(
    ("goals", "space", "told"),
    [
        ((BLEU,), (Dimension("model", choices=("lstm", "cnn")),), "has tried other values of model, {kept}: {other}"),
        (
            (BLEU,),
            (Dimension("++optimizer.lr", low=1e-4, high=1e-1),),
            "has tried other values of optimizer.lr, {kept}",
        ),
        ((LOSS,), SPACE, "looks for bleu instead of loss: {other}"),
        ((BLEU, LOSS), SPACE, "looks for bleu instead of bleu, loss: {other}"),
        (
            (LOSS,),
            (Dimension("model", choices=("gru",)),),
            "looks for bleu instead of loss; it has tried other values of model, {kept}: {other}",
        ),
    ],
)
def test_a_name_that_another_study_has(
    tmp_path: Path, goals: tuple[Goal, ...], space: tuple[Dimension, ...], told: str
) -> None:
    first = study(tmp_path, study_name="mine", n_trials=1)
    for trial in first.trials():
        first.tell(trial.number, end(1.0))
    with pytest.raises(ConfigError) as caught:
        study(tmp_path, *goals, space=space, study_name="mine")
    whole = f"hydra.sweeper.study_name: the study mine is there and {told}"
    assert str(caught.value).startswith(
        whole.format(kept="which cannot be changed", other="give this search another name")
    )


def test_a_named_study_may_have_other_ends_of_its_ranges(tmp_path: Path) -> None:
    first = study(tmp_path, study_name="mine", n_trials=1)
    for trial in first.trials():
        first.tell(trial.number, end(1.0))
    wider = (Dimension("++optimizer.lr", low=1.0, high=2.0, logarithmic=True), *SPACE[1:])
    second = study(tmp_path, space=wider, study_name="mine", n_trials=2)
    (trial,) = second.trials()
    assert 1.0 <= float(trial.overrides[1].partition("=")[2]) <= 2.0


def changed(folder: Path, *statements: str) -> None:
    """The database, by other hands."""
    with sqlite3.connect(folder / "optuna.db") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def test_a_database_that_fails_while_it_is_used(tmp_path: Path) -> None:
    found = study(tmp_path, n_trials=2)
    trials = found.trials()
    first = next(trials)
    changed(tmp_path, "drop table trial_values")
    told = (
        rf"^{tmp_path}/optuna\.db: the search cannot be kept there \(.*no such table: trial_values\); the same command"
    )
    with pytest.raises(UserError, match=told):
        found.tell(first.number, end(1.0))
    changed(tmp_path, "drop table trials")
    with pytest.raises(UserError, match="no such table: trials"):
        next(trials)
    with pytest.raises(UserError, match="no such table: trials"):
        found.best()


def test_a_database_of_another_version_of_optuna(tmp_path: Path) -> None:
    study(tmp_path)
    changed(
        tmp_path,
        "update version_info set schema_version = 1",
        "update alembic_version set version_num = 'v0.9.0.a'",
    )
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.storage: cannot be used \(The runtime optuna version"):
        study(tmp_path)


def test_addresses_are_told_without_their_passwords() -> None:
    assert _place("mysql://me:secret@there/studies") == "mysql://me:***@there/studies"
    assert _place("sqlite:////here/optuna.db?timeout=60") == "/here/optuna.db"


@pytest.mark.parametrize("prune", ["median", "hyperband"])
def test_no_run_of_the_first_ones_is_ended_early(tmp_path: Path, prune: str) -> None:
    """Each is worse than those before it."""
    found = study(tmp_path, n_trials=12, startup_trials=5, prune=prune)
    ended = []
    for trial in found.trials():
        assert trial.judge is not None
        judge = make_judge(trial.judge)
        ended.append(any(judge(step, {"bleu": 50.0 - trial.number}) for step in (1, 3, 9)))
        found.tell(trial.number, end(50.0 - trial.number, pruned=ended[-1]))
    assert ended[:5] == [False] * 5
    assert any(ended[5:])
