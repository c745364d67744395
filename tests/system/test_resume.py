"""A run that was killed or stopped, at any moment and however often, ends with the same bits as one that was not."""

import fcntl
import json
import os
import random
import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

STEPS = 30
COMMAND = [
    str(Path(sys.executable).parent / "seq2seq-train"),
    *["plugins=[moments]", "tokenizer.vocab_size=400"],
    *["model.encoder.d_model=16", "model.decoder.d_model=16", "optimizer.lr=0.01", "schedule.warmup=10"],
    *["trainer.device=cpu", "trainer.precision=fp32", "trainer.num_threads=1", "trainer.max_tokens=400"],
    *["trainer.save_every=5", "trainer.validate_every=8", "trainer.log_every=3", "trainer.metric=chrf"],
    *["trainer.keep_last=2", "trainer.average=2"],
]
DEMO = ["data.train=300", "data.validation=12", "data.test=1"]
MIXTURE = [  # what is made anew at each loading: noise, and subwords
    *["model=transformer_tiny", "data=mixture", "tokenizer.sampling=0.1", "data.workers=0"],
    *["data.parts.pairs.name=demo", *(option.replace("data.", "data.parts.pairs.") for option in DEMO)],
    *["data.parts.noisy.name=denoising", "data.parts.noisy.noise.name=word_noise", "data.parts.noisy.text.name=demo"],
    *["data.parts.noisy.text.train=90", "data.parts.noisy.text.validation=3", "data.parts.noisy.text.test=1"],
    *["data.weights.pairs=2", "data.weights.noisy=1", "data.tags.noisy=<noisy>"],
]
FAMILIES = {
    "transformer": ["model=transformer_tiny", "trainer.precision=bf16", *DEMO],
    "lstm": ["model=lstm_tiny", *DEMO],
    "mixture": MIXTURE,
    "streamed mixture": [*MIXTURE, "data.streaming=true"],
}

# A plugin, since `plugins` is part of the config: every start has the same command line, and the moment comes from the
# environment: `KILL update 7` sends SIGKILL to the process itself within its 7th update. bf16 is computed on every CPU:
# without the instructions slowly.
PLUGIN = """
import os
import signal

import torch

from seq2seq.text import pair
from seq2seq.training import checkpoint, evaluator

*signals, place, number = os.environ.get("MOMENT", "none 0").split()
calls = 0
torch.cpu.get_capabilities = lambda: {"avx512_bf16": True}


def write_half(path, content):
    path.write_bytes(content[: len(content) // 2])


def at(owner, name, before=lambda *arguments: None):
    original = getattr(owner, name)

    def watched(*arguments, **options):
        global calls
        calls += 1
        if calls == int(number):
            before(*arguments)
            for name in signals:
                os.kill(os.getpid(), signal.Signals[f"SIG{name}"])
        return original(*arguments, **options)

    setattr(owner, name, watched)


if place == "update":
    at(torch.nn.utils, "clip_grad_norm_")
elif place == "validation":
    at(evaluator, "teacher_forced")
elif place == "write":
    at(checkpoint, "write_synced", write_half)
elif place == "pointer":
    at(checkpoint, "_point")
elif place == "tokenizer":
    at(pair, "flush")
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    (folder / "moments.py").write_text(PLUGIN)
    return folder


class Run:
    """A run directory, and the command that trains in it."""

    def __init__(self, workplace: Path, name: str, family: str) -> None:
        self.workplace = workplace
        self.path = workplace / name
        self.command = [*COMMAND, *FAMILIES[family], f"run={self.path}"]

    def start(self, moment: str = "none 0", max_steps: int = STEPS) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MOMENT": moment, "PYTHONPATH": str(self.workplace)}
        command = [*self.command, f"trainer.max_steps={max_steps}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.workplace)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stdout == ""
        return done

    def finish(self, max_steps: int = STEPS) -> str:
        done = self.start(max_steps=max_steps)
        assert done.returncode == 0, done.stderr
        return done.stderr

    @property
    def newest(self) -> int:
        """The step of the newest checkpoint."""
        return max((int(folder.name[5:]) for folder in self.path.glob("checkpoints/step_*")), default=0)

    def weights(self, step: int = STEPS) -> bytes:
        return (self.path / "checkpoints" / f"step_{step:08}" / "model.safetensors").read_bytes()

    def checkpoints(self) -> dict[str, object]:
        """All that lies there: the pointers' texts, and the scores of each checkpoint."""
        found: dict[str, object] = {}
        for entry in (self.path / "checkpoints").iterdir():
            found[entry.name] = (
                json.loads((entry / "meta.json").read_text())["metrics"] if entry.is_dir() else entry.read_text()
            )
        return found

    def metrics(self) -> list[dict[str, float]]:
        """Without what depends on the clock."""
        lines = map(json.loads, (self.path / "metrics.jsonl").read_text().splitlines())
        return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def assert_same(run: Run, reference: Run) -> None:
    assert run.weights() == reference.weights()
    assert run.metrics() == reference.metrics()
    assert run.checkpoints() == reference.checkpoints()
    for part in ("tokenizer.model", "tokenizer.json"):
        path = Path("tokenizer") / "shared" / part
        assert (run.path / path).read_bytes() == (reference.path / path).read_bytes()


