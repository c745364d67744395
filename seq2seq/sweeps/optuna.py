"""What is tried next, by Optuna; and which runs are not worth their end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seq2seq.errors import ConfigError, Problem, UserError
from seq2seq.registry import Family, NonNegativeInt, PositiveInt

log = logging.getLogger(__name__)

DIGITS = 4  # of a number that is tried
GOALS = "goals"  # in a study: the names of the scores
AGAIN = "again"  # in a trial: the number of the one that failed


@dataclass(frozen=True)
class Dimension:
    """The values of one key: a list, or a range with both ends. key: as Hydra takes it. step: None = any between."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    logarithmic: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Goal:
    """A score that a run ends with, and whether less of it is better."""

    name: str
    lower_is_better: bool


@dataclass(frozen=True)
class Trial:
    """What is tried. judge: what a job's process needs to have its run judged, as plain values; None = it is not."""

    number: int
    overrides: Sequence[str]
    judge: Mapping[str, Any] | None


@dataclass(frozen=True)
class Tried:
    """What came of a trial."""

    number: int
    overrides: Sequence[str]
    values: Sequence[float]


class Sweeper:
    """Chooses what a sweep tries, where it is not simply every combination."""


sweepers: Family[Sweeper] = Family("hydra/sweeper", Sweeper)


