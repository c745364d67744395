"""Two ranks, as a user starts them: killed, stopped, continued, and the same bits at the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
STEPS = 14
OPTIONS = [
    *["plugins=[moments]", "model=transformer_tiny", "data.train=200", "data.validation=9", "data.test=1"],
    *["tokenizer.vocab_size=400", "model.encoder.d_model=16", "model.decoder.d_model=16", "schedule.warmup=10"],
    *["optimizer.lr=0.01", "trainer.device=cpu", "trainer.precision=fp32", "trainer.num_threads=1"],
    *["trainer.max_tokens=400", "trainer.save_every=5", "trainer.validate_every=8", "trainer.log_every=3"],
    *["trainer.metric=chrf", "trainer.keep_last=2", "trainer.average=2"],
]
LAUNCH = [str(BIN / "seq2seq-train"), "trainer.devices=2"]
TORCHRUN = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--max-restarts", "1", "-m", "seq2seq.cli.train"]

# `MOMENT=KILL 1 7`: rank 1 sends itself SIGKILL within its 7th update, once. bf16 is computed on every CPU: without the
# instructions slowly.
PLUGIN = """
import os
import pathlib
import signal

import torch

name, rank, number = os.environ.get("MOMENT", "none 0 0").split()
done = pathlib.Path(os.environ.get("DONE", "done"))
calls = 0
original = torch.nn.utils.clip_grad_norm_


def watched(*arguments, **options):
    global calls
    calls += 1
    if calls == int(number) and rank == os.environ["RANK"] and not done.exists():
        done.touch()
        os.kill(os.getpid(), signal.Signals[f"SIG{name}"])
    return original(*arguments, **options)


torch.nn.utils.clip_grad_norm_ = watched
torch.cpu.get_capabilities = lambda: {"avx512_bf16": True}
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "moments.py").write_text(PLUGIN)
    return folder


def start(
    workplace: Path, run: str, *options: str, command: list[str] = LAUNCH, moment: str = "none 0 0", steps: int = STEPS
) -> subprocess.CompletedProcess[str]:
    """Of an end that nobody has asked for, in less than a minute after the moment: all of it takes no longer."""
    done = workplace / f"{run} {moment}".replace(" ", "_")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(workplace), "MOMENT": moment}
    arguments = [*command, *OPTIONS, f"run={workplace / run}", f"trainer.max_steps={steps}", *options]
    return subprocess.run(
        arguments, env={**environment, "DONE": str(done)}, capture_output=True, text=True, cwd=workplace
    )


def weights(workplace: Path, run: str, step: int = STEPS) -> bytes:
    return (workplace / run / "checkpoints" / f"step_{step:08}" / "model.safetensors").read_bytes()


