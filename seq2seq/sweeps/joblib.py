"""Several jobs at a time on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from queue import SimpleQueue

from seq2seq.registry import PositiveInt
from seq2seq.sweeps.launcher import Launcher, Outcome, Task, Work, launchers


@launchers.register("joblib")
class Joblib(Launcher):
    """Several jobs at a time on this machine, by joblib; each with its share of the cores, and a GPU where there are.

    Options:
        n_jobs: how many; null = one for each GPU, without GPUs for each core
    """

    def __init__(self, *, n_jobs: PositiveInt | None = None) -> None:
        """Raises ValueError where joblib is missing."""
        try:
            import joblib  # noqa: F401
        except ImportError as error:
            raise ValueError("needs joblib: pip install 'seq2seq[sweep]'") from error
        self.gpus = _visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.num_jobs = n_jobs or len(self.gpus) or cores
        self.threads = max(1, cores // self.num_jobs)

    def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
        from joblib import Parallel, delayed

        slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(self.num_jobs):
            slots.put(slot)

        def one(task: Task) -> None:
            slot = slots.get()
            try:
                outcome = Work(in_worker=False)(replace(task, environment=self._environment(slot, task.devices)))
            finally:
                slots.put(slot)
            done(task, outcome)

        # Threads are enough: each waits for a process.
        parallel = Parallel(n_jobs=self.num_jobs, backend="threading", batch_size=1, pre_dispatch="n_jobs")
        parallel(delayed(one)(task) for task in tasks)

    def _environment(self, slot: int, devices: int) -> dict[str, str]:
        variables = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus:
            own = (self.gpus[(slot * devices + device) % len(self.gpus)] for device in range(devices))
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(dict.fromkeys(own))
        return variables


def _visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    number = torch.cuda.device_count()
    return named.split(",")[:number] if named else [str(gpu) for gpu in range(number)]
