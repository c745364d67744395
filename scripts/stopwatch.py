"""How the benchmarks take the time."""

import time
from collections.abc import Callable

import torch


class Stopwatch:
    """Measures one call at a time.

    With one CPU thread that is the process's own CPU time, which others at work on the machine change least; else it
    is the time on the wall, until a GPU has done its work.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.own_time = device.type == "cpu" and torch.get_num_threads() == 1
        self.name = "CPU time of the process" if self.own_time else "time on the wall"

    def __call__(self, work: Callable[[], object]) -> float:
        """Seconds."""
        start = self.now()
        work()
        return self.now() - start

    def now(self) -> float:
        if self.own_time:
            return time.process_time()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
