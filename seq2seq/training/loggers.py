"""Services that keep the numbers of many runs: what they share. Each has a file of its own."""

from __future__ import annotations

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2seq.registry import Family
from seq2seq.search.alignment import AttentionMap
from seq2seq.training.attention_image import draw
from seq2seq.training.checkpoint import write_replaced
from seq2seq.training.reporters import Option, Reporter, Sample

log = logging.getLogger(__name__)

MOST_CHARACTERS = 200  # of a reason


@dataclass(frozen=True)
class Start:
    """What a logger learns of a run when its training starts or goes on. name: that of its directory.

    folder: for what the logger keeps on this disk.  options: the hyperparameters.
    """

    name: str
    folder: Path
    options: Mapping[str, Option]


class Logger(ABC):
    """A service. Whatever it raises, training goes on without it.

    Its constructor raises ValueError where its library is missing, and asks nobody for anything.
    """

    @property
    @abstractmethod
    def place(self) -> str:
        """Where runs are kept: in another place a run is a new one."""

    @abstractmethod
    def open(self, start: Start, known: str | None) -> str:
        """Begins a run, or goes on with the known one, and returns its id: another one where that is not there."""

    @abstractmethod
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def samples(self, step: int, rows: Sequence[Sample]) -> None: ...

    @abstractmethod
    def image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """pixels: (height, width, 3)."""

    @abstractmethod
    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """The final scores."""

    @abstractmethod
    def close(self, done: bool) -> None:
        """done: whether training has come to its end."""


loggers: Family[Logger] = Family("loggers", Logger)


def check_installed(library: str) -> None:
    """Raises ValueError where it is not. A folder of that name in the working directory is none."""
    found = find_spec(library)
    if found is None or found.origin is None:
        raise ValueError(
            f"the library `{library}` is missing: pip install 'seq2seq[{library}]', or set null to do without"
        )


def reason_of(error: Exception) -> str:
    """In a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:MOST_CHARACTERS]


class LoggerReporter(Reporter):
    """Hands a logger each number once, however often training was killed and went on, and at first those that it has
    not had of what `history`, the run's metrics.jsonl, holds. A logger that fails is told of once and left alone until
    the next start.

    KEY.json in the run keeps the place and id of the logger's run, and of each name the last step that it has had.
    """

    def __init__(self, key: str, logger: Logger, start: Start, history: Path) -> None:
        self.key = key
        self.logger = logger
        self.file = start.folder / f"{key}.json"
        self.id: str | None = None
        self.steps: dict[str, int] = {}
        self.step = 0
        self.failed = False
        self.done = False
        self._try(lambda: self._open(start, history))

    def scalars(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        self.step = step
        told = {"seconds": seconds, **values}
        new = self._new(step, [name for name, value in told.items() if _is_number(name, value)])
        self._hand_over(step, new, lambda: self.logger.scalars(step, {name: told[name] for name in new}))

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        self._hand_over(step, self._new(step, ["samples"] if rows else []), lambda: self.logger.samples(step, rows))

    def attention(self, step: int, maps: Sequence[AttentionMap]) -> None:
        drawn = {f"attention/{n}": one for n, one in enumerate(maps, start=1) if one.target}
        for name in self._new(step, list(drawn)):
            self._hand_over(step, [name], lambda name=name: self.logger.image(step, name, draw(drawn[name])))  # type: ignore[misc]

    def finish(self, options: Mapping[str, Option], values: Mapping[str, float]) -> None:
        self.done = True
        finite = {name: value for name, value in values.items() if _is_number(name, value)}
        self._try(lambda: self.logger.summary(self.step, finite))

    def close(self) -> None:
        if self.failed:  # its run should not look as if it went on
            with suppress(Exception):
                self.logger.close(self.done)
        self._try(lambda: self.logger.close(self.done))

    def _open(self, start: Start, history: Path) -> None:
        start.folder.mkdir(parents=True, exist_ok=True)
        known, steps = _stored(self.file, self.logger.place)
        self.id = self.logger.open(start, known)
        self.steps = steps if self.id == known else {}
        self._store()
        for step, values in _history(history):
            new = {name: values[name] for name, value in values.items() if _is_number(name, value)}
            new = {name: new[name] for name in self._new(step, list(new))}
            self._hand_over(step, list(new), partial(self.logger.scalars, step, new), self._store_quickly)
            if self.failed:
                return
            self.step = max(self.step, step)
        self._store()

    def _new(self, step: int, names: Sequence[str]) -> list[str]:
        """The names whose value at this step has not been handed over."""
        return [name for name in names if step > self.steps.get(name, -1)]

    def _hand_over(
        self, step: int, names: Sequence[str], call: Callable[[], None], store: Callable[[], None] | None = None
    ) -> None:
        """Noted before, so that a kill in between leaves a gap, and never a number twice."""
        if self.failed or not names:
            return
        before = dict(self.steps)
        self.steps |= dict.fromkeys(names, step)
        self._try(store or self._store)
        self._try(call)
        if self.failed:
            self.steps = before
            with suppress(OSError):  # where the disk is what has failed
                self._store()

    def _store(self) -> None:
        write_replaced(self.file, self._state())

    def _store_quickly(self) -> None:
        """Not flushed to the disk: of a long history that would take minutes, and a kill loses nothing."""
        temporary = self.file.with_name(f".{self.file.name}.tmp")
        temporary.write_text(self._state(), encoding="utf-8")
        temporary.replace(self.file)

    def _state(self) -> str:
        return json.dumps({"place": self.logger.place, "id": self.id, "steps": self.steps}, indent=1) + "\n"

    def _try(self, call: Callable[[], object]) -> None:
        if self.failed:
            return
        try:
            call()
        except Exception as error:  # whatever a service may raise
            self.failed = True
            log.warning("loggers.%s fails, and training goes on without it: %s", self.key, reason_of(error))


def _is_number(name: str, value: float | None) -> bool:
    """Whether there is something to draw: neither a mark nor what metrics.jsonl has as null."""
    return value is not None and math.isfinite(value) and not name.endswith("validation/best")


def _stored(file: Path, place: str) -> tuple[str | None, dict[str, int]]:
    """The id of the run in that place, and the last steps it has had; None where there is none."""
    try:
        state = json.loads(file.read_bytes())
        if state["place"] == place:
            return str(state["id"]), {str(name): int(step) for name, step in state["steps"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None, {}


def _history(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    if path.exists():
        for line in path.read_bytes().splitlines():
            values = json.loads(line)
            yield values.pop("step"), values