@pytest.fixture(scope="module")
def reference(workplace: Path) -> Callable[[str], Run]:
    """Of each family, a run that nothing disturbed."""

    @cache
    def run_whole(family: str) -> Run:
        run = Run(workplace, f"whole-{family}", family)
        run.finish()
        return run

    return run_whole


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_the_undisturbed_run_is_what_it_should_be(family: str, reference: Callable[[str], Run]) -> None:
    metrics = reference(family).metrics()
    reported = [line["step"] for line in metrics if "train/loss" in line]
    assert reported == sorted({*range(3, STEPS + 1, 3), 8, 16, 24})  # a validation brings a report with it
    assert [line["step"] for line in metrics if "validation/loss" in line] == [8, 16, 24, 30]
    losses = [line["train/loss"] for line in metrics if "train/loss" in line]
    assert losses[-1] < losses[0] - 0.5


def test_killed_and_stopped_again_and_again(workplace: Path, reference: Callable[[str], Run]) -> None:
    run = Run(workplace, "transformer", "transformer")
    moments = random.Random(4)
    for place, number in (
        ("update", moments.randint(6, 9)),
        ("write", moments.randint(1, 7)),  # of a checkpoint's files and pointers
        ("update", moments.randint(2, 9)),
    ):
        assert run.start(f"KILL {place} {number}").returncode == -9
    before = run.newest
    assert before in (5, 10, 15)

    stopped = run.start("INT update 2")
    assert stopped.returncode == 130
    assert "stopping: finishing this step and saving" in stopped.stderr
    last_line = f"seq2seq-train: stopped at step {before + 2} and saved; the same command continues"
    assert stopped.stderr.splitlines()[-1] == last_line
    assert run.newest == before + 2

    ended = run.start("TERM validation 1")
    assert ended.returncode == 143
    assert f"continuing at step {before + 2}" in ended.stderr
    assert run.metrics()[-1]["step"] == run.newest
    assert "validation/loss" not in run.metrics()[-1]

    stopped_at = run.newest
    told = run.finish()
    assert f"continuing at step {stopped_at}" in told
    assert "parameters, bf16 on cpu" in told
    assert_same(run, reference("transformer"))
    commands = (run.path / "command.txt").read_text().splitlines()
    assert len(commands) == 6
    assert len({command.partition("  ")[2] for command in commands}) == 1
    shown = curve(run, "train/loss")
    assert shown == sorted(set(shown))  # no step twice
    assert shown[-1] == STEPS
    assert set(shown) <= {line["step"] for line in run.metrics()}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["streamed mixture", "mixture"])
def test_killed_where_examples_are_made_anew(family: str, workplace: Path, reference: Callable[[str], Run]) -> None:
    run = Run(workplace, f"killed {family}", family)
    for moment in ("KILL update 8", "KILL update 12"):
        assert run.start(moment).returncode == -9
    assert run.newest == 15
    assert "continuing at step 15" in run.finish()
    assert_same(run, reference(family))


