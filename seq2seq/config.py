"""The config of a run: bound from a plain tree, stored in the run, read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from torch.optim import Optimizer

from seq2seq.binding import bind, options_of, to_plain
from seq2seq.data.corpus import Corpus, corpora
from seq2seq.data.filters import Filter, Sieve
from seq2seq.data.reading import Reading, Side
from seq2seq.errors import CheckpointError, ConfigError, Problem
from seq2seq.metrics.base import Metric
from seq2seq.metrics.scores import USUAL, Watched, clashes, watched_score
from seq2seq.models.base import Model
from seq2seq.plugins import installed_plugins, load_components
from seq2seq.registry import Factory, NonNegativeInt, PositiveInt
from seq2seq.search.base import Search
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.training.loggers import Logger
from seq2seq.training.loss import Loss
from seq2seq.training.options import TrainerOptions
from seq2seq.training.run_dir import RunDir
from seq2seq.training.schedules import Schedule

OF_READING = ("template", "truncate", "max_source_tokens", "max_target_tokens")  # stay as in training
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that decides what a run does; the place of its directory is not part of it.

    elsewhere: what the user sets in another place, filters in data.filters, and so on.
    """

    elsewhere: ClassVar[tuple[str, ...]] = ("filters", "streaming", "workers", *OF_READING)

    model: Factory[Model]
    data: Factory[Corpus]
    tokenizer: Factory[Tokenizer]
    optimizer: Factory[Optimizer]
    schedule: Factory[Schedule]
    loss: Factory[Loss]
    search: Factory[Search]
    trainer: TrainerOptions
    metrics: Mapping[str, Factory[Metric] | None] = field(default_factory=dict)
    loggers: Mapping[str, Factory[Logger] | None] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    cache: str | None = None
    init_from: str | None = None
    filters: Mapping[str, Factory[Filter] | None] = field(default_factory=dict)
    streaming: bool = False
    workers: NonNegativeInt | None = None
    template: str | None = None
    truncate: Side = "right"
    max_source_tokens: PositiveInt | None = None
    max_target_tokens: PositiveInt | None = None

    @property
    def has_source(self) -> bool:
        """Whether the data is pairs, and not text alone."""
        return self.data().source is not None

    @property
    def reading(self) -> Reading:
        """What becomes of the texts before they are read."""
        limits = self.max_source_tokens, self.max_target_tokens
        return Reading(self.template, self.truncate, *limits, self.data().tags)

    def sieve(self, part: Corpus | None = None) -> Sieve:
        """The filters of the training data, of one of its parts. Raises ConfigError with every refusal."""
        made, problems = _made(self.filters)
        if problems:
            raise ConfigError(*map(_in_data, problems))
        return Sieve(made) if part is None else Sieve(made, part.tags, part.context)

    def measures(self) -> dict[str, Metric]:
        """The metrics that are asked for. Raises ConfigError with every refusal."""
        made, problems = _made(self.metrics)
        problems += clashes(self.metrics)
        languages = dict.fromkeys(part.target for part in self.data().parts.values())
        problems += [
            Problem(f"metrics.{key}", told)
            for key, metric in made.items()
            for language in languages
            for told in metric.problems(language)
        ]
        if problems:
            raise ConfigError(*problems)
        return made

    def chosen_loggers(self) -> dict[str, Logger]:
        """By their keys. Raises ConfigError with every refusal."""
        made, problems = _made(self.loggers)
        if problems:
            raise ConfigError(*problems)
        return made

    @property
    def watched(self) -> Watched:
        """The score that tells the best checkpoint. Raises ConfigError for one that training does not measure."""
        return watched_score(self.trainer.metric, self.metrics, self.has_source)


def _made(factories: Mapping[str, Factory[Made] | None]) -> tuple[dict[str, Made], list[Problem]]:
    """What is not null, by its name; and every refusal."""
    made: dict[str, Made] = {}
    problems: list[Problem] = []
    for name, factory in factories.items():
        try:
            made |= {name: factory()} if factory is not None else {}
        except ConfigError as error:
            problems += error.problems
    return made, problems


OF_THE_COMMAND = ("run", "check")  # keys of seq2seq-train that do not change what a run is


def bind_run(tree: Mapping[str, Any]) -> RunConfig:
    """Checks the whole tree. Raises ConfigError with every mistake in it."""
    plugins = _plugins(tree)
    load_components(plugins)
    changed = {key: value for key, value in tree.items() if key not in OF_THE_COMMAND} | {"plugins": plugins}
    if isinstance(data := tree.get("data"), Mapping):  # what is no option of the corpus, or not of it alone
        changed |= {key: data[key] for key in RunConfig.elsewhere if data.get(key) is not None}
        changed["data"] = {key: value for key, value in data.items() if key not in _not_of(data.get("name"))}
    try:
        bound = bind(RunConfig, changed)
        return replace(bound, model=_complete(bound.model))
    except ConfigError as error:
        told = [_in_data(problem) for problem in error.problems]
        raise ConfigError(*dict.fromkeys(told)) from None


