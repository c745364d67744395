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
from typing import Any, NoReturn, cast

from seq2seq.errors import ConfigError, Problem, suggest

UNPLACED = {"task", "recipe", "experiment", "debug", "sweep"}  # groups whose files lay their keys over the whole config
OURS = ("hydra.launcher.", "hydra.sweeper.")
MAX_NAME = 120  # characters; file names have a limit
NOTATION = re.compile(r"[\[\]{}()'\"\\]")  # lists, mappings, functions, quotes, escapes: meant as what they are
TEMPLATE = re.compile(r"[^'\"\\]*\{source\}[^'\"\\]*")  # a text with a place in it, not yet quoted
FOREIGN = re.compile(r"[^\w/+.$%*@?|:,\s-]", re.ASCII)  # what has no meaning outside quotes
PLACED = re.compile(r"^ *- /([\w/]+)@(\w+):", re.MULTILINE)  # in a defaults list
COMPLAINTS = {  # of Hydra, and what we say; the first group of the pattern is the key
    r"Could not override '(\w[\w/]*@[^']+)'": "is not chosen yet: +{name}=... chooses it",
    r"Could not override '([^'.@]+(?:@[\w.]+)?)'": "no such group; {hint}",
    r"Could not override '([^'@]+)": "unknown key",
    r"Could not delete '([^']+)'": "is not there, so it cannot be taken away",
    r"You must specify '([^']+)'": "has to be chosen; {choices}",
    r"force-add of config groups is not supported: '\+\+([^=]+)": "is chosen when a run is trained, not here",
    r"Multiple values for ([\w/]+)": "is chosen already; type it without '+', in YAML as '- override /{name}: ...'",
    r"Ambiguous value for argument '\+*([^=]+)=(.*)'": "'{0}' is more than one value: quote it, or write [{0}] for a "
    "list, or add -m to try each",
}


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
    given = _all_forgiving(overrides, known)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the fault is told in our words
    chosen = "sweep" in known and any(override.startswith("sweep=") for override in given)
    if (flags.multirun or chosen) and not flags.show:
        return Sweep.composed(config_name, folders, given, known)
    job = _one_job(config_name, flags.words, folders, given, known)
    if job is None or config_name != "train":
        return job
    return replace(job, tree=_continued(job.tree, given, known))


def _one_job(
    config_name: str, flags: Sequence[str], folders: Sequence[Path], given: list[str], known: Mapping[str, list[str]]
) -> Job | None:
    """None where a flag shows something instead."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    jobs: list[Job] = []
    faults: list[ConfigError] = []

    def take(composed: DictConfig) -> None:
        with collected(known, faults):  # not raised here: Hydra would add lines of its own
            jobs.append(_job(composed, HydraConfig.get(), given, known, with_run=config_name == "train"))

    sys.argv[1:] = [*flags, *given]
    with in_our_words(known):
        hydra.main(version_base="1.3", config_path=str(folders[0]), config_name=config_name)(take)()
    if faults:
        raise faults[0]
    return jobs[0] if jobs else None


@contextlib.contextmanager
def in_our_words(known: Mapping[str, list[str]]) -> Iterator[None]:
    """Raises what Hydra complains of as ConfigError."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise explain(error, known) from error


