"""Loads the modules that register components: the project's own, and those of plugins."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

import seq2seq
from seq2seq.errors import ConfigError, Problem

ROOMS = ("text", "data", "models", "training", "search")


def load_components(plugins: Iterable[str] = (), untrusted: Path | None = None) -> None:
    """Imports every module that registers a component: of this package, of the entry-point group `seq2seq.plugins`, and
    the named ones. Raises ConfigError for a plugin that cannot be imported, or that lies in the folder `untrusted`.
    """
    for room in ROOMS:
        package = importlib.import_module(f"{seq2seq.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for entry in entry_points(group="seq2seq.plugins"):
        _load(f"the installed plugin '{entry.name}'", entry.value.partition(":")[0])
    for plugin in plugins:
        _load("plugins", plugin, untrusted)


def _load(path: str, module: str, untrusted: Path | None = None) -> None:
    try:
        inside = untrusted is not None and _lies_in(module, untrusted.resolve())
        if not inside:
            importlib.import_module(module)
    except Exception as error:  # a plugin is somebody else's code: whatever it raises is told, with its name
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise ConfigError(Problem(path, f"cannot import '{module}': {type(error).__name__}: {reason}")) from error
    if inside:
        raise ConfigError(Problem(path, f"'{module}' lies in {untrusted}, from where no code is run"))


def _lies_in(module: str, folder: Path) -> bool:
    """Asks for each parent package first, since to find a.b is to import a."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        spec = importlib.util.find_spec(".".join(parts[:end]))
        if spec is None:
            return False
        places = [spec.origin, *(spec.submodule_search_locations or [])]
        if any(Path(place).resolve().is_relative_to(folder) for place in places if place):
            return True
    return False
