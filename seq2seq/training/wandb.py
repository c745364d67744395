"""Weights & Biases."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seq2seq.training.loggers import Logger, Start, check_installed, loggers, reason_of
from seq2seq.training.reporters import Sample

log = logging.getLogger(__name__)


@loggers.register("wandb")
class WandB(Logger):
    """Weights & Biases, by wandb; `wandb login`, or the variable WANDB_API_KEY, says who you are.

    Options:
        project: where the run is shown
        entity: user or team of the project; null = the usual one of who is logged in
        mode: offline keeps everything in the run directory, from where `wandb sync` sends it
        group: what runs are shown together with
        tags: words to find the run by
        notes: a text about the run
    """

    def __init__(
        self,
        *,
        project: str = "seq2seq",
        entity: str | None = None,
        mode: Literal["online", "offline"] = "online",
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
    ) -> None:
        check_installed("wandb")
        self.project = project
        self.entity = entity
        self.mode = mode
        self.about = {"group": group, "tags": tags, "notes": notes}
        self.run: Any = None

    @property
    def place(self) -> str:
        return f"{self.entity or ''}/{self.project}"

    def open(self, start: Start, known: str | None) -> str:
        """Where the service cannot be reached, as if the mode were offline."""
        import wandb

        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            **self.about,
            "id": known or secrets.token_hex(4),
            "name": start.name,
            "dir": str(start.folder),
            "resume": "allow",
            "settings": wandb.Settings(console="off", silent=True),
        }
        try:
            self.run = wandb.init(mode=self.mode, **options)
        except Exception as error:
            if self.mode == "offline":
                raise
            told = "loggers.wandb: nothing is sent (%s); `wandb sync` sends what is kept in the run"
            log.warning(told, reason_of(error))
            wandb.teardown()  # its process still holds the id
            self.run = wandb.init(mode="offline", **options)
        self.run.config.update(dict(start.options), allow_val_change=True)
        # By a step of our own: W&B's counts its rows, and leaves out those of a step that it has had.
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        log.info("loggers.wandb: %s", self.run.dir if self.run.offline else self.run.url)
        return str(self.run.id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        import wandb

        table = wandb.Table(columns=["source", "reference", "hypothesis"], data=[list(row) for row in rows])
        self.run.log({"step": step, "samples": table})

    def image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        import wandb

        self.run.log({"step": step, name: wandb.Image(pixels)})

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        self.run.summary.update(dict(values))

    def close(self, done: bool) -> None:
        self.run.finish(exit_code=0 if done else 1)