@contextlib.contextmanager
def collected(known: Mapping[str, list[str]], faults: list[ConfigError]) -> Iterator[None]:
    """Adds what is wrong to the faults."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except OmegaConfBaseException as error:
        faults.append(explain(error, known))
    except ConfigError as error:
        faults.append(error)


@dataclass(frozen=True)
class Sweep:
    """Several jobs of one command line. launcher, sweeper: their nodes of the config. fixed: the overrides that all
    jobs share, as Hydra takes them. space: those that the sweep varies, parsed by Hydra.
    """

    launcher: Mapping[str, Any]
    sweeper: Mapping[str, Any]
    fixed: Sequence[str]
    space: Sequence[Any]
    make: Callable[[Sequence[str]], Job]
    known: Mapping[str, list[str]]

    @classmethod
    def composed(
        cls, config_name: str, folders: Sequence[Path], given: list[str], known: Mapping[str, list[str]]
    ) -> Sweep:
        """Raises ConfigError for what is wrong whatever a job's own overrides are."""
        from hydra import initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.types import RunMode
        from omegaconf import OmegaConf, open_dict

        beside = [f"'file://{folder.absolute()}'" for folder in folders[1:]]
        search_path = [f"hydra.searchpath=[{','.join(beside)}]"] if beside else []
        with in_our_words(known):
            with initialize_config_dir(str(folders[0]), version_base="1.3"):
                loader = GlobalHydra.instance().config_loader()
            master = loader.load_configuration(config_name, [*search_path, *given], RunMode.MULTIRUN)
            launcher, sweeper = (
                cast(dict[str, Any], OmegaConf.to_container(master.hydra[key], resolve=True))
                for key in ("launcher", "sweeper")
            )
            params = _flat(sweeper.get("params") or {})
            words = _all_forgiving([f"{key}={value}" for key, value in params.items()], known)
            parsed = {
                override.get_key_element(): override
                for override in OverridesParser.create(loader).parse_overrides([*words, *given])
                if not override.is_hydra_override()
            }
        keys = {key.lstrip("+") for key, override in parsed.items() if override.is_sweep_override()}

        def make(overrides: Sequence[str]) -> Job:
            with in_our_words(known):
                config = loader.load_sweep_config(master, list(overrides))
                settings = config.hydra
                with open_dict(config):
                    config.pop("hydra")
                return _job(config, settings, given, known, with_run=config_name == "train", varied=keys)

        fixed = [f"{key}={x.get_value_element_as_str()}" for key, x in parsed.items() if not x.is_sweep_override()]
        space = [override for override in parsed.values() if override.is_sweep_override()]
        return cls(launcher, sweeper, fixed, space, make, known)

    def grid(self) -> list[Job]:
        """A job for each combination. Raises ConfigError with what is wrong in any, and where a key has no end of
        values.
        """
        endless = [x for x in self.space if not x.is_discrete_sweep()]
        if endless:
            told = "a range without steps is for hydra/sweeper=optuna; otherwise list the values"
            raise ConfigError(*(Problem(override.key_or_group, told) for override in endless))
        with in_our_words(self.known):
            choices = [[f"{x.get_key_element()}={value}" for value in x.sweep_string_iterator()] for x in self.space]
        jobs: list[Job] = []
        faults: list[ConfigError] = []
        for varied in itertools.product(*choices):
            with collected(self.known, faults):
                jobs.append(self.make([*self.fixed, *varied]))
        if faults:
            raise ConfigError(*dict.fromkeys(problem for fault in faults for problem in fault.problems))
        return jobs


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
    """words: all of them, as typed. show: whether one asks to show something instead of doing the job."""

    words: list[str]
    multirun: bool
    show: bool


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
    overrides = [*known.overrides, *others]
    flags = list(arguments)
    for override in reversed(overrides):  # flags first: the parser stops at a flag between overrides
        del flags[len(flags) - 1 - flags[::-1].index(override)]
    folder = Path(known.config_dir) if known.config_dir else None
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--config-dir: there is no folder {folder}")
    show = known.cfg or known.info or known.hydra_help or known.shell_completion
    return Flags(flags, known.multirun, bool(show)), overrides, folder


def config_folder() -> Path:
    """The folder of the project's YAML files, in a wheel and in a checkout."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "configs"
    return packaged if packaged.is_dir() else here.parent / "configs"


def groups(folders: list[Path]) -> dict[str, list[str]]:
    """The config groups and the choices in each."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in sorted(folder.glob("*/**/*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if file.stem in found.setdefault(group, set()):
                raise ConfigError(f"{file}: {group}={file.stem} is built in; give the file another name")
            found[group].add(file.stem)
    return {group: sorted(choices) for group, choices in sorted(found.items())}


def placed(folders: list[Path]) -> dict[str, str]:
    """The parts that are chosen from a group of another name, as a corpus's `data.text` from `data`."""
    found: dict[str, str] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            whole = ".".join(file.parent.relative_to(folder).parts)
            for group, part in PLACED.findall(file.read_text(encoding="utf-8")):
                found[f"{whole}.{part}"] = group
    return found


def _all_forgiving(overrides: list[str], known: Mapping[str, list[str]]) -> list[str]:
    """Raises ConfigError with what is wrong in any of them."""
    given: list[str] = []
    problems: list[Problem] = []
    for override in overrides:
        try:
            given += forgiving(override, known)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return given


def forgiving(override: str, known: Mapping[str, list[str]]) -> list[str]:
    """What Hydra gets in the place of what was typed. known: the groups that can be chosen.

    `key=value` becomes `++key=value`, so that an unknown key reaches our own check of the whole config, which knows
    what was meant. A value that Hydra takes in quotes only, for example with an umlaut or a `=` in it, gets them.
    `model.encoder.name=lstm` chooses as `model/encoder=lstm` does, so that nothing of the choice before is left over;
    `data.text.name=tsv` as `data@data.text=tsv`, for the part `text` is chosen from the group `data`.
    What has a prefix and Hydra's own keys stay as they are, but for those of launchers and sweepers.

    Raises ConfigError for a choice that a group does not have, which Hydra passes over where the group is optional, and
    where there is no key or no value.
    """
    key, equals, value = override.partition("=")
    if equals and not key:
        raise ConfigError(f"'{override}' has no key before the '='; see --help")
    if key in ("hydra/launcher", "hydra/sweeper"):
        choices = ["basic", *known.get(key, ())]
        if value not in choices:
            raise _no_choice(key, value, {key: choices})
        return [override]
    if equals and _is_option(key, known):
        raise ConfigError(Problem(key, f"is an option, not a group: type {key.replace('/', '.')}={value}"))
    is_plain = key in known or re.fullmatch(r"[A-Za-z_][\w./]*", key)
    is_hydra = re.split("[./]", key)[0] == "hydra" and not key.startswith(OURS)
    if not equals or not is_plain or is_hydra:
        return [override]
    if not value:
        raise ConfigError(Problem(key, f"has no value; {key}=null means none"))
    if key in known:
        return _chosen(key, value, known)
    part = key.removesuffix(".name")
    group = next((group for group in known if group.endswith(f"@{part}")), part.replace(".", "/"))
    if group in known and re.fullmatch(r"[\w,-]+", value):
        if all(choice in known[group] for choice in value.split(",")):
            return [f"{group}={value}"]
        return [f"~{group}", f"++{part}.name={value}"]  # a plugin without a YAML file
    if TEMPLATE.fullmatch(value) or (FOREIGN.search(value) and not NOTATION.search(value)):
        value = f"'{value}'"
    return [f"{key}={value}" if "/" in key else f"++{key}={value}"]