@sweepers.register("optuna")
class Optuna(Sweeper):
    """Looks for the best values of keys by Optuna: the tree-structured Parzen estimator (Bergstra et al. 2011), with
    runs that stay behind ended early. The same command goes on with what was tried before.

    Options:
        n_trials: how many runs, those of earlier starts included
        objectives: scores that shall be best, as [bleu] or [bleu, parameters]; null = what trainer.metric names
        sampler: tpe, or random
        startup_trials: so many are random, and none of them is ended early
        prune: median ends a run whose best so far is below the median of others at the same step; hyperband; none
        warmup_steps: no run is ended before this step
        seed: of what is tried
        study_name: null = made of the command line
        storage: null = optuna.db in the folder of the sweep; or an address that SQLAlchemy knows
        params: keys and what they may be, as on the command line: {optimizer.lr: 'tag(log, interval(1e-4, 1e-1))'}
    """

    def __init__(
        self,
        *,
        n_trials: PositiveInt = 20,
        objectives: list[str] | None = None,
        sampler: Literal["tpe", "random"] = "tpe",
        startup_trials: NonNegativeInt = 5,
        prune: Literal["median", "hyperband", "none"] = "median",
        warmup_steps: NonNegativeInt = 0,
        seed: int = 1,
        study_name: str | None = None,
        storage: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises ValueError where Optuna is missing."""
        try:
            import optuna
        except ImportError as error:
            raise ValueError("needs Optuna: pip install 'seq2seq[sweep]'") from error
        if objectives is not None and not objectives:
            raise ValueError("objectives: needs one at least; null means what trainer.metric names")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.n_trials = n_trials
        self.objectives = objectives
        self.sampler = sampler
        self.startup_trials = startup_trials
        self.prune = prune if objectives is None or len(objectives) == 1 else "none"
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.study_name = study_name
        self.storage = storage

    def study(self, space: Sequence[Dimension], fixed: Sequence[str], goals: Sequence[Goal], folder: Path) -> Study:
        """What was tried so far, and what shall be. fixed: the overrides of every run.

        Raises ConfigError where the storage cannot be used, or has a study of that name that is another one.
        """
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        folder.mkdir(parents=True, exist_ok=True)
        storage = self.storage or f"sqlite:///{folder.absolute()}/optuna.db?timeout=60"
        about = json.dumps([sorted(fixed), [vars(dimension) for dimension in space], [vars(goal) for goal in goals]])
        name = self.study_name or f"sweep-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["minimize" if goal.lower_is_better else "maximize" for goal in goals],
                pruner=self._pruner(),
                load_if_exists=True,
            )
            _check_is_same(study, space, goals)
            study.sampler = self._sampler(len(study.trials))
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ValueError, ImportError) as error:
            told = f"cannot be used ({_first_line(error)})"
            raise ConfigError(Problem("hydra.sweeper.storage", told)) from error
        pruner = {"prune": self.prune, "startup_trials": self.startup_trials, "warmup_steps": self.warmup_steps}
        judge = {"storage": storage, "study": name, "goal": goals[0].name, **pruner} if self.prune != "none" else None
        return Study(study, space, fixed, goals, self.n_trials, judge, _place(storage))

    def _sampler(self, tried: int) -> Any:
        """tried: so many trials are over, whose random numbers shall not come again."""
        import optuna

        seed = self.seed + tried
        if self.sampler == "random":
            return optuna.samplers.RandomSampler(seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.startup_trials, constant_liar=True)

    def _pruner(self) -> Any:
        return make_pruner(self.prune, self.startup_trials, self.warmup_steps)


def make_pruner(prune: str, startup_trials: int, warmup_steps: int) -> Any:
    import optuna

    if prune == "median":
        return optuna.pruners.MedianPruner(startup_trials, warmup_steps)
    if prune == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, warmup_steps))
    return optuna.pruners.NopPruner()


def _check_is_same(study: Any, space: Sequence[Dimension], goals: Sequence[Goal]) -> None:
    """Raises ConfigError where the study that was there looks for other scores, or among other kinds of values."""
    from optuna.distributions import check_distribution_compatibility

    names = [goal.name for goal in goals]
    there = study.user_attrs.get(GOALS, names)
    lower_is_better = [direction.name == "MINIMIZE" for direction in study.directions]
    faults = []
    if there != names:
        faults.append(f"looks for {', '.join(there)} instead of {', '.join(names)}")
    elif lower_is_better != [goal.lower_is_better for goal in goals]:
        faults.append(f"looks for other scores than {', '.join(names)}")
    trials = study.get_trials(deepcopy=False)
    for dimension in space:
        wanted = _distribution(dimension)
        try:
            for trial in trials:
                check_distribution_compatibility(trial.distributions.get(dimension.key, wanted), wanted)
        except ValueError:
            faults.append(f"has tried other values of {dimension.key.lstrip('+')}, which cannot be changed")
    if faults:
        told = f"the study {study.study_name} is there and {'; it '.join(faults)}: give this search another name"
        raise ConfigError(Problem("hydra.sweeper.study_name", told))
    if GOALS not in study.user_attrs:
        study.set_user_attr(GOALS, names)


class Study:
    """One search, that any number of starts may go on with. place: where it is kept.

    What needs its database raises UserError where that fails.
    """

    def __init__(
        self,
        study: Any,
        space: Sequence[Dimension],
        fixed: Sequence[str],
        goals: Sequence[Goal],
        n_trials: int,
        judge: Mapping[str, Any] | None,
        place: str,
    ) -> None:
        self.study = study
        self.space = space
        self.fixed = fixed
        self.goals = goals
        self.n_trials = n_trials
        self.judge = judge
        self.place = place

    @contextlib.contextmanager
    def _database(self) -> Iterator[None]:
        """Around what needs it."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OptunaError) as error:
            told = f"the search cannot be kept there ({_first_line(error.__cause__ or error)})"
            raise UserError(f"{self.place}: {told}; the same command goes on once it can") from error

    @property
    def num_over(self) -> int:
        """The trials that are over, without those that failed."""
        with self._database():
            return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in self.study.trials)

    def trials(self) -> Iterator[Trial]:
        """Those that an earlier start has left unfinished, or that failed there, each of these once more; then new
        ones.
        """
        with self._database():
            left = self._left()
        new = self.n_trials - self.num_over - len(left)
        for number in left:
            yield self._trial(number)
        for _ in range(new):
            yield self._trial()

    def _left(self) -> list[int]:
        """The trials that an earlier start has left unfinished; those that failed wait for `ask` to return them."""
        import optuna

        state = optuna.trial.TrialState
        earlier = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get(AGAIN) for trial in earlier}
        for trial in earlier:
            if trial.state == state.RUNNING and not trial.params:  # killed before it had values
                self.study.tell(trial.number, state=state.FAIL)
            elif trial.state == state.FAIL and trial.params and not {trial.number, *trial.user_attrs} & {*again, AGAIN}:
                self.study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
        return [trial._trial_id for trial in earlier if trial.state == state.RUNNING and trial.params]

    def _trial(self, left: int | None = None) -> Trial:
        """left: the id of an earlier one; None = a new one."""
        import optuna

        with self._database():
            trial = self.study.ask() if left is None else optuna.trial.Trial(self.study, left)
            chosen = [f"{dimension.key}={_suggest(trial, dimension)}" for dimension in self.space]
        judge = None if self.judge is None else {**self.judge, "trial": trial._trial_id}
        return Trial(trial.number, [*self.fixed, *chosen], judge)

    def tell(self, number: int, ended: Mapping[str, Any] | None) -> None:
        """ended: what ended.json of the run holds; None of a run that failed."""
        import optuna

        state = optuna.trial.TrialState
        values = [score_of(ended, goal.name) for goal in self.goals] if ended is not None else []
        with self._database():
            if ended is not None and ended["pruned"]:
                self.study.tell(number, state=state.PRUNED)
            elif not values or any(value is None for value in values):
                self.study.tell(number, state=state.FAIL)
            else:
                self.study.tell(number, values)

    def best(self) -> list[Tried]:
        """The best trial; of several goals, those that no other one beats in all."""
        import optuna

        with self._database():
            if not any(trial.state == optuna.trial.TrialState.COMPLETE for trial in self.study.trials):
                return []
            trials = [self.study.best_trial] if len(self.goals) == 1 else self.study.best_trials
        return [Tried(trial.number, _told(trial.params), list(trial.values)) for trial in trials]