def metrics(workplace: Path, run: str) -> list[dict[str, float]]:
    """Without what depends on the clock."""
    lines = map(json.loads, (workplace / run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def test_a_strategy_without_effect_is_told(command, tiny: tuple[str, ...]) -> None:
    told = command("seq2seq-train", *tiny, "run=alone", "trainer.strategy=fsdp", "trainer.max_steps=1")
    assert told.status == 0
    assert told.err.count("warning: trainer.strategy=fsdp has no effect on one process\n") == 1


@pytest.fixture(scope="module")
def whole(workplace: Path) -> str:
    """A run that nothing disturbed."""
    done = start(workplace, "whole")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return "whole"


def test_killed_and_continued_it_ends_with_the_same_bits(workplace: Path, whole: str) -> None:
    killed = start(workplace, "killed", moment="KILL 1 7")
    assert killed.returncode == 1
    assert killed.stderr.splitlines()[-1] == (
        "seq2seq-train: rank 1 was killed by SIGKILL, so the others were stopped; the same command continues from the "
        "newest checkpoint"
    )
    assert "Traceback" not in killed.stderr
    stopped = start(workplace, "killed", moment="INT 1 2")
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == "seq2seq-train: stopped at step 8 and saved; the same command continues"
    finished = start(workplace, "killed")
    assert finished.returncode == 0, finished.stderr
    assert "continuing at step 8" in finished.stderr
    assert weights(workplace, "killed") == weights(workplace, whole)
    assert metrics(workplace, "killed") == metrics(workplace, whole)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_compiled_and_in_bf16_it_ends_with_the_same_bits(strategy: str, workplace: Path) -> None:
    options = [f"trainer.strategy={strategy}", "trainer.precision=bf16", "trainer.compile=always"]
    assert start(workplace, f"whole {strategy}", *options).returncode == 0
    run = f"killed {strategy}"
    killed = start(workplace, run, *options, moment="KILL 1 7")
    assert killed.returncode == 1
    assert "rank 1 was killed by SIGKILL" in killed.stderr.splitlines()[-1]
    finished = start(workplace, run, *options)
    assert finished.returncode == 0, finished.stderr
    assert "continuing at step 5" in finished.stderr
    assert "parameters, bf16 on cpu" in finished.stderr
    assert "compiling the model's layers" in finished.stderr
    assert weights(workplace, run) == weights(workplace, f"whole {strategy}")
    assert metrics(workplace, run) == metrics(workplace, f"whole {strategy}")


@pytest.mark.slow
def test_torchrun_restarts_a_killed_rank_from_the_newest_checkpoint(workplace: Path, whole: str) -> None:
    done = start(workplace, "restarted", command=TORCHRUN, moment="KILL 0 7")
    assert done.returncode == 0, done.stderr
    assert "continuing at step 5" in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("seq2seq-train:")]
    assert told == [
        "seq2seq-train: lost another rank: its process has ended or its machine cannot be reached; the same command "
        "continues from the newest checkpoint"
    ]
    assert weights(workplace, "restarted") == weights(workplace, whole)
    assert metrics(workplace, "restarted") == metrics(workplace, whole)


@pytest.mark.slow
def test_two_machines_are_as_two_devices(workplace: Path, whole: str) -> None:
    """Two torchruns on this one stand for them."""
    port = 20000 + os.getpid() % 10000
    command = [*TORCHRUN[:1], "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", f"127.0.0.1:{port}", *TORCHRUN[-2:], *OPTIONS]
    command += [f"run={workplace / 'machines'}", f"trainer.max_steps={STEPS}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(workplace)}
    machines = [subprocess.Popen(command, env=environment, cwd=workplace, stderr=subprocess.PIPE) for _ in range(2)]
    told = [machine.communicate()[1].decode() for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    assert weights(workplace, "machines") == weights(workplace, whole)


@pytest.mark.slow
def test_fsdp_gives_the_same_run_and_one_process_goes_on_with_it(workplace: Path, whole: str) -> None:
    killed = start(workplace, "fsdp", "trainer.strategy=fsdp", moment="KILL 0 7")
    assert killed.returncode == 1
    assert "Traceback" not in killed.stderr
    assert "rank 0 was killed by SIGKILL" in killed.stderr.splitlines()[-1]
    done = start(workplace, "fsdp", "trainer.strategy=fsdp")
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(metrics(workplace, "fsdp"), metrics(workplace, whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    alone = start(workplace, "fsdp", command=LAUNCH[:1], steps=STEPS + 2)
    assert alone.returncode == 0, alone.stderr
    assert f"continuing at step {STEPS}" in alone.stderr
    translate = [str(BIN / "seq2seq-translate"), "plugins=[moments]", f"run={workplace / 'fsdp'}"]
    environment = {**os.environ, "PYTHONPATH": str(workplace)}
    translated = subprocess.run(translate, env=environment, input="a\nb\n", capture_output=True, text=True)
    assert translated.returncode == 0, translated.stderr
    assert translated.stdout.count("\n") == 2


@pytest.mark.slow
def test_mistakes_are_told_once(workplace: Path, whole: str) -> None:
    wrong = start(workplace, "wrong", "trainer.max_stepz=3")
    assert wrong.returncode == 2
    assert wrong.stderr == "seq2seq-train: trainer.max_stepz: unknown key; did you mean 'max_steps'?\n"
    other = start(workplace, whole, "trainer.seed=2")
    assert other.returncode == 2
    assert other.stderr.count("seq2seq-train:") == 1
    assert other.stderr.splitlines()[-1] == "  trainer.seed: was 1, but is 2"
