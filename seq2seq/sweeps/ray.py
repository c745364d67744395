"""Jobs of a Ray cluster, or of this machine by Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from seq2seq.registry import NonNegativeFloat, PositiveFloat
from seq2seq.sweeps.launcher import Launcher, LauncherError, Outcome, Task, Work, launchers

STORE = 100 * 2**20  # bytes; what jobs return is small


@launchers.register("ray")
class Ray(Launcher):
    """Jobs of a Ray cluster whose machines see the same disk, or of this machine.

    Options:
        num_cpus: cores of a job
        num_gpus: GPUs of a job, or a part of one
        init: what ray.init gets, as {address: auto}, which joins a cluster; without an address Ray starts here
    """

    def __init__(
        self,
        *,
        num_cpus: PositiveFloat = 1.0,
        num_gpus: NonNegativeFloat = 0.0,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises ValueError where Ray is missing."""
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ValueError("needs Ray: pip install 'seq2seq[ray]'") from error
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.init = dict(init or {})

    def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        usual = {"log_to_driver": False, "logging_level": "error"}
        here = {} if "address" in self.init else {"include_dashboard": False, "object_store_memory": STORE}
        try:
            ray.init(**{**usual, **here, **self.init})
        except (ConnectionError, TypeError, ValueError, RuntimeError) as error:
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise LauncherError(f"hydra.launcher: Ray does not start ({told})") from error
        try:
            self._run(ray, iter(tasks), done)
        finally:
            ray.shutdown()

    def _run(self, ray: Any, waiting: Iterator[Task], done: Callable[[Task, Outcome], None]) -> None:
        function = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0)(_work)
        running: dict[Any, Task] = {}
        self._check_room(ray)
        while True:
            for task in islice(waiting, max(0 if running else 1, self._room(ray) - len(running))):
                running[function.remote(task)] = task
            if not running:
                return
            ended, _ = ray.wait(list(running), timeout=1.0)
            for reference in ended:
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    outcome = Outcome(1, why=str(error).strip().splitlines()[0])
                done(running.pop(reference), outcome)

    def _room(self, ray: Any) -> int:
        """How many jobs the cluster can do at a time."""
        resources = ray.cluster_resources()
        room = int(resources.get("CPU", 0) // self.num_cpus)
        if self.num_gpus:
            room = min(room, int(resources.get("GPU", 0) / self.num_gpus))
        return room

    def _check_room(self, ray: Any) -> None:
        if not self._room(ray):
            needed = f"{self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs"
            raise LauncherError(f"hydra.launcher: Ray has no {needed} for a job")


def _work(task: Task) -> Outcome:
    return Work(in_worker=True)(task)