def score_of(ended: Mapping[str, Any], name: str) -> float | None:
    """Of what ended.json holds; None where there is no such score."""
    value = ended["metrics"].get(name, ended.get(name))
    return None if value is None else float(value)


def _told(params: Mapping[str, Any]) -> list[str]:
    shown = {key: _number(value) if isinstance(value, float) else value for key, value in params.items()}
    return [f"{key.lstrip('+')}={value}" for key, value in shown.items()]


def _suggest(trial: Any, dimension: Dimension) -> str:
    key, like = dimension.key, _distribution(dimension)
    if dimension.choices:
        return str(trial.suggest_categorical(key, like.choices))
    if dimension.whole:
        return str(trial.suggest_int(key, like.low, like.high, step=like.step, log=like.log))
    return _number(trial.suggest_float(key, like.low, like.high, step=like.step, log=like.log))


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if dimension.whole:
        step = int(dimension.step or 1)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.logarithmic, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.logarithmic, step=dimension.step)


def _place(storage: str) -> str:
    """A file, or an address without its password."""
    from sqlalchemy.engine import make_url

    url = make_url(storage)
    return str(url.database) if url.drivername.startswith("sqlite") else url.render_as_string()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"


def make_judge(about: Mapping[str, Any]) -> Callable[[int, Mapping[str, float]], bool]:
    """Tells Optuna how a run stands after a validation, and whether it may end. about: a trial's `judge`.

    A database that does not answer ends no run.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials: list[Any] = []

    def opened() -> Any:
        if not trials:
            pruner = make_pruner(about["prune"], about["startup_trials"], about["warmup_steps"])
            study = optuna.load_study(study_name=about["study"], storage=about["storage"], pruner=pruner)
            trials.append(optuna.trial.Trial(study, about["trial"]))
        return trials[0]

    def is_hopeless(step: int, metrics: Mapping[str, float]) -> bool:
        if about["goal"] not in metrics:
            return False
        try:
            trial = opened()
            trial.report(metrics[about["goal"]], step)
            over = trial.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
            return len(over) >= about["startup_trials"] and bool(trial.should_prune())
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, KeyError) as error:
            log.warning("Optuna was not told of step %s (%s)", f"{step:,}", _first_line(error))
            return False

    return is_hopeless
