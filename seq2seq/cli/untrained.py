"""A pretrained model as it is, used without training: a run is made for it that holds what is needed beside weights."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import ConfigError, Problem

if TYPE_CHECKING:
    from seq2seq.config import RunConfig
    from seq2seq.training.run_dir import RunDir

log = logging.getLogger(__name__)

WAIT = 120.0  # seconds for another process that loads the same model

USUAL = {  # what such a run does not use, and what it is measured by
    "optimizer": {"name": "adamw"},
    "schedule": {"name": "constant"},
    "loss": {"name": "cross_entropy"},
    "trainer": {},
    "metrics": {"bleu": {}, "chrf": {}, "ter": {}},
}


def with_run(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree of a command with the run of `model`, where that is given; a `model` that has moved stays, since it
    belongs to a run. Raises ConfigError for a model that needs training.
    """
    rest = {key: value for key, value in tree.items() if key not in ("model", "tokenizer")}
    model = tree.get("model")
    if not model:
        return rest
    if has_moved(tree):
        return rest | {"model": model}
    if model.get("name") != "pretrained":
        raise ConfigError(Problem("model", "is chosen when a run is trained, not here; but for model=pretrained"))
    if model.get("path") in (None, "???"):
        _bound(tree)  # which tells it, and what else is wrong
    run = tree.get("run")
    place = Path(f"runs/{Path(str(model.get('path'))).name}" if run in (None, "???") else str(run)).expanduser()
    return rest | {"run": str(place), "data": None if tree.get("split") is None else tree.get("data")}


def has_moved(tree: dict[str, Any]) -> bool:
    """Whether `model` belongs to the run that is given, and stands for none."""
    model = tree.get("model") or {}
    return "path" in model and "name" not in model and tree.get("run") not in (None, "???")


@contextmanager
def made_run(tree: dict[str, Any], place: Path) -> Iterator[None]:
    """The run that `with_run` has named is there while it is loaded, and stays as it is; nothing without a `model`.

    Raises ConfigError for a model that cannot be read, and for a run that is there and of another model.
    """
    if not tree.get("model") or has_moved(tree):
        yield
        return
    from seq2seq.training.run_dir import RunDir

    run = RunDir(place)
    config = _bound(tree)
    _check_is_of(run, config)
    with run.locked(wait=WAIT):
        _check_is_of(run, config)
        _make(run, config)
        yield


def _bound(tree: dict[str, Any]) -> RunConfig:
    """Raises ConfigError with every mistake in it."""
    from seq2seq.config import bind_run

    data = {"name": "text_files", "source": "source", "target": "target", **(tree.get("data") or {})}
    search = tree.get("search") or {}
    if "name" not in search:
        search = {"name": "beam", **search}
    given = {**USUAL, "model": tree["model"], "tokenizer": tree["tokenizer"], "data": data, "search": search}
    given["plugins"] = tree.get("plugins") or []
    config = bind_run(given)
    if config.model.options["architecture"]["config"].get("is_encoder_decoder"):
        return config
    return bind_run({**given, "data": {**data, "source": None}})


def _check_is_of(run: RunDir, config: RunConfig) -> None:
    """Raises ConfigError where the run is there and of something else."""
    if not run.config.exists():
        return
    there = run.read_config()["model"]
    if there.get("path") != config.model.options["path"] or not run.untrained.exists():
        of = f", of model.path={there['path']}" if "path" in there else ""
        raise ConfigError(Problem("run", f"{run.path} is a run of its own{of}: name another with run=..."))


def _make(run: RunDir, config: RunConfig) -> None:
    """Leaves alone what is there and right: another process may be reading it."""
    from seq2seq.config import stored_form
    from seq2seq.text.pair import train_pair

    pair, stored = train_pair(config.tokenizer, list if config.has_source else None, list), stored_form(config)
    if run.untrained.exists():
        with tempfile.TemporaryDirectory() as scratch:
            pair.save(Path(scratch, "tokenizer"))
            same_tokenizer = _files(Path(scratch, "tokenizer")) == _files(run.tokenizer)
        if same_tokenizer and run.read_config() == stored:
            return
    else:
        log.info("%s is made for the model as it is, with what is needed beside its weights", run.path)
    run.open_for_training(stored)
    pair.save(run.tokenizer)
    run.untrained.write_text("The model at model.path, as it is.\n", encoding="utf-8")


def _files(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
