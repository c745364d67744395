"""From the words of a command line to the config of each job: Hydra composes, in our words, and leaves no files."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from seq2seq.cli.overrides import all_forgiving, collected, config_folder, explain, groups, in_our_words, placed
from seq2seq.errors import ConfigError, Problem

if TYPE_CHECKING:
    from omegaconf import DictConfig

UNPLACED = {"task", "recipe", "experiment", "debug", "sweep"}  # groups whose files lay their keys over the whole config
NOTHING = "nothing to try: what is typed has no value"
MAX_NAME = 120  # characters; file names have a limit


@dataclass(frozen=True)
class Job:
    """A composed config. overrides: those that tell it from the others of its sweep. name: what it is called there."""

    tree: dict[str, Any]
    overrides: str
    name: str


def compose_jobs(config_name: str) -> Job | Sweep | None:
    """The job of the command line, or a sweep (-m); None where a flag such as --cfg shows the config instead.

    Raises ConfigError with what is wrong in the words of the command line or in what they compose.
    """
    flags, overrides, extra_folder = _arguments(sys.argv[1:])
    folders = [config_folder(), *([extra_folder] if extra_folder else [])]
    known = groups(folders)
    known |= {f"{group}@{place}": known[group] for place, group in placed(folders).items()}
    if config_name != "train":
        outside = ("search", "data", "model", "tokenizer")
        changed = {"evaluate": (*outside, "metrics"), "translate": outside}
        known = {group: known[group] for group in changed.get(config_name, ())}
    given = all_forgiving(overrides, known)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the fault is told in our words
    chosen = "sweep" in known and any(override.startswith("sweep=") for override in given)
    if (flags.multirun or chosen) and not flags.show:
        named = flags.config_name or config_name
        return Sweep.composed(named, folders, given, known, with_run=config_name == "train")
    if config_name == "train" and not flags.show:
        _refuse_without_sweep(given)
    job = _one_job(config_name, flags.words, folders, given, known)
    if job is None or config_name != "train":
        return job
    return replace(job, tree=_continued(job.tree, given, known))


def _refuse_without_sweep(given: Sequence[str]) -> None:
    """Raises ConfigError for what says how to do many jobs, where there is one."""
    keys = (override.lstrip("+").partition("=")[0] for override in given)
    of_sweeps = [key for key in keys if re.match(r"hydra[./](launcher|sweeper)\b", key)]
    if of_sweeps:
        raise ConfigError(*(Problem(key, "is for a sweep: add -m, or sweep=...") for key in dict.fromkeys(of_sweeps)))


def _one_job(
    config_name: str, flags: Sequence[str], folders: Sequence[Path], given: list[str], known: Mapping[str, list[str]]
) -> Job | None:
    """None where a flag shows something instead."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    jobs: list[Job] = []
    faults: list[ConfigError] = []

    def take(composed: DictConfig) -> None:
        with collected(known, faults):  # not raised here: Hydra would add lines of its own
            jobs.append(_job(composed, HydraConfig.get(), given, known, with_run=config_name == "train"))

    sys.argv[1:] = [*flags, *given]
    with in_our_words(known), _composed_once():
        hydra.main(version_base="1.3", config_path=str(folders[0]), config_name=config_name)(take)()
    if faults:
        raise faults[0]
    return jobs[0] if jobs else None


@contextlib.contextmanager
def _composed_once() -> Iterator[None]:
    """Without the composition by which `hydra.main` looks whether a config asks for many jobs; it takes as long as the
    one that counts.
    """
    from hydra._internal.hydra import Hydra

    before = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = before  # type: ignore[method-assign]


def _loaded(config_name: str, folders: Sequence[Path], given: Sequence[str]) -> tuple[Any, DictConfig]:
    """Hydra's loader and what it composes, with Hydra's own node."""
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.utils import setup_globals
    from hydra.types import RunMode

    version.setbase("1.3")
    setup_globals()
    path = create_config_search_path(str(folders[0]))
    for folder in folders[1:]:
        path.prepend("command-line", f"file://{folder.absolute()}", anchor="schema")
    loader = ConfigLoaderImpl(path)
    return loader, loader.load_configuration(config_name, list(given), RunMode.MULTIRUN)


