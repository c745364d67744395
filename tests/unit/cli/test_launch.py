"""Small processes stand for the ranks."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from seq2seq.cli import launch as module
from seq2seq.cli.launch import is_rank, launch


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def ranks_do(monkeypatch: pytest.MonkeyPatch, *programs: str) -> list[subprocess.Popen[bytes]]:
    """The processes, once launched."""
    started: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def start(command: list[str], env: dict[str, str], **options: int) -> subprocess.Popen[bytes]:
        program = "import os, signal, sys, time; " + programs[int(env["RANK"])]
        started.append(original([sys.executable, "-I", "-S", "-c", program, *command], env=env, **options))
        return started[-1]

    monkeypatch.setattr(module.subprocess, "Popen", start)
    return started


def test_ranks_have_torchrun_s_environment_and_the_same_command_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "OMP_NUM_THREADS")
    program = f"""print(*(os.environ[name] for name in {names}), *sys.argv[2:], sep=" ", flush=True)"""
    ranks_do(monkeypatch, program, program, program)
    assert launch(3, ["seq2seq.cli.train", "model=lstm", "run=a b"]) == 0
    expected = [f"{rank} {rank} 3 3 127.0.0.1 2 -P -m seq2seq.cli.train model=lstm run=a b" for rank in range(3)]
    assert sorted(capfd.readouterr().out.splitlines()) == expected
    assert not is_rank()
    monkeypatch.setenv("RANK", "0")
    assert is_rank()


def test_when_a_rank_fails_those_that_go_on_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.5)
    started = ranks_do(monkeypatch, "time.sleep(100)", "sys.exit(3)")
    begun = time.monotonic()
    assert launch(2, []) == 3
    assert time.monotonic() - begun < 30
    assert started[0].returncode == -signal.SIGKILL


def test_a_signal_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(100)"
    started = ranks_do(monkeypatch, handle, "time.sleep(100)")  # the second has not come to a handler yet

    def send() -> None:
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send).start()
    assert launch(2, []) == 143
    assert [rank.returncode for rank in started][1] == -signal.SIGTERM


@pytest.mark.parametrize(
    ("statuses", "passed", "expected"),
    [
        ([0, 0], set(), 0),
        ([1, 4], set(), 4),  # the first one has lost the second one
        ([1, 1], set(), 1),
        ([130, 130], {signal.SIGINT}, 130),
        ([-2, 1], {signal.SIGINT}, 130),
        ([0, -15], {signal.SIGTERM}, 143),
    ],
)
def test_the_exit_status_is_the_ranks_own(
    statuses: Sequence[int], passed: set[int], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module._status(statuses, passed) == expected
    assert capsys.readouterr().err == ""


def test_a_killed_rank_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert module._status([1, -9, 1], set()) == 1
    assert capsys.readouterr().err == (
        "seq2seq-train: rank 1 was killed by SIGKILL, so the others were stopped; the same command continues from the "
        "newest checkpoint\n"
    )
