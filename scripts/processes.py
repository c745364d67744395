"""How the benchmarks run the adapters of scripts/peers, each in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
NOT_HERE = 69  # exit status of an adapter whose peer cannot do on this machine what was asked for; EX_UNAVAILABLE


class NotHereError(RuntimeError):
    """A peer says that it cannot do this on this machine."""


def run(module: str, python: Path, work: Mapping[str, Any], folder: Path, limit: float | None) -> dict[str, Any]:
    """Runs scripts/peers/<module>.py for at most `limit` seconds, if any, with as many threads as the work names.

    Returns what it found. Raises RuntimeError with the last line of its errors, NotHereError where that is no fault.
    """
    output, file = folder / "found.json", folder / "work.json"
    output.unlink(missing_ok=True)
    file.write_text(json.dumps({**work, "output": str(output), "started": time.time()}), encoding="utf-8")
    threads = str(work["threads"])
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [str(python), "-P", "-m", f"peers.{module}", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done in {limit:g} s; --limit sets it") from None
    if done.returncode or not output.exists():
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise NotHereError(reason) if done.returncode == NOT_HERE else RuntimeError(reason)
    return dict(json.loads(output.read_text(encoding="utf-8")))


def processor() -> str:
    """Its name, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
