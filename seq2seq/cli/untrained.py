"""A pretrained model as it is, used without training: a run is made for it that holds what is needed beside weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from seq2seq.errors import ConfigError, Problem

log = logging.getLogger(__name__)

USUAL = {  # what such a run does not use, and what it is measured by
    "optimizer": {"name": "adamw"},
    "schedule": {"name": "constant"},
    "loss": {"name": "cross_entropy"},
    "trainer": {},
    "metrics": {"bleu": {}, "chrf": {}, "ter": {}},
}


def with_run(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree of a command with the run of `model`, where that is given. Raises ConfigError for a model that needs
    training.
    """
    rest = {key: value for key, value in tree.items() if key not in ("model", "tokenizer")}
    model = tree.get("model")
    if not model:
        return rest
    if model.get("name") != "pretrained":
        raise ConfigError(Problem("model", "is chosen when a run is trained, not here; but for model=pretrained"))
    path = str(model.get("path"))
    if path == "???":
        raise ConfigError(Problem("model.path", "is missing; it has to be given"))
    run = tree.get("run")
    place = Path(f"runs/{Path(path).name}" if run in (None, "???") else str(run)).expanduser()
    return rest | {"run": str(place), "data": None if tree.get("split") is None else tree.get("data")}


def make_run(tree: dict[str, Any], place: Path) -> None:
    """The run that `with_run` has named, if it is not there yet; nothing without a `model`.

    Raises ConfigError for a model that cannot be read, and for a run that is there and of another model.
    """
    if not tree.get("model"):
        return
    from seq2seq.config import bind_run, stored_form
    from seq2seq.text.pair import train_pair
    from seq2seq.training.run_dir import RunDir

    run = RunDir(place)
    model = dict(tree["model"])
    data = {"name": "text_files", "source": "source", "target": "target", **(tree.get("data") or {})}
    search = tree.get("search") or {}
    if "name" not in search:
        search = {"name": "beam", **search}
    given = {**USUAL, "model": model, "tokenizer": tree["tokenizer"], "data": data, "search": search}
    config = bind_run({**given, "plugins": tree.get("plugins") or []})
    if not config.model.options["architecture"]["config"].get("is_encoder_decoder"):
        config = bind_run({**given, "data": {**data, "source": None}, "plugins": tree.get("plugins") or []})
    with run.locked():
        if run.config.exists():
            there = run.read_config()["model"]
            if there.get("path") != config.model.options["path"] or not run.untrained.exists():
                of = f", of model.path={there['path']}" if "path" in there else ""
                raise ConfigError(Problem("run", f"{place} is a run of its own{of}: name another with run=..."))
        else:
            log.info("%s is made for the model as it is, with what is needed beside its weights", place)
        pair = train_pair(config.tokenizer, list if config.has_source else None, list)
        run.open_for_training(stored_form(config))
        pair.save(run.tokenizer)
        run.untrained.write_text("The model at model.path, as it is.\n", encoding="utf-8")