@dataclass(frozen=True)
class Sweep:
    """Several jobs of one command line. launcher, sweeper: their nodes of the config. fixed: the overrides that all
    jobs share, as Hydra takes them. space: those that the sweep varies, parsed by Hydra. make: of the job with these
    overrides and this number, which ${hydra:job.num} is.
    """

    launcher: Mapping[str, Any]
    sweeper: Mapping[str, Any]
    fixed: Sequence[str]
    space: Sequence[Any]
    make: Callable[[Sequence[str], int], Job]
    known: Mapping[str, list[str]]

    @classmethod
    def composed(
        cls,
        config_name: str,
        folders: Sequence[Path],
        given: list[str],
        known: Mapping[str, list[str]],
        *,
        with_run: bool,
    ) -> Sweep:
        """Raises ConfigError for what is wrong whatever a job's own overrides are."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.core.utils import env_override
        from omegaconf import OmegaConf, open_dict

        with in_our_words(known):
            loader, master = _loaded(config_name, folders, given)
            launcher, sweeper = (
                cast(dict[str, Any], OmegaConf.to_container(master.hydra[key], resolve=True))
                for key in ("launcher", "sweeper")
            )
            params = _flat(sweeper.get("params") or {})
            words = all_forgiving([f"{key}={value}" for key, value in params.items()], known)
            parsed = {
                override.get_key_element(): override
                for override in OverridesParser.create(loader).parse_overrides([*words, *given])
                if not override.is_hydra_override()
            }
        keys = {key.lstrip("+") for key, override in parsed.items() if override.is_sweep_override()}

        def make(overrides: Sequence[str], number: int) -> Job:
            with in_our_words(known), env_override(dict(master.hydra.job.env_set)):
                config = loader.load_sweep_config(master, list(overrides))
                with open_dict(config):
                    config.hydra.job.num = number
                    config.hydra.job.id = f"{number}"
                HydraConfig.instance().set_config(config)  # of which ${hydra:...} speaks
                settings = config.hydra
                with open_dict(config):
                    config.pop("hydra")
                return _job(config, settings, given, known, with_run=with_run, varied=keys)

        fixed = [f"{key}={x.get_value_element_as_str()}" for key, x in parsed.items() if not x.is_sweep_override()]
        space = [override for override in parsed.values() if override.is_sweep_override()]
        return cls(launcher, sweeper, fixed, space, make, known)

    def grid(self) -> list[Job]:
        """A job for each combination. Raises ConfigError with what is wrong in any, and where a key has no
        value or no end of values.
        """
        endless = [x for x in self.space if not x.is_discrete_sweep()]
        if endless:
            told = "a range without steps is for hydra/sweeper=optuna; otherwise list the values"
            raise ConfigError(*(Problem(override.key_or_group, told) for override in endless))
        with in_our_words(self.known):
            choices = [[f"{x.get_key_element()}={value}" for value in x.sweep_string_iterator()] for x in self.space]
        if empty := [x.key_or_group for x, values in zip(self.space, choices, strict=True) if not values]:
            raise ConfigError(*(Problem(key, NOTHING) for key in empty))
        jobs: list[Job] = []
        faults: list[ConfigError] = []
        for number, varied in enumerate(itertools.product(*choices)):
            with collected(self.known, faults):
                jobs.append(self.make([*self.fixed, *varied], number))
        if faults:
            raise ConfigError(*dict.fromkeys(problem for fault in faults for problem in fault.problems))
        return _without_twins(jobs)


def _without_twins(jobs: list[Job]) -> list[Job]:
    """Each job once. Raises ConfigError where different ones would have the same run."""
    found: dict[str, Job] = {}
    for job in jobs:
        run = job.tree.get("run", job.name)
        if found.setdefault(str((run, job.name)), job).tree != job.tree:
            raise ConfigError(
                Problem("run", f"two jobs of the sweep would be {run}: their values differ in signs alone")
            )
    return list(found.values())


def _job(
    composed: Any,
    settings: Any,
    given: list[str],
    known: Mapping[str, list[str]],
    *,
    with_run: bool,
    varied: Collection[str] | None = None,
) -> Job:
    """settings: Hydra's node. given: the overrides as Hydra got them. with_run: whether the tree says where the run is,
    or shall be. varied: of a sweep, the keys in which its jobs differ.
    """
    tree = _resolved(composed)
    if unplaced := UNPLACED & tree.keys():
        problem = "its YAML file should begin with the line '# @package _global_'"
        raise ConfigError(*(Problem(group, problem) for group in sorted(unplaced)))
    overrides = [override.lstrip("+") for override in settings.overrides.task]
    differing = [override for override in overrides if override.partition("=")[0] in (varied or ())]
    _leave_out_absent_parts(tree, settings.runtime.choices, overrides, known)
    name = told = " ".join(differing or overrides)
    if with_run:
        of_sweep = None if varied is None else (overrides, differing)
        tree["run"] = run_path(tree, settings.runtime.choices, of_sweep)
        name = f"run={tree['run']}"
    return Job(tree, told, name)


def _resolved(composed: Any) -> dict[str, Any]:
    """What refers to a value that is missing becomes some text: the check of the whole tells what is missing, and all
    other mistakes with it.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError

    while True:
        try:
            resolved = OmegaConf.to_container(composed, resolve=True)
        except InterpolationToMissingValueError as error:
            OmegaConf.update(composed, str(error.full_key), "what is missing")
            continue
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return found


@dataclass(frozen=True)
class Flags:
    """words: all of them, as typed. show: whether one asks to show something instead of doing the job. config_name: of
    another file than the command's own.
    """

    words: list[str]
    multirun: bool
    show: bool
    config_name: str | None


