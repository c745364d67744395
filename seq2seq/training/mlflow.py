"""MLflow."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.training.loggers import Logger, Start, check_installed, loggers
from seq2seq.training.reporters import Sample

log = logging.getLogger(__name__)

MOST_PARAMETERS = 100  # in one request
MOST_CHARACTERS = 6000  # of a parameter
SECRET = re.compile(r"(?<=://)[^/@]*:[^/]*@")  # user and password of an address
# A service that is down is waited for: at most a minute, and not the many of MLflow's own choice. It counts its users.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@loggers.register("mlflow")
class MLflow(Logger):
    """MLflow, by mlflow-skinny or mlflow.

    Options:
        tracking_uri: address of a server, or a file as in sqlite:///mlflow.db; null = what MLFLOW_TRACKING_URI says, or
            mlflow.db in the working directory
        experiment: what runs are shown together; made where it is missing
        tags: names and values to find the run by
    """

    def __init__(
        self,
        *,
        tracking_uri: str | None = None,
        experiment: str = "seq2seq",
        tags: dict[str, str] | None = None,
    ) -> None:
        check_installed("mlflow")
        if tracking_uri is not None and SECRET.search(tracking_uri):
            told = "holds a password, which the run would store: set the variable MLFLOW_TRACKING_URI instead"
            raise ValueError(f"tracking_uri: {told}")
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.tags = tags or {}
        self.client: Any = None
        self.run = ""

    @property
    def place(self) -> str:
        """Stored in the run, and so without what only the user should know."""
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        return f"{SECRET.sub('', uri)} {self.experiment}"

    def open(self, start: Start, known: str | None) -> str:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # which would tell of each try
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=self.tracking_uri)
        found = self._continued(known) if known is not None else None
        if found is None:
            found = self.client.create_run(self._experiment_id(), run_name=start.name, tags=self.tags)
        self.run = str(found.info.run_id)
        self._log_options(start.options, found.data.params)
        log.info("loggers.mlflow: run %s of the experiment %s", self.run, self.experiment)
        return self.run

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.run, metrics=[Metric(_name(name), v, now, step) for name, v in values.items()])

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        text = "\n".join(f"source:     {a}\nreference:  {b}\nhypothesis: {c}\n" for a, b, c in rows)
        self.client.log_text(self.run, text, f"samples/step_{step:08d}.txt")

    def image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        from PIL import Image

        self.client.log_image(self.run, Image.fromarray(pixels), f"{name}/step_{step:08d}.png")

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        self.scalars(step, values)

    def close(self, done: bool) -> None:
        if self.run:
            self.client.set_terminated(self.run, "FINISHED" if done else "KILLED")

    def _experiment_id(self) -> str:
        experiment = self.client.get_experiment_by_name(self.experiment)
        return str(self.client.create_experiment(self.experiment) if experiment is None else experiment.experiment_id)

    def _continued(self, known: str) -> Any:
        """None where the run has been deleted."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.update_run(known, status="RUNNING")
            return self.client.get_run(known)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"):
                raise
            return None

    def _log_options(self, options: Mapping[str, Any], had: Mapping[str, str]) -> None:
        """Parameters stay as they were at first; what has changed since is told by a tag."""
        from mlflow.entities import Param

        texts = {_name(key): str(value)[:MOST_CHARACTERS] for key, value in options.items()}
        new = [Param(key, text) for key, text in texts.items() if key not in had]
        for begin in range(0, len(new), MOST_PARAMETERS):
            self.client.log_batch(self.run, params=new[begin : begin + MOST_PARAMETERS])
        for key, text in texts.items():
            if had.get(key, text) != text:
                self.client.set_tag(self.run, key, text)


def _name(name: str) -> str:
    """As MLflow allows it."""
    return re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)
