"""The run directory: all that a run is, complete for use on another machine.

config.yaml  command.txt  environment.json  max_tokens.txt  data_report.json  train.log  metrics.jsonl  tensorboard/
loggers/  tokenizer/  checkpoints/  evaluation/  ended.json
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import yaml

from seq2seq.errors import FULL, CheckpointError, ConfigError, Problem, UserError, listed

GROWING = ("trainer.max_steps", "trainer.max_epochs", "trainer.patience")  # limits, which a later start may raise
FREE = (  # what may change for a later start; another device, number of them or number of threads rounds differently
    "cache",
    "data.workers",
    "trainer.log_every",
    "trainer.save_every",
    "trainer.device",
    "trainer.devices",
    "trainer.strategy",
    "trainer.recompute",
    "trainer.num_threads",
    "trainer.keep_last",
    "trainer.keep_best",
    "trainer.average",
    "trainer.average_of",
    "trainer.samples",
)
FREE_GROUPS = ("loggers.",)  # with all of their keys
ABSENT = "absent"
MAX_TOLD = 8  # differences; of two unrelated configs there are dozens
BETWEEN_TRIES = 0.1  # seconds
FIRST_FILES = r"\.lock|\.config\.yaml\.\d+\.tmp"  # all that there is where a kill came before the config was stored
PACKAGES = ("torch", "numpy", "hydra-core", "sentencepiece", "sacrebleu", "datasets", "safetensors", "pydantic")


class RunDir:
    """Paths inside a run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.untrained = path / "untrained.txt"
        self.max_tokens = path / "max_tokens.txt"
        self.log = path / "train.log"
        self.data_report = path / "data_report.json"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.loggers = path / "loggers"
        self.tokenizer = path / "tokenizer"
        self.checkpoints = path / "checkpoints"
        self.evaluation = path / "evaluation"
        self.ended = path / "ended.json"

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is something to continue."""
        return any(self.checkpoints.glob("step_*"))

    def read_config(self) -> dict[str, Any]:
        """The stored config. Raises CheckpointError where this is no run directory or its config is broken."""
        if not self.path.is_dir():
            raise CheckpointError(f"{self.path}: no such run directory{_nearby_runs(self.path)}")
        try:
            stored = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.path}: not a run directory (it has no config.yaml)") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CheckpointError(f"{self.config}: cannot be read ({str(error).splitlines()[0]})") from error
        if not isinstance(stored, dict) or stored.pop("format", None) != 1:
            raise CheckpointError(
                f"{self.config}: should begin with 'format: 1'; not a config that this version stored"
            )
        return stored

    def open_for_training(
        self,
        config: Mapping[str, Any],
        free: Collection[str] = (),
        complete: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        """Stores the config; compares it first with the stored one of a run that has made something already.

        free: keys that may differ, beside those that always may.  complete: gives a config of an older version what it
        lacks.

        Raises ConfigError with the keys that differ and made a difference so far: a start that ended at a mistake in
        the config, or without memory, must not keep the mistake for ever.
        """
        if self.untrained.exists():  # nothing was made here that could not be made again
            shutil.rmtree(self.tokenizer, ignore_errors=True)
            self.untrained.unlink()
        if self.has_checkpoints:
            self._compare(config, complete(self.read_config()), "", free=free)
        elif self.tokenizer.exists():  # which was trained on what no filter has looked at yet
            filters = [key for key in flatten(self.read_config()) | flatten(config) if key.startswith("data.filters.")]
            free = [*free, *filters]
            self._compare(config, complete(self.read_config()), "tokenizer.", "data.", "init_from", free=free)
        text = yaml.safe_dump({"format": 1, **config}, sort_keys=False, allow_unicode=True, width=120)
        same = self.config.exists() and self.config.read_bytes() == text.encode()
        if not same and not self.has_checkpoints:
            for of_another in (self.max_tokens, self.data_report):
                of_another.unlink(missing_ok=True)
        _write(self.config, text)

    def read_max_tokens(self) -> int | None:
        """What `store_max_tokens` has stored. Raises CheckpointError where it is broken."""
        try:
            return int(self.max_tokens.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CheckpointError(f"{self.max_tokens}: should hold a whole number") from error

    def store_max_tokens(self, max_tokens: int) -> None:
        """The batches of a run with trainer.max_tokens=auto, for as long as its config stays the same."""
        _write(self.max_tokens, f"{max_tokens}\n")

    def read_end(self) -> dict[str, Any] | None:
        """What the run came to, where it has ended; None where it is not there or broken."""
        try:
            found = json.loads(self.ended.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "metrics" in found else None

    def store_end(self, end: Mapping[str, Any]) -> None:
        """limit: what ended it. pruned: whether it was ended early. metrics: those of the best checkpoint."""
        _write(self.ended, json.dumps(end, indent=1) + "\n")

    def is_finished(self, config: Mapping[str, Any], free: Collection[str] = ()) -> bool:
        """Whether a start with this config would find nothing left to do."""
        end = self.read_end()
        if end is None or not end["limit"] or end["pruned"] or not self.has_checkpoints:
            return False
        old, new = flatten(self.read_config()), flatten(config)
        return all(old.get(key) == new.get(key) or is_free(key, free) for key in old.keys() | new.keys())

    def _compare(
        self, given: Mapping[str, Any], stored: Mapping[str, Any], *prefixes: str, free: Collection[str]
    ) -> None:
        old, new = flatten(stored), flatten(given)
        problems = []
        for key in sorted(old.keys() | new.keys()):
            before, after = old.get(key, ABSENT), new.get(key, ABSENT)
            if before == after or is_free(key, free) or not key.startswith(prefixes):
                continue
            if (before, after) in ((ABSENT, None), (None, ABSENT)):  # an option that an older version did not have
                continue
            if key in GROWING and before is not ABSENT and after is not ABSENT:
                if after is None or (before is not None and after > before):
                    continue
                problems.append(Problem(key, f"was {_show(before)} and may grow, but is {_show(after)}"))
            else:
                problems.append(Problem(key, f"was {_show(before)}, but is {_show(after)}"))
        if problems:
            continuing = f"seq2seq-train run={self.path} continues it as it was, and " if self.has_checkpoints else ""
            more = [f"and {len(problems) - MAX_TOLD} more"] if len(problems) > MAX_TOLD else []
            told = f"the run {self.path} was started with another config: {continuing}another run=... trains this one"
            raise ConfigError(told, *problems[:MAX_TOLD], *more)

    @contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """Makes the folder, and keeps a second process that writes out of it. wait: seconds for one that is at work;
        infinity: as long as it works, which is told.

        Raises CheckpointError where it is at work longer, or where the folder is something else than a run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.config.exists() and not self._has_just_begun():
                raise CheckpointError(f"{self.path}: is not empty and not a run; name another folder with run=...")
            file = (self.path / ".lock").open("w")
        except OSError as error:
            kind = UserError if error.errno in FULL else CheckpointError
            raise kind(f"{self.path}: cannot be written ({error.strerror})") from error
        with file:
            deadline = time.monotonic() + wait
            told = False
            while not _locked(file):
                if wait == math.inf and not told:
                    print(f"{self.path}: another process is at work in this run; waiting for its end", file=sys.stderr)
                    told = True
                if time.monotonic() >= deadline:
                    doing = "at work" if wait or self.untrained.exists() else "training"
                    raise CheckpointError(f"{self.path}: another process is {doing} in this run")
                time.sleep(BETWEEN_TRIES)
            yield

    def _has_just_begun(self) -> bool:
        return all(re.fullmatch(FIRST_FILES, entry.name) for entry in self.path.iterdir())

    def record_start(self, command: Sequence[str]) -> None:
        """Adds the command line to command.txt and writes what it runs on to environment.json."""
        import torch

        now = datetime.now(UTC).isoformat(timespec="seconds")
        with (self.path / "command.txt").open("a", encoding="utf-8") as file:
            file.write(f"{now}  {shlex.join(command)}\n")
        environment = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "packages": {name: _version(name) for name in ("seq2seq", *PACKAGES)},
        }
        _write(self.path / "environment.json", json.dumps(environment, indent=1) + "\n")


def _locked(file: IO[str]) -> bool:
    """False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def is_free(key: str, free: Collection[str] = ()) -> bool:
    """Whether it may differ between two starts."""
    return key in FREE or key in free or key.startswith(FREE_GROUPS)


def flatten(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            flat |= flatten(value, name)
        else:
            flat[name] = value
    return flat


def _write(path: Path, text: str) -> None:
    """By a module that needs torch, which is slow to import, and not needed to read a run."""
    from seq2seq.training.checkpoint import write_replaced

    write_replaced(path, text)


def _show(value: Any) -> str:
    return "null" if value is None else str(value)


def _nearby_runs(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    runs = sorted(entry.name for entry in path.parent.iterdir() if (entry / "config.yaml").exists())
    return f"; in {path.parent} there are: {listed(runs, 8)}" if runs else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