def _arguments(arguments: list[str]) -> tuple[Flags, list[str], Path | None]:
    """The flags, the rest in order, and the folder that --config-dir names. Raises ConfigError for a wrong flag."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    known, others = parser.parse_known_args(arguments)
    unknown = [argument for argument in others if argument.startswith("-")]
    if unknown:
        refuse(f"there is no flag {unknown[0]}")
    if known.experimental_rerun:
        refuse("--experimental-rerun reads a pickle, which can run any code; the same command again continues a run")
    if known.config_path:
        refuse("--config-path would hide the files that are there; --config-dir adds a folder to them")
    overrides = [*known.overrides, *others]
    flags = list(arguments)
    for override in reversed(overrides):  # flags first: the parser stops at a flag between overrides
        del flags[len(flags) - 1 - flags[::-1].index(override)]
    folder = Path(known.config_dir) if known.config_dir else None
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--config-dir: there is no folder {folder}")
    show = known.cfg or known.info or known.hydra_help or known.shell_completion
    return Flags(flags, known.multirun, bool(show), known.config_name), overrides, folder


def _continued(tree: dict[str, Any], given: list[str], known: Mapping[str, list[str]]) -> dict[str, Any]:
    """The config of the run that is to be continued with the typed values laid over it, where `run` and values are all
    that is typed and the run has a checkpoint; otherwise the tree as composed.

    Raises CheckpointError for a run that cannot be read, ConfigError for one with plugins that are not typed.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = {x.key_or_group: x for x in OverridesParser.create().parse_overrides(given)}
    if "run" not in overrides or any(x.is_delete() or "/" in key or key in known for key, x in overrides.items()):
        return tree

    from seq2seq.config import merge, read_stored
    from seq2seq.training.run_dir import RunDir

    run = RunDir(Path(tree["run"]).expanduser())
    if not run.has_checkpoints:
        return tree
    print(f"run={tree['run']}: what is not typed is as in its config.yaml", file=sys.stderr)
    typed = OmegaConf.create({})
    for key, override in overrides.items():
        if not key.startswith("hydra."):
            OmegaConf.update(typed, key, override.value(), force_add=True)
    try:
        values = OmegaConf.to_container(typed, resolve=True)
    except OmegaConfBaseException as error:
        raise explain(error, known) from error
    assert isinstance(values, dict)
    return merge(read_stored(run, tree), {str(key): value for key, value in values.items()})


def _leave_out_absent_parts(
    tree: dict[str, Any], choices: Mapping[str, str | None], overrides: list[str], known: Mapping[str, list[str]]
) -> None:
    """Takes away what an experiment says of a part that the chosen model does not have, as an encoder's dropout of a
    decoder-only one. What was typed stays, to be refused.
    """
    experiment, model = choices.get("experiment"), tree.get("model")
    if experiment is None or not isinstance(model, dict):
        return
    absent = [
        part
        for part, options in model.items()
        if f"model/{part}" in known.keys() - choices.keys() and isinstance(options, dict) and "name" not in options
    ]
    for part in absent:
        if not any(override.startswith(f"model.{part}") for override in overrides):
            del model[part]
            why = f"which model={choices.get('model')} does not have"
            print(f"experiment={experiment}: without its model.{part}, {why}", file=sys.stderr)


def run_path(
    tree: Mapping[str, Any], choices: Mapping[str, str | None], of_sweep: tuple[list[str], list[str]] | None
) -> str:
    """The run directory: as given, or named after the experiment or the model and the data; in a sweep, a folder for
    each job below it, named after the job's overrides: all of them but those that may change while a run goes on, or
    where that gets long, those that are varied.

    of_sweep: all overrides and those that are varied.
    """
    from seq2seq.training.run_dir import GROWING, is_free

    run = tree.get("run")
    if isinstance(run, list | dict):
        raise ConfigError(Problem("run", f"should be the name of a directory, but is {run!r}"))
    name = choices.get("experiment") or "-".join(
        choices.get(group) or str(dict(tree.get(group) or {}).get("name")) for group in ("model", "data")
    )
    if choices.get("debug"):
        name += f"-{choices['debug']}"  # not the place of the real run
    if of_sweep is None:
        return str(run or f"runs/{name}")
    overrides, varied = of_sweep
    lasting = [x for x in overrides if x in varied or not (is_free(key := x.partition("=")[0]) or key in GROWING)]
    named, short = (
        ",".join(sorted(override for override in some if not override.startswith(("run=", "sweep=", "~"))))
        for some in (lasting, varied)
    )
    if len(named) > MAX_NAME:
        named = f"{short[:MAX_NAME]}-{hashlib.sha256(named.encode()).hexdigest()[:8]}"
    named = re.sub(r"[^\w.,=+-]", "_", re.sub(r"['\"]", "", named))
    folder = run or (f"runs/{choices['sweep']}" if choices.get("sweep") else "runs")
    return f"{folder}/{named or name}"
