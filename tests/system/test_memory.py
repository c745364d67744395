"""What decides about memory, in whole runs: trainer.max_tokens=auto, and trainer.recompute."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.training import fitting

Command = Callable[..., Any]

STEPS = 6
LOOKING = "trainer.max_tokens=auto: looking for the largest batch that fits in memory\n"


@pytest.fixture
def tiny_transformer() -> tuple[str, ...]:
    """With dropout, and some checkpoints."""
    return (
        *("model=transformer_tiny", "model.encoder.d_model=16", "model.decoder.d_model=16", "tokenizer.vocab_size=400"),
        *("data.train=200", "data.validation=9", "data.test=1", "trainer.validate_every=3", "trainer.device=cpu"),
        *("trainer.validation_examples=5", "optimizer.lr=1e-2", "schedule.warmup=10", "trainer.num_threads=1"),
    )


def weights(run: str, step: int = STEPS) -> bytes:
    return Path(run, "checkpoints", f"step_{step:08}", "model.safetensors").read_bytes()


@pytest.fixture
def with_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Changes what the machine seems to have: enough for trials of so many examples."""

    class Room:
        def __init__(self, processes: int) -> None: ...

        def bounded(self, passes: Callable[[int], bool]) -> Callable[[int], bool]:
            return lambda number: number <= examples and passes(number)

    def change(number: int) -> None:
        nonlocal examples
        examples = number

    examples = 0
    monkeypatch.setattr(fitting, "_HostRoom", Room)
    return change


def test_what_auto_has_found_stays_the_run_s(
    command: Command, tiny_transformer: tuple[str, ...], with_memory: Callable[[int], None]
) -> None:
    auto = (*tiny_transformer, "trainer.max_tokens=auto")
    with_memory(13)
    whole = command("seq2seq-train", *auto, "run=whole", f"trainer.max_steps={STEPS}")
    assert whole.status == 0, whole.err
    found = int(Path("whole/max_tokens.txt").read_text())
    assert found % 13 == 0
    assert f"{LOOKING}trainer.max_tokens=auto: {found:,}\n" in whole.err
    assert f"of at most {found:,} tokens\n" in whole.err

    stopped = command("seq2seq-train", *auto, "run=parts", "trainer.max_steps=3")
    assert stopped.status == 0
    with_memory(5)
    for options in (auto, ()):
        continued = command("seq2seq-train", *options, "run=parts", f"trainer.max_steps={STEPS}")
        assert continued.status == 0, continued.err
        assert LOOKING not in continued.err
        assert f"trainer.max_tokens=auto: {found:,}, as this run has found before\n" in continued.err
    assert weights("parts") == weights("whole")

    given = command(
        "seq2seq-train", *tiny_transformer, f"trainer.max_tokens={found}", "run=given", f"trainer.max_steps={STEPS}"
    )
    assert given.status == 0
    assert not Path("given/max_tokens.txt").exists()
    assert weights("given") == weights("whole")
    assert command("seq2seq-evaluate", "run=whole", "split=validation").status == 0


def test_without_a_checkpoint_another_config_has_another_number(
    command: Command, tiny_transformer: tuple[str, ...], with_memory: Callable[[int], None]
) -> None:
    auto = (*tiny_transformer, "trainer.max_tokens=auto", "run=run", "trainer.max_steps=2")
    with_memory(0)
    refused = command("seq2seq-train", *auto)
    assert refused.status == 2
    assert "seq2seq-train: trainer.max_tokens: auto: not even one example as long as the longest (" in refused.err
    assert not Path("run/max_tokens.txt").exists()
    for examples, changed in ((4, ()), (7, ("trainer.seed=5",))):
        with_memory(examples)
        trained = command("seq2seq-train", *auto, *changed)
        assert trained.status == 0, trained.err
        found = int(Path("run/max_tokens.txt").read_text())
        assert found % examples == 0
        shutil.rmtree("run/checkpoints")


def test_ranks_search_too(tiny_transformer: tuple[str, ...], tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "seq2seq-train"), *tiny_transformer, "run=run"]
    command += ["trainer.devices=2", "trainer.max_tokens=auto", "trainer.max_steps=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = int((tmp_path / "run" / "max_tokens.txt").read_text())
    assert done.stderr.count(f"{LOOKING}trainer.max_tokens=auto: {found:,}\n") == 1


def test_a_run_may_recompute_for_a_part_of_its_way(command: Command, tiny_transformer: tuple[str, ...]) -> None:
    options = (*tiny_transformer, "trainer.max_tokens=300")
    whole = command("seq2seq-train", *options, "run=whole", f"trainer.max_steps={STEPS}")
    assert whole.status == 0, whole.err
    for recompute, steps in (("true", 3), ("false", STEPS)):
        part = command(
            "seq2seq-train", *options, "run=parts", f"trainer.recompute={recompute}", f"trainer.max_steps={steps}"
        )
        assert part.status == 0, part.err
    assert weights("parts", 3) == weights("whole", 3)
    assert weights("parts") == weights("whole")
