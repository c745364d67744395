"""The plan and the table of scripts/multi30k_table.py, without any training."""

import argparse
import importlib
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("multi30k_table")


def options(folder: Path, minutes: float = 3) -> argparse.Namespace:
    return argparse.Namespace(
        minutes=minutes, train="a/train", validation="a/val", test="a/test", output=folder, overrides=["trainer.seed=2"]
    )


def test_the_longest_name_that_fits_counts(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "SETTINGS", {"ab": ["lr=1"], "ab_cd": ["lr=2"]})
    assert script.settings("ab_tiny") == ["lr=1"]
    assert script.settings("ab_cd_tiny") == ["lr=2"]
    with pytest.raises(SystemExit, match="xy: no learning rate is known"):
        script.settings("xy")


def test_steps_fill_the_minutes(script: ModuleType) -> None:
    assert script.steps_for(2, 0.25) == 480
    assert script.steps_for(0.1, 3.0) == 8


def test_every_preset_composes_with_what_it_is_trained_with(script: ModuleType, tmp_path: Path) -> None:
    for preset in script.PRESETS.split(","):
        config = script.compose_run(*script.training_arguments(preset, options(tmp_path), 1000))
        assert config.trainer.seed == 2
        assert (config.trainer.max_steps, config.trainer.validate_every) == (1000, 125)
        assert (config.schedule.name, config.schedule.options["warmup"]) == ("cosine", 100)


def test_a_plan_is_made_once(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make_plan(preset: str, *others: object) -> object:
        made.append(preset)
        return script.Plan(parameters=5, seconds_per_step=0.5, tokens_per_second=7.0, max_steps=360)

    monkeypatch.setattr(script, "prepare", lambda preset, options: (None, None))
    monkeypatch.setattr(script, "make_plan", make_plan)
    first = script.make_plans(["a", "b"], options(tmp_path))
    assert script.make_plans(["b", "c"], options(tmp_path)) == {"b": first["b"], "c": first["b"]}
    assert made == ["a", "b", "c"]
    with pytest.raises(SystemExit, match=r"is for other options: minutes; name another folder"):
        script.make_plans(["a"], options(tmp_path, minutes=4))


def test_validations_are_not_counted_as_updates(script: ModuleType) -> None:
    lines = [
        {"step": 2, "seconds": 10.0, "train/tokens_per_second": 30.0},
        {"step": 3, "seconds": 16.0, "train/tokens_per_second": 50.0},
        {"step": 3, "seconds": 20.0, "validation/loss": 1.5},
        {"step": 5, "seconds": 30.0, "train/tokens_per_second": 40.0},
        {"step": 5, "seconds": 33.0, "validation/loss": 1.2},
    ]
    assert script.times(lines) == {"tokens_per_second": 40.0, "validation": 7.0, "updates": 26.0}


def test_the_table(script: ModuleType) -> None:
    plan = script.Plan(parameters=5_340_000, seconds_per_step=0.5, tokens_per_second=4321.4, max_steps=1800)
    scores = {"bleu": {"score": 31.257}, "sentences_per_second": 62.81}
    line = script.row("lstm_tiny", plan, scores)
    assert script.table([line], 15.0).splitlines() == [
        "| preset | parameters | steps in 15 min | training tokens/s | test BLEU | sentences/s |",
        "|---|--:|--:|--:|--:|--:|",
        "| `lstm_tiny` | 5.3 M | 1,800 | 4,321 | 31.3 | 62.8 |",
    ]


def test_a_signal_reaches_the_command_which_is_waited_for(tmp_path: Path) -> None:
    """What a training does at the first signal, save and exit, must not be cut short."""
    (tmp_path / "slow.py").write_text(
        "import signal, sys, time\n"
        "def save(number, frame):\n"
        "    time.sleep(0.5); open('saved', 'a').write('x'); sys.exit(7)\n"
        "signal.signal(signal.SIGINT, save)\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    caller = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import multi30k_table; multi30k_table.call(['slow'])"
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while process.stderr.readline() != "ready\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 128 + signal.SIGINT
    assert (tmp_path / "saved").read_text() == "x"
    process.stderr.close()
