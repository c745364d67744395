"""What the three commands share: Hydra composes the config, mistakes become a few lines and an exit status."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seq2seq.errors import ConfigError, Problem, UserError, suggest


Job = Callable[[dict[str, Any], list[str]], None]


def run_command(command: str, config_name: str, job: Job, help_text: str) -> None:
    """Parses the command line with Hydra and calls `job` with the composed tree and the command line as typed, once for
    each job of a sweep.

    Never returns: exits with 0, with the status of the first fault, or with 130 after Ctrl-C.
    """
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print(help_text)
        sys.exit(0)
    status = 1
    try:
        status = _compose_and_run(command, config_name, job)
    except UserError as error:
        status = _tell(command, error)
    except KeyboardInterrupt:
        print(f"\n{command}: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: no second complaint at exit
        status = 141
    except OSError as error:
        status = _tell(command, UserError(f"{error.filename or 'a file'}: {error.strerror}"))
    sys.stdout.flush()
    sys.exit(status)


def _compose_and_run(command: str, config_name: str, job: Job) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    statuses: list[int] = []
    typed = [Path(sys.argv[0]).name, *sys.argv[1:]]

    def run_job(composed: DictConfig) -> None:
        # Faults are told here and not raised: Hydra would add lines of its own, and a sweep goes on with its other jobs.
        try:
            tree = OmegaConf.to_container(composed, resolve=True)
            assert isinstance(tree, dict)
            if config_name == "train":
                tree["run"] = run_path(tree.get("run"), HydraConfig.get())
            job({str(key): value for key, value in tree.items()}, typed)
            statuses.append(0)
        except UserError as error:
            statuses.append(_tell(command, error))
            if statuses[-1] > 128:  # a signal ends the sweep too
                raise SystemExit(statuses[-1]) from error
        except OmegaConfBaseException as error:
            statuses.append(_tell(command, ConfigError(str(error).splitlines()[0])))

    folders = [config_folder(), *_extra_folders(sys.argv[1:])]
    sys.argv[1:] = [forgiving(argument, folders) for argument in sys.argv[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that the fault is told in our words
    try:
        hydra.main(version_base="1.3", config_path=str(folders[0]), config_name=config_name)(run_job)()
    except HydraException as error:
        raise explain(error, folders) from error
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    return next((status for status in statuses if status), 0)


def _tell(command: str, error: UserError) -> int:
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        lines = [f"{command}: {len(error.problems)} mistakes in the config", *(f"  {p}" for p in error.problems)]
    else:
        lines = [f"{command}: {error}"]
    print("\n".join(lines), file=sys.stderr)
    return error.exit_status


def config_folder() -> Path:
    """The folder of the project's YAML files, in a wheel and in a checkout."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "configs"
    return packaged if packaged.is_dir() else here.parent / "configs"


def _extra_folders(arguments: list[str]) -> list[Path]:
    """What --config-dir names."""
    found = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("--config-dir", "-cd"):
            found.append(Path(following))
        elif argument.startswith("--config-dir="):
            found.append(Path(argument.partition("=")[2]))
    return found


def groups(folders: list[Path]) -> dict[str, list[str]]:
    """The config groups and the choices in each."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in sorted(folder.glob("*/**/*.yaml")):
            found.setdefault(file.parent.relative_to(folder).as_posix(), set()).add(file.stem)
    return {group: sorted(choices) for group, choices in sorted(found.items())}


def forgiving(argument: str, folders: list[Path]) -> str:
    """`key=value` as `++key=value`, so that an unknown key reaches our own check of the whole config, which knows what
    was meant. Groups, flags, Hydra's own keys and arguments with a prefix of their own stay as they are.
    """
    key, equals, _ = argument.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key) or key.split(".")[0] == "hydra":
        return argument
    return argument if any((folder / key).is_dir() for folder in folders) else f"++{argument}"


def explain(error: Exception, folders: list[Path]) -> ConfigError:
    """Hydra's complaint in our words."""
    message = str(error)
    known = groups(folders)
    missing = getattr(error, "missing_cfg_file", None)
    if missing and "/" in missing:
        group, _, choice = str(missing).removesuffix(".yaml").rpartition("/")
        if group in known:
            return ConfigError(Problem(group, f"no choice '{choice}'; {suggest(choice, known[group])}"))
    group_match = re.search(r"Could not override '([^']+)'", message)
    if group_match:
        group = group_match[1].partition("@")[0]
        return ConfigError(Problem(group, f"no such group; {suggest(group, known)}"))
    override = getattr(error, "override", None)
    if override:
        plain = str(override).removeprefix("++")
        if "=" not in plain:
            return ConfigError(f"'{plain}' is not of the form key=value; see --help")
        return ConfigError(
            Problem(plain.partition("=")[0], f"the value of '{plain}' cannot be read; quote it: '{_quoted(plain)}'")
        )
    return ConfigError(message.strip().splitlines()[0] if message.strip() else type(error).__name__)


def _quoted(override: str) -> str:
    key, _, value = override.partition("=")
    return f'{key}="{value}"'


def run_path(run: str | None, hydra_config: Any) -> str:
    """The run directory: as given, or named after the experiment or the model and the data; in a sweep, a folder for
    each job below it, named after the job's overrides.
    """
    from hydra.types import RunMode

    choices: Mapping[str, str | None] = hydra_config.runtime.choices
    name = choices.get("experiment") or f"{choices.get('model')}-{choices.get('data')}"
    if hydra_config.mode != RunMode.MULTIRUN:
        return run or f"runs/{name}"
    overrides = [override.lstrip("+") for override in hydra_config.overrides.task]
    own = ",".join(sorted(o for o in overrides if not o.startswith("run=")))
    own = re.sub(r"[^\w.,=+-]", "_", own)
    if len(own) > 150:  # file names have a limit
        own = f"{own[:140]}-{hashlib.sha256(own.encode()).hexdigest()[:8]}"
    return f"{run or 'runs'}/{own or name}"
