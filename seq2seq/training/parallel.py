"""The processes that train one model together: which of them this one is, and what they tell each other."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from seq2seq.errors import ConfigError, Problem, UserError
from seq2seq.training.interrupts import Interrupts

T = TypeVar("T")

LAUNCHED = "SEQ2SEQ_LAUNCHED"  # set where seq2seq-train itself has started the ranks and tells which of them died
# How long a rank may wait for another one, which may train a tokenizer or compile. It is not how a death is noticed:
# that closes the connections, and the next message fails at once.
PATIENCE = timedelta(hours=2)
ARRIVAL = timedelta(minutes=5)  # for all ranks to have started
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class RankLost(UserError):
    """Another rank has ended. Of all faults that a run may end with, this one tells the least."""


@dataclass
class Parallel:
    """The ranks of a run, of which this process is one. One process alone, the default, has no process group.

    Every method is called by all ranks, in the same order, or by none.
    store: what all ranks can reach as long as one of them, or torchrun, lives.  interrupts: the signals that the ranks
    tell each other of.
    """

    rank: int = 0
    world_size: int = 1
    ranks_here: int = 1  # on this machine
    store: Store | None = None
    interrupts: Interrupts | None = None

    @property
    def alone(self) -> bool:
        return self.world_size == 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files and tells the user."""
        return self.rank == 0

    def total(self, count: int) -> int:
        """Of all ranks. The same message tells of signals, so that all ranks stop after the same step.

        It goes from CPU to CPU, so that reading it waits for no kernel.
        """
        if self.alone:
            return count
        signals = self.interrupts.counts() if self.interrupts is not None else (0, 0)
        counts = self.sum(torch.tensor([count, *signals]))
        if self.interrupts is not None:
            self.interrupts.agree(int(counts[1]), int(counts[2]))
        return int(counts[0])

    def wait(self) -> None:
        """Until all ranks are here."""
        self.total(0)

    def sum(self, tensor: Tensor) -> Tensor:
        """A new tensor, on the same device."""
        if self.alone:
            return tensor
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, value: T) -> list[T]:
        """Of every rank its value, in the order of the ranks."""
        if self.alone:
            return [value]
        values: list[T] = [value] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def share(self, value: T) -> T:
        """The first rank's."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def copy_from_first(self, tensor: Tensor) -> None:
        """Fills the tensor with the first rank's."""
        if not self.alone:
            dist.broadcast(tensor, 0)

    def check_devices(self, devices: int | None, device: str) -> None:
        """Raises ConfigError where the options do not fit the processes that have been started."""
        problems = []
        if devices is not None and devices != self.ranks_here:
            told = f"is {devices}, but {self.ranks_here} were started on this machine; leave it out under torchrun"
            problems.append(Problem("trainer.devices", told))
        if not self.alone and ":" in device:
            told = f"is {device}, but each of {self.world_size} processes needs its own; set auto, cuda or cpu"
            problems.append(Problem("trainer.device", told))
        if not self.alone and device != "cpu" and 0 < torch.cuda.device_count() < self.ranks_here:
            told = f"is {self.ranks_here}, but this machine has {torch.cuda.device_count()} GPUs"
            problems.append(Problem("trainer.devices", told))
        if problems:
            raise ConfigError(*problems)

    def tells(self, error: UserError, run: str) -> bool:
        """Whether it is this rank that tells the user. Not a collective: ranks come here whenever they fail.

        Of a fault that all ranks have, the first to come tells it; of a lost rank one tells, and only where there is no
        better reason.
        """
        if self.store is None:
            return True
        lost = isinstance(error, RankLost)
        if lost and LAUNCHED in os.environ:
            return False
        board = PrefixStore(run, self.store)
        first_line = str(error).partition("\n")[0]
        try:
            if lost:
                return board.add("faults", 0) == 0 and board.add("lost", 1) == 1
            board.add("faults", 1)
            return board.add(hashlib.sha256(first_line.encode()).hexdigest(), 1) == 1
        except RuntimeError:  # the first rank kept the store: it has ended, and has told why
            return False


ALONE = Parallel()


@cache
def join() -> Parallel:
    """The ranks that torchrun's environment variables tell of; one process alone where there are none.

    They find each other once for all the runs of a sweep. Raises ConfigError where they do not.
    """
    environment = os.environ
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        return Parallel()
    if LAUNCHED in environment:
        _end_with_launcher()
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=ARRIVAL))
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(_local_rank(environment) % torch.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        place = ":".join(environment.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the ranks do not find each other at {place}: {reason}") from error
    ranks_here = int(environment.get("LOCAL_WORLD_SIZE", world_size))
    return Parallel(rank, world_size, ranks_here, PrefixStore("seq2seq", store))


def _local_rank(environment: Mapping[str, str]) -> int:
    return int(environment.get("LOCAL_RANK", environment["RANK"]))


def _end_with_launcher() -> None:
    """SIGTERM for this process when the one that started it is killed, where the system can do that."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def contact() -> Iterator[None]:
    """Within, what torch raises when a connection breaks becomes RankLost."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RankLost(
            "lost another rank: its process has ended or its machine cannot be reached; the same command continues "
            "from the newest checkpoint"
        ) from error
