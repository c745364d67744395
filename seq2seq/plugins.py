"""Loads the modules that register components: the project's own, and those of plugins."""

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from traceback import extract_tb
from types import TracebackType

import seq2seq
from seq2seq.errors import ConfigError, Problem

ROOMS = ("text", "data", "models", "training", "search", "metrics", "sweeps")
LOADED: set[str] = set()  # the plugins


def load_components(plugins: Iterable[str] = ()) -> None:
    """Imports every module that registers a component: of this package, of the entry-point group `seq2seq.plugins`, and
    the named ones. Raises ConfigError for a plugin that cannot be imported.
    """
    for room in ROOMS:
        package = importlib.import_module(f"{seq2seq.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name, plugin in installed_plugins().items():
        _load(f"the installed plugin '{name}'", plugin)
    for plugin in plugins:
        _load("plugins", plugin)


def installed_plugins() -> dict[str, str]:
    """The modules that installed packages declare, by the name of the entry point."""
    return {entry.name: entry.value.partition(":")[0] for entry in entry_points(group="seq2seq.plugins")}


def _load(path: str, module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # a plugin is somebody else's code: whatever it raises is told, with its name
        reason = (str(error).strip() or "no message").splitlines()[0]
        lines = [frame for frame in extract_tb(error.__traceback__) if frame.name == "<module>"]
        where = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
        message = f"cannot import '{module}': {type(error).__name__}: {reason}{where}"
        raise ConfigError(Problem(path, message)) from error
    LOADED.add(module)


def plugin_traceback(error: BaseException) -> TracebackType | None:
    """The error's traceback from the first frame in a plugin on; None where no plugin is in it."""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if any(module == plugin or module.startswith(f"{plugin}.") for plugin in LOADED):
            return trace
        trace = trace.tb_next
    return None