def curve(run: Run, name: str) -> list[int]:
    """The steps that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [event.step for event in EventAccumulator(str(run.path / "tensorboard")).Reload().Scalars(name)]


def test_killed_with_its_tokenizer_half_stored_and_before_its_pointers_moved(
    workplace: Path, reference: Callable[[str], Run]
) -> None:
    run = Run(workplace, "lstm", "lstm")
    assert run.start("KILL tokenizer 2").returncode == -9
    assert not (run.path / "tokenizer").exists()
    assert run.start("KILL pointer 2").returncode == -9
    assert run.newest == 8
    assert (run.path / "checkpoints" / "last").read_text() == "step_00000005\n"
    assert "continuing at step 8" in run.finish()
    assert_same(run, reference("lstm"))


def test_a_cut_newest_checkpoint_is_passed_over(workplace: Path, reference: Callable[[str], Run]) -> None:
    run = Run(workplace, "cut", "lstm")
    shutil.copytree(reference("lstm").path, run.path)
    newest = run.path / "checkpoints" / f"step_{STEPS:08}"
    os.truncate(newest / "training.pt", 1000)
    told = run.finish()
    assert re.search(r"warning: broken checkpoint passed over, .*training\.pt: 1,000 bytes, but [\d,]+ were", told)
    assert "continuing at step 25" in told
    shutil.rmtree(newest.with_name(f"{newest.name}.broken"))
    assert_same(run, reference("lstm"))


def test_a_finished_run_says_so_and_a_higher_limit_goes_on(workplace: Path, reference: Callable[[str], Run]) -> None:
    run = Run(workplace, "finished", "lstm")
    shutil.copytree(reference("lstm").path, run.path)

    def state() -> dict[Path, tuple[int, bytes]]:
        changing = {"train.log", "command.txt", "environment.json", "config.yaml", ".lock"}
        files = [path for path in run.path.rglob("*") if path.is_file() and path.name not in changing]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before, config = state(), (run.path / "config.yaml").read_bytes()
    assert "already done: trainer.max_steps is reached; a larger one continues this run" in run.finish()
    assert state() == before
    assert (run.path / "config.yaml").read_bytes() == config

    assert f"continuing at step {STEPS}" in run.finish(max_steps=STEPS + 3)
    assert run.newest == STEPS + 3
    assert run.metrics()[: len(reference("lstm").metrics())] == reference("lstm").metrics()
    refused = run.start(max_steps=STEPS)
    assert refused.returncode == 2
    assert f"trainer.max_steps: was {STEPS + 3} and may grow, but is {STEPS}" in refused.stderr


def test_a_closed_terminal_is_no_harm(workplace: Path, reference: Callable[[str], Run]) -> None:
    """Two signals, as a shell that is closed leads to; and a real terminal, on which a bar is drawn all the time."""
    run = Run(workplace, "closed", "lstm")
    assert run.start("HUP HUP update 7").returncode == 129
    assert run.newest == 7
    run.finish()
    assert_same(run, reference("lstm"))
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [*run.command, "trainer.max_steps=100000"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(workplace)},
        cwd=workplace,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    seen = b""
    while b"/100,000" not in seen:
        seen += os.read(controller, 1000)
    os.close(controller)
    assert process.wait(timeout=100) == 129
    assert run.newest > STEPS
    log = (run.path / "train.log").read_text(encoding="utf-8")
    assert log.endswith(f"ERROR stopped at step {run.newest} and saved; the same command continues\n")
    assert "Traceback" not in log


def test_nohup(workplace: Path) -> None:
    run = Run(workplace, "nohup", "lstm")
    run.command.insert(0, "nohup")
    assert run.start("HUP update 7").returncode == 0
    assert run.newest == STEPS


def test_a_second_signal_ends_the_process_at_once(workplace: Path) -> None:
    run = Run(workplace, "hasty", "lstm")
    ended = run.start("INT INT update 7")
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[-1].startswith("stopping: finishing this step and saving (again to exit at once")
    assert run.newest == 5
    assert [line["step"] for line in run.metrics()] == [3, 6]
