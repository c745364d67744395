"""The words of a command line: what Hydra gets in their place, and what it complains of in our words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from seq2seq.errors import ConfigError, Problem, suggest

OURS = ("hydra.launcher.", "hydra.sweeper.")
NOTATION = re.compile(r"[\[\]{}()'\"\\]")  # lists, mappings, functions, quotes, escapes: meant as what they are
TEMPLATE = re.compile(r"[^'\"\\]*\{source\}[^'\"\\]*")  # a text with a place in it, not yet quoted
PLAIN_LIST = re.compile(r"\[[^\[\]{}()'\"\\]*\]")
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


def all_forgiving(overrides: list[str], known: Mapping[str, list[str]]) -> list[str]:
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
    if PLAIN_LIST.fullmatch(value):
        value = f"[{','.join(map(_quoted, value[1:-1].split(',')))}]"
    elif TEMPLATE.fullmatch(value) or (FOREIGN.search(value) and not NOTATION.search(value)):
        value = f"'{value}'"
    return [f"{key}={value}" if "/" in key else f"++{key}={value}"]


def _quoted(text: str) -> str:
    """One of a list, in quotes where Hydra needs them."""
    return f"'{text.strip()}'" if FOREIGN.search(text) else text


def _is_option(key: str, known: Mapping[str, list[str]]) -> bool:
    """Whether the key is that of an option, written like a group's."""
    group, slash, option = key.lstrip("+~").rpartition("/")
    has_subgroups = any(other.startswith(f"{group}/") for other in known)
    return bool(slash) and "@" not in key and ("." in option or (group in known and not has_subgroups))


def _chosen(group: str, value: str, known: Mapping[str, list[str]]) -> list[str]:
    """A choice, several for a sweep, or null."""
    if value == "null":
        return [f"~{group}"]
    if value.startswith("[") or (group == "sweep" and "," in value):
        raise ConfigError(
            Problem(
                group, f"takes one choice, not {'a list' if '[' in value else 'several'}; {suggest('', known[group])}"
            )
        )
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
            whole, _, part = name.rpartition("/")
            if name in known and whole and ("{hint}" in words or "taken away" in words):  # model/encoder
                return ConfigError(Problem(name, f"the chosen {whole.replace('/', '.')} has no part '{part}'"))
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
