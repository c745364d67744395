"""The machine's memory: how much of it is free for this process, and how much this process has used. In bytes.

On Linux from /proc and from the limits of control groups; elsewhere what the system tells about itself.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
GROUPS = {  # of control groups, version 2 and 1: where they are mounted; limit, usage, and what of it is only a cache
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_memory(root: Path = ROOT) -> int:
    """What can be taken without swapping, and before a control group's limit ends the process."""
    found = _fields(root / "proc/meminfo").get("MemAvailable")
    if found is None:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(0, min([found, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> Iterator[int]:
    """Of each group that this process is in, and of those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in GROUPS.keys() & controllers.split(","):
            mount, limit_name, usage_name, cache_name = GROUPS[controller]
            group = Path(path.lstrip("/"))
            for folder in (group, *group.parents):
                try:
                    limit = int((root / mount / folder / limit_name).read_text())  # not a number: no limit
                    usage = int((root / mount / folder / usage_name).read_text())
                except (OSError, ValueError):
                    continue
                yield limit - usage + _fields(root / mount / folder / "memory.stat").get(cache_name, 0)


def resident_memory() -> int:
    """Of this process, now."""
    return _fields(ROOT / "proc/self/status").get("VmRSS", 0)


def forget_peak() -> None:
    """From here on peak_memory is that of what follows, where the system can do that."""
    with suppress(OSError):
        (ROOT / "proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most of this process at any moment."""
    found = _fields(ROOT / "proc/self/status").get("VmHWM")
    if found is not None:
        return found
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _fields(path: Path) -> dict[str, int]:
    """Of lines such as `VmRSS:  5 kB` or `inactive_file 5120`; empty where there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, *words = line.replace(":", " ").split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found