def _is_option(key: str, known: Mapping[str, list[str]]) -> bool:
    """Whether the key is that of an option, written like a group's."""
    group, slash, option = key.lstrip("+~").rpartition("/")
    has_subgroups = any(other.startswith(f"{group}/") for other in known)
    return bool(slash) and "@" not in key and ("." in option or (group in known and not has_subgroups))


def _chosen(group: str, value: str, known: Mapping[str, list[str]]) -> list[str]:
    """A choice, several for a sweep, or null."""
    if value == "null":
        return [f"~{group}"]
    if value.startswith("["):
        raise ConfigError(Problem(group, f"takes one choice, not a list; {suggest('', known[group])}"))
    if not NOTATION.search(value):
        for choice in value.split(","):
            if choice not in known[group]:
                raise _no_choice(group, choice, known)
    return [f"{group}={value}"]


def explain(error: Exception, known: Mapping[str, list[str]]) -> ConfigError:
    """A complaint of Hydra or OmegaConf in our words. known: the groups that can be chosen."""
    lines = (str(error).strip() or str(error.__cause__ or "").strip() or type(error).__name__).splitlines()
    message = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    if missing := getattr(error, "missing_cfg_file", None):
        group, _, choice = str(missing).removesuffix(".yaml").rpartition("/")
        if group in known:
            return _no_choice(group, choice, known)
    if found := re.search(r"resolving interpolation '(.+)', possible interpolation keys: (.*)", message):
        chosen = found[2].split(", ")
        names = [name for name in re.findall(r"\$\{(\w+)\}", found[1]) if name not in chosen]
        return ConfigError(*(Problem(name, "is missing; it has to be given") for name in names))
    if found := re.search(r"Missing mandatory value: ([\w.]+)", message):
        return ConfigError(Problem(found[1], "is missing; it has to be given"))
    if override := getattr(error, "override", None):
        plain = str(override).lstrip("+")
        key, equals, value = plain.partition("=")
        if not equals:
            return ConfigError(f"'{plain}' is not of the form key=value; see --help")
        return ConfigError(Problem(key, f"the value of '{plain}' cannot be read; quote it: '{key}=\"{value}\"'"))
    for pattern, words in COMPLAINTS.items():
        if found := re.search(pattern, message):
            name, *others = found.groups()
            if name in known and "{hint}" in words:  # model/encoder, where the model is made without one
                return ConfigError(Problem(name, "the chosen one has no such part"))
            choices = suggest("", known.get(name, ()))
            return ConfigError(
                Problem(name, words.format(*others, name=name, hint=suggest(name, known), choices=choices))
            )
    if mark := getattr(error, "problem_mark", None):
        return ConfigError(Problem(f"{mark.name}, line {mark.line + 1}", str(getattr(error, "problem", message))))
    if isinstance(error, UnicodeDecodeError):
        return ConfigError(f"--config-dir: a YAML file there is not UTF-8 ({message})")
    return ConfigError(Problem(getattr(error, "full_key", None) or "", message))


def _no_choice(group: str, choice: str, known: Mapping[str, list[str]]) -> ConfigError:
    return ConfigError(Problem(group, f"no choice '{choice}'; {suggest(choice, known[group])}"))


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
    each job below it, named after the job's overrides: all of them, or where that gets long, those that are varied.

    of_sweep: all overrides and those that are varied.
    """
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
    named, short = (
        ",".join(sorted(override for override in some if not override.startswith(("run=", "sweep=", "~"))))
        for some in of_sweep
    )
    if len(named) > MAX_NAME:
        named = f"{short[:MAX_NAME]}-{hashlib.sha256(named.encode()).hexdigest()[:8]}"
    named = re.sub(r"[^\w.,=+-]", "_", re.sub(r"['\"]", "", named))
    folder = run or (f"runs/{choices['sweep']}" if choices.get("sweep") else "runs")
    return f"{folder}/{named or name}"