def _complete(factory: Factory[Any]) -> Factory[Any]:
    """With the options that a component finds out for itself, so that a run has them for good."""
    options = {
        name: _complete(option) if isinstance(option, Factory) else option for name, option in factory.options.items()
    }
    complete = getattr(factory.component, "complete", None)
    try:
        return replace(factory, options=options if complete is None else complete(options))
    except ConfigError as error:
        raise ConfigError(*(problem.inside(factory.path) for problem in error.problems)) from error


def _not_of(corpus: Any) -> set[str]:
    """The keys of `data` that are no options of the corpus: some read as streams themselves."""
    component = corpora.components.get(str(corpus))
    return set(RunConfig.elsewhere) - (options_of(component).keys() if component is not None else set())


def _in_data(problem: Problem) -> Problem:
    elsewhere = problem.path.split(".")[0].split("[")[0] in RunConfig.elsewhere
    return replace(problem, path=f"data.{problem.path}") if elsewhere else problem


def _plugins(tree: Mapping[str, Any]) -> list[str]:
    given = tree.get("plugins") or []
    return [str(plugin) for plugin in (given if isinstance(given, list) else [given])]


def stored_form(config: RunConfig) -> dict[str, Any]:
    """The bound tree, every default filled in."""
    tree = dict(to_plain(config))
    tree["data"] |= {key: tree.pop(key) for key in RunConfig.elsewhere}
    return tree


def completed(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored tree with the defaults of options that are newer; as it is where it does not fit this version."""
    try:
        return stored_form(bind_run({"metrics": USUAL, **stored}))
    except ConfigError:
        return stored


def read_stored(run: RunDir, given: Mapping[str, Any]) -> dict[str, Any]:
    """The stored tree, found right. given: what the user has typed, for its `plugins`.

    Raises CheckpointError for a run that cannot be read, ConfigError for one with plugins that are not typed.
    """
    stored = {"metrics": USUAL, **run.read_config()}
    load_components(_plugins(given))
    # A run may come from a stranger: what its config names is imported only where the user has chosen it.
    trusted = {*_plugins(given), *installed_plugins().values()}
    unknown = [plugin for plugin in _plugins(stored) if plugin not in trusted]
    if unknown:
        names = ",".join(unknown)
        message = f"the run uses {names}, whose code runs when it is loaded; allow it: plugins=[{names}]"
        raise ConfigError(Problem("plugins", message))
    try:
        bind_run(stored)
    except ConfigError as error:
        raise CheckpointError(f"{run.config}: {error}") from error
    return stored


def read_run(run: RunDir, changes: Mapping[str, Any]) -> RunConfig:
    """A stored config, changed for this use: `search`, `metrics` and `data` may differ from those of training.

    Raises CheckpointError for a run that cannot be read, ConfigError for a change that is wrong.
    """
    stored = read_stored(run, changes)
    trained = bind_run(stored)
    changed = bind_run(_changed(stored, changes))
    if changed.has_source != trained.has_source:
        told = "with" if trained.has_source else "without"
        raise ConfigError(Problem("data.source", f"the run was trained on data {told} a source"))
    return changed


def read_data(run: RunDir, changes: Mapping[str, Any]) -> Corpus:
    """The data of a stored config, changed, to be read alone; unlike that of `read_run` with a source or without.

    Raises CheckpointError for a run that cannot be read, ConfigError for a change that is wrong.
    """
    return bind_run(_changed(read_stored(run, changes), changes)).data()


def _changed(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The stored tree with the changes laid over. Raises ConfigError where how the model reads is typed."""
    typed, old = changes.get("data"), stored["data"]
    other = [key for key in OF_READING if isinstance(typed, Mapping) and typed.get(key, old.get(key)) != old.get(key)]
    if other:
        raise ConfigError(*(Problem(f"data.{key}", "stays as in the run's training") for key in other))
    merged = merge(stored, changes)
    of_reading = {key: stored["data"][key] for key in OF_READING if key in stored["data"]}
    return {**merged, "data": {**merged["data"], **of_reading}}


def merge(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The stored tree with the changes laid over; a node that names another component replaces the old one."""
    merged = dict(stored)
    for key, value in changes.items():
        old = merged.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged
