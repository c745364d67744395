"""What the three commands share: Hydra composes the config, mistakes become a few lines and an exit status."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from seq2seq import __version__
from seq2seq.errors import ConfigError, Problem, UserError, suggest

Job = Callable[[dict[str, Any], list[str]], None]

UNPLACED = {"recipe", "experiment", "debug"}  # groups whose files lay their keys over the whole config
MAX_NAME = 120  # characters; file names have a limit
NOTATION = re.compile(r"[\[\]{}()'\"\\]")  # lists, mappings, functions, quotes, escapes: meant as what they are
FOREIGN = re.compile(r"[^\w/+.$%*@?|:,\s-]", re.ASCII)  # what has no meaning outside quotes
COMPLAINTS = {  # of Hydra, and what we say; the first group of the pattern is the key
    r"Could not override '([^'.@]+)['@]": "no such group; {hint}",
    r"Could not override '([^'@]+)": "unknown key",
    r"Could not delete '([^']+)'": "is not there, so it cannot be taken away",
    r"You must specify '([^']+)'": "has to be chosen; {choices}",
    r"force-add of config groups is not supported: '\+\+([^=]+)": "is chosen when a run is trained, not here",
    r"Multiple values for ([\w/]+)": "is chosen already; type it without '+', in YAML as '- override /{name}: ...'",
    r"Ambiguous value for argument '\+*([^=]+)=(.*)'": "'{0}' is more than one value: quote it, or write [{0}] for a "
    "list, or add -m to try each",
}


def run_command(command: str, config_name: str, job: Job, help_text: str) -> None:
    """Parses the command line with Hydra and calls `job` with the composed tree and the command line as typed, once for
    each job of a sweep.

    Never returns: exits with 0, with the status of the first fault, or with 130 after Ctrl-C.
    """
    for flags, answer in ((("-h", "--help"), help_text), (("--version",), f"seq2seq {__version__}")):
        if any(argument in flags for argument in sys.argv[1:]):
            print(answer)
            sys.exit(0)

    def work() -> int:
        status = _compose_and_run(command, config_name, job)
        sys.stdout.flush()
        return status

    sys.exit(_status(command, work))


def _status(command: str, work: Callable[[], int]) -> int:
    """What `work` returns, or the status of the fault that ends it, which is told on stderr."""
    try:
        return work()
    except UserError as error:
        return _tell(command, error)
    except KeyboardInterrupt:
        print(f"\n{command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except OSError as error:
        if error.filename is None:
            _silence_stdout()
        return _tell(command, UserError(f"{error.filename or 'standard output'}: {error.strerror}"))
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; torch itself may not be imported yet
            raise
        return _tell(command, ConfigError("out of memory: lower max_tokens (of training: trainer.max_tokens)"))


def _silence_stdout() -> None:
    """What is still buffered cannot be written and would fail again at exit."""
    with contextlib.suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(command: str, error: UserError) -> int:
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        if error.problems[0].path:  # otherwise the first is what all the others are about
            lines.insert(0, f"{len(error.problems)} mistakes in the config")
        lines[1:] = [f"  {line}" for line in lines[1:]]
    print("\n".join([f"{command}: {lines[0]}", *lines[1:]]), file=sys.stderr)
    return error.exit_status


def _compose_and_run(command: str, config_name: str, job: Job) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    typed = [command, *sys.argv[1:]]
    flags, overrides, extra_folder = _arguments(sys.argv[1:])
    folders = [config_folder(), *([extra_folder] if extra_folder else [])]
    known = groups(folders)
    if config_name != "train":
        known = {"search": known["search"]}
    given = _all_forgiving(overrides, known)
    sys.argv[1:] = [*flags, *given]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the fault is told in our words
    begun = False
    statuses: list[int] = []

    def run_job(composed: DictConfig) -> None:
        # Faults are told here and not raised: Hydra would add lines of its own, and end a sweep at the first.
        nonlocal begun
        begun = True

        def work() -> int:
            try:
                resolved = OmegaConf.to_container(composed, resolve=True)
            except OmegaConfBaseException as error:
                raise explain(error, known) from error
            assert isinstance(resolved, dict)
            tree = {str(key): value for key, value in resolved.items()}
            if unplaced := UNPLACED & tree.keys():
                problem = "its YAML file should begin with the line '# @package _global_'"
                raise ConfigError(*(Problem(group, problem) for group in sorted(unplaced)))
            if config_name == "train":
                tree["run"] = run_path(tree, HydraConfig.get(), given)
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    print(f"{command}: run={tree['run']}", file=sys.stderr)
            job(tree, typed)
            return 0

        statuses.append(_status(command, work))
        if statuses[-1] > 128:  # a signal ends the sweep too
            raise SystemExit(statuses[-1])

    try:
        hydra.main(version_base="1.3", config_path=str(folders[0]), config_name=config_name)(run_job)()
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        if begun:
            raise
        raise explain(error, known) from error
    return next((status for status in statuses if status), 0)


def _arguments(arguments: list[str]) -> tuple[list[str], list[str], Path | None]:
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
    return flags, overrides, folder


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
    `model.encoder.name=lstm` chooses as `model/encoder=lstm` does, so that nothing of the choice before is left over.
    What has a prefix and Hydra's own keys stay as they are.

    Raises ConfigError for a choice that a group does not have, which Hydra passes over where the group is optional, and
    where there is no key or no value.
    """
    key, equals, value = override.partition("=")
    if equals and not key:
        raise ConfigError(f"'{override}' has no key before the '='; see --help")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w./]*", key) or re.split("[./]", key)[0] == "hydra":
        return [override]
    if not value:
        raise ConfigError(Problem(key, f"has no value; {key}=null means none"))
    if key in known:
        return _chosen(key, value, known)
    group = key.removesuffix(".name").replace(".", "/")
    if group in known and re.fullmatch(r"[\w,-]+", value):
        if all(choice in known[group] for choice in value.split(",")):
            return [f"{group}={value}"]
        return [f"~{group}", f"++{key.removesuffix('.name')}.name={value}"]  # a plugin without a YAML file
    if FOREIGN.search(value) and not NOTATION.search(value):
        value = f"'{value}'"
    return [f"{key}={value}" if "/" in key else f"++{key}={value}"]


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


def run_path(tree: Mapping[str, Any], hydra_config: Any, given: list[str]) -> str:
    """The run directory: as given, or named after the experiment or the model and the data; in a sweep, a folder for
    each job below it, named after the job's overrides: all of them, or where that gets long, those that are swept over.
    given: the overrides as Hydra got them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    run = tree.get("run")
    if isinstance(run, list | dict):
        raise ConfigError(Problem("run", f"should be the name of a directory, but is {run!r}"))
    choices: Mapping[str, str | None] = hydra_config.runtime.choices
    name = choices.get("experiment") or "-".join(
        choices.get(group) or str(dict(tree.get(group) or {}).get("name")) for group in ("model", "data")
    )
    if choices.get("debug"):
        name += f"-{choices['debug']}"  # not the place of the real run
    if hydra_config.mode != RunMode.MULTIRUN:
        return str(run or f"runs/{name}")
    parsed = OverridesParser.create().parse_overrides(given)
    swept = {override.get_key_element().lstrip("+") for override in parsed if override.is_sweep_override()}
    overrides = [override.lstrip("+") for override in hydra_config.overrides.task]
    overrides = sorted(override for override in overrides if not override.startswith(("run=", "~")))
    own = ",".join(overrides)
    if len(own) > MAX_NAME:
        digest = hashlib.sha256(own.encode()).hexdigest()[:8]
        varied = ",".join(override for override in overrides if override.partition("=")[0] in swept)
        own = f"{varied[:MAX_NAME]}-{digest}"
    own = re.sub(r"[^\w.,=+-]", "_", re.sub(r"['\"]", "", own))
    return f"{run or 'runs'}/{own or name}"
