"""What is free for this process, read from files as Linux has them, and what it has used."""

from pathlib import Path

import pytest
import torch

from seq2seq.training.host_memory import available_memory, forget_peak, peak_memory, resident_memory

MIB = 2**20


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """One with 900 MiB to take; this process is in the group /jobs/mine."""
    write(tmp_path / "proc/meminfo", f"MemTotal: 5000000 kB\nMemFree: 20 kB\nMemAvailable: {900 * 1024} kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group(folder: Path, limit: str, usage: int, cache: int) -> None:
    write(folder / "memory.max", limit)
    write(folder / "memory.current", f"{usage * MIB}\n")
    write(folder / "memory.stat", f"anon 7\ninactive_file {cache * MIB}\nactive_file 9\n")


def test_without_groups_it_is_what_the_system_says(machine: Path) -> None:
    assert available_memory(machine) == 900 * MIB


@pytest.mark.parametrize(("outer", "inner", "left"), [("max", 700, 250), (600, 700, 140), (600, "max", 140)])
def test_the_tightest_limit_around_counts(machine: Path, outer: object, inner: object, left: int) -> None:
    """Of the outer group 500 MiB are used, 40 of them by a cache, of the inner one 480 and 30."""
    write(machine / "proc/self/cgroup", "0::/jobs/mine\n")
    for name, limit, usage, cache in (("jobs", outer, 500, 40), ("jobs/mine", inner, 480, 30)):
        bytes_ = limit if limit == "max" else limit * MIB
        group(machine / "sys/fs/cgroup" / name, f"{bytes_}\n", usage, cache)
    assert available_memory(machine) == left * MIB


def test_in_a_container_the_group_is_the_root_of_what_is_mounted(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/of/the/host\n")
    group(machine / "sys/fs/cgroup", f"{80 * MIB}\n", 60, 5)
    assert available_memory(machine) == 25 * MIB


def test_version_1(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "9:name=systemd:/x\n5:cpu,memory:/jobs\n0::/\n")
    folder = machine / "sys/fs/cgroup/memory/jobs"
    write(folder / "memory.limit_in_bytes", f"{300 * MIB}\n")
    write(folder / "memory.usage_in_bytes", f"{200 * MIB}\n")
    write(folder / "memory.stat", f"inactive_file 3\ntotal_inactive_file {11 * MIB}\n")
    assert available_memory(machine) == 111 * MIB


def test_a_group_over_its_limit_leaves_nothing(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/\n")
    group(machine / "sys/fs/cgroup", f"{80 * MIB}\n", 90, 0)
    assert available_memory(machine) == 0


def test_elsewhere_it_is_the_memory_that_the_machine_has(tmp_path: Path) -> None:
    assert available_memory(tmp_path) > 100 * MIB


def test_here_there_is_some() -> None:
    assert 0 < available_memory() < 2**50


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget a peak")
def test_the_peak_is_that_of_what_follows() -> None:
    size = 200 * MIB
    torch.ones(size, dtype=torch.uint8)
    forget_peak()
    before = resident_memory()
    assert 10 * MIB < before <= peak_memory() < before + size / 2
    torch.ones(size, dtype=torch.uint8)
    assert 0.9 * size < peak_memory() - before < 1.5 * size
    assert resident_memory() < before + size / 2
