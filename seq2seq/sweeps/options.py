"""The part of a config that says how a sweep is done."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.registry import Factory
from seq2seq.sweeps.launcher import Launcher
from seq2seq.sweeps.optuna import Sweeper


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """launcher: None for one job after the other in this process. sweeper: None for every combination."""

    launcher: Factory[Launcher] | None = None
    sweeper: Factory[Sweeper] | None = None
