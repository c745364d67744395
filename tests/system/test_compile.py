"""trainer.compile, by torch's own compiler: minutes, and a C++ compiler has to be there."""

import subprocess
import sys
from pathlib import Path

import pytest

STEPS = 7
OPTIONS = (
    *("model=transformer_tiny", "model.encoder.d_model=16", "model.decoder.d_model=16", "tokenizer.vocab_size=400"),
    *("model.encoder.num_layers=2", "model.decoder.num_layers=2", "data.train=200", "data.validation=9", "data.test=1"),
    *("trainer.validate_every=3", "trainer.device=cpu", "trainer.validation_examples=5", "trainer.max_tokens=600"),
    *("optimizer.lr=1e-2", "schedule.warmup=10", "trainer.num_threads=1", "trainer.compile=always"),
)


def train(folder: Path, *options: str) -> str:
    """What it told."""
    command = [sys.executable, "-m", "seq2seq.cli.train", *OPTIONS, *options]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("recompute", ["true", "false"])
def test_a_continued_run_has_the_same_bits(devices: int, recompute: str, tmp_path: Path) -> None:
    """In whatever number format the machine is fastest; with dropout."""
    options = (f"trainer.devices={devices}", f"trainer.recompute={recompute}")
    assert "compiling the model's layers" in train(tmp_path, *options, "run=whole", f"trainer.max_steps={STEPS}")
    for max_steps in (2, 5, STEPS):  # a process of its own each, which compiles anew
        train(tmp_path, *options, "run=parts", f"trainer.max_steps={max_steps}")
    weights = f"checkpoints/step_{STEPS:08}/model.safetensors"
    assert (tmp_path / "parts" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
