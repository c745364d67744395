"""The sweeps of seq2seq-train: every combination of values, or a search by Optuna."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seq2seq.cli.compose import NOTHING, Job, Sweep
from seq2seq.cli.entry import check_all
from seq2seq.cli.sweep_jobs import End, SweepJobs, tell
from seq2seq.errors import ConfigError, Problem

if TYPE_CHECKING:
    from seq2seq.sweeps.launcher import Launcher
    from seq2seq.sweeps.optuna import Dimension, Goal, Optuna, Study

OF_HYDRA = ("_target_", "params")  # in its own launcher and sweeper
CHOICES = {
    "launcher": "a launcher: choose one, as hydra/launcher=joblib or hydra/launcher=submitit_slurm",
    "sweeper": "a sweeper: choose hydra/sweeper=optuna",
}
UNVALIDATED = ("parameters", "seconds")  # goals that no validation measures


def run_sweep(sweep: Sweep, command: list[str]) -> int:
    """The status of the first job that failed; 0 where none did."""
    from seq2seq.cli.train import check

    launcher, search = _parts(sweep)
    if search is not None:
        return _search(sweep, search, launcher, command)
    jobs = sweep.grid()
    check_all(jobs, check)
    work = SweepJobs(sweep, jobs[0], command, launcher, len(jobs))
    with work.alone(locked=launcher is not None):
        work.do((job, None) for job in jobs)
    return work.told()


def _parts(sweep: Sweep) -> tuple[Launcher | None, Optuna | None]:
    """The launcher, None for this process; and what searches, None for every combination.

    Raises ConfigError for wrong options of either.
    """
    given = {"launcher": sweep.launcher, "sweeper": sweep.sweeper}
    without_effect = [
        Problem(f"hydra.{key}.{option}", f"has no effect without {CHOICES[key]}")
        for key, node in given.items()
        if "name" not in node
        for option, value in node.items()
        if option not in OF_HYDRA and (option, value) != ("max_batch_size", None)
    ]
    if without_effect:
        raise ConfigError(*without_effect)
    given = {key: node for key, node in given.items() if "name" in node}  # Hydra's own have none
    if not given:
        return None, None
    from seq2seq.binding import bind
    from seq2seq.plugins import load_components
    from seq2seq.sweeps.options import SweepOptions

    load_components()
    try:
        options = bind(SweepOptions, given)
        launcher = options.launcher() if options.launcher is not None else None
        sweeper = options.sweeper() if options.sweeper is not None else None
    except ConfigError as error:
        raise ConfigError(*(problem.inside("hydra") for problem in error.problems)) from None
    return launcher, sweeper  # type: ignore[return-value]


def _search(sweep: Sweep, optuna: Optuna, launcher: Launcher | None, command: list[str]) -> int:
    from seq2seq.cli.train import check

    if not sweep.space:
        told = "nothing to search: give a key several values, as optimizer.lr=tag(log,interval(1e-4,1e-1))"
        raise ConfigError(Problem("hydra.sweeper.params", told))
    space = [_dimension(override) for override in sweep.space]
    for place in (0.0, 0.382):  # values between the ends, too: what takes whole numbers refuses them
        sample = sweep.make([*sweep.fixed, *(_at(dimension, place) for dimension in space)], 0)
        try:
            check(sample.tree)
        except ConfigError as error:
            raise _with_hint(error, space) from None
    work = SweepJobs(sweep, sample, command, launcher, optuna.n_trials)
    with work.alone(locked=True):
        study = optuna.study(space, sweep.fixed, _goals(sample.tree, optuna.objectives), work.folder)
        work.over = study.num_over
        lock = threading.Lock()
        numbers: dict[str, list[int]] = {}  # of the trials at work, by their runs: those of the same values share one

        def jobs() -> Iterator[tuple[Job, Mapping[str, Any] | None]]:
            for trial in study.trials():
                job = sweep.make(trial.overrides, trial.number)
                with lock:
                    sharing = numbers.setdefault(job.tree["run"], [])
                    sharing.append(trial.number)
                if len(sharing) == 1:
                    yield job, trial.judge

        def trained(job: Job, end: End) -> None:
            with lock:
                told = numbers.pop(job.tree["run"])
            for number in told:
                study.tell(number, end)
            work.over += len(told) - 1

        work.do(jobs(), trained)
    _tell_best(study)
    return work.told()


def _with_hint(error: ConfigError, space: Sequence[Dimension]) -> ConfigError:
    """On ranges of numbers, where whole ones were wanted."""
    ranges = {d.key.lstrip("+") for d in space if not d.choices and not d.whole and d.step is None}
    hint = "int(interval(...)) has whole numbers alone"
    told = [
        replace(problem, message=f"{problem.message}; {hint}")
        if problem.path in ranges and "whole" in problem.message
        else problem
        for problem in error.problems
    ]
    return ConfigError(*told)


def _tell_best(study: Study) -> None:
    best = study.best()
    if best and len(study.goals) > 1:
        tell(f"{len(best)} trials that no other one beats in all of {', '.join(goal.name for goal in study.goals)}:")
    for tried in best:
        scores = ", ".join(f"{goal.name} {value:.4g}" for goal, value in zip(study.goals, tried.values, strict=True))
        values = " ".join(tried.overrides)
        tell(f"best: {values}  ({scores})" if len(study.goals) == 1 else f"  {scores}: {values}")


def _dimension(override: Any) -> Dimension:
    """What Hydra has parsed. Raises ConfigError for a range that cannot be searched."""
    from seq2seq.sweeps.optuna import Dimension

    key, value = override.get_key_element(), override.value()
    logarithmic = "log" in getattr(value, "tags", ())
    if override.is_choice_sweep():
        choices = tuple(override.sweep_string_iterator())
        if not choices:
            raise ConfigError(Problem(key.lstrip("+"), NOTHING))
        return Dimension(key, choices=choices)
    if override.is_interval_sweep():
        low, high = value.start, value.end
        whole = isinstance(low, int) and isinstance(high, int)
        found = Dimension(key, low=low, high=high, logarithmic=logarithmic, whole=whole)
    else:
        steps = list(value.range())
        whole = all(isinstance(step, int) for step in steps)
        if len(steps) < 2:
            raise ConfigError(Problem(key.lstrip("+"), "the range has fewer than two values"))
        found = Dimension(key, low=min(steps), high=max(steps), step=abs(value.step), whole=whole)
    if logarithmic and found.step is not None:
        raise ConfigError(Problem(key.lstrip("+"), "steps have no logarithmic scale: tag(log,interval(...)) has"))
    if not found.low < found.high or (logarithmic and found.low <= 0):
        told = "should go from a smaller to a larger number" + (", both above 0, to be logarithmic" * logarithmic)
        raise ConfigError(Problem(key.lstrip("+"), told))
    return found


def _at(dimension: Dimension, place: float) -> str:
    """A value at a place from 0, the lowest or first one, to 1."""
    if dimension.choices:
        return f"{dimension.key}={dimension.choices[int(place * len(dimension.choices))]}"
    value = dimension.low + place * (dimension.high - dimension.low)
    if dimension.step is not None or dimension.whole:
        step = dimension.step or 1
        value = dimension.low + step * int((value - dimension.low) / step)
    return f"{dimension.key}={int(value) if dimension.whole else f'{value:.4g}'}"


def _goals(tree: dict[str, Any], names: list[str] | None) -> list[Goal]:
    """Raises ConfigError for a score that training does not measure, or not without validation data."""
    from seq2seq.config import bind_run
    from seq2seq.metrics.scores import watched_score
    from seq2seq.sweeps.optuna import Goal

    config = bind_run(tree)
    goals = []
    for name in names or [config.watched.name]:
        if name in UNVALIDATED:
            goals.append(Goal(name, lower_is_better=True))
            continue
        try:
            watched = watched_score(name, config.metrics, config.has_source)
        except ConfigError as error:
            problems = (replace(problem, path="hydra.sweeper.objectives") for problem in error.problems)
            raise ConfigError(*problems) from None
        goals.append(Goal(watched.name, watched.lower_is_better))
    wanted = [goal.name for goal in goals if goal.name not in UNVALIDATED]
    corpus = config.data()
    if wanted and corpus.split("validation") is None:
        told = f"is missing; the search looks for the best {', '.join(wanted)}, which is measured on it"
        raise ConfigError(Problem(corpus.key("validation"), told))
    return goals
