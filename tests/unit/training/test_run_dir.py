import errno
import json
import math
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seq2seq.errors import CheckpointError, ConfigError, UserError
from seq2seq.training.run_dir import RunDir, flatten

CONFIG: dict[str, Any] = {
    "model": {"name": "encoder_decoder", "encoder": {"name": "lstm", "d_model": 12}},
    "tokenizer": {"name": "words", "max_size": None},
    "trainer": {"max_steps": 30, "max_epochs": None, "patience": 3, "seed": 1, "log_every": 50, "keep_last": 5},
    "plugins": [],
}


def changed(**changes: Any) -> dict[str, Any]:
    """Dots are written as __."""
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        *path, name = key.split("__")
        node = config
        for part in path:
            node = node[part]
        node[name] = value
    return config


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """One that has saved a checkpoint."""
    run = RunDir(tmp_path / "run")
    with run.locked():
        run.open_for_training(CONFIG)
    run.tokenizer.mkdir()
    (run.checkpoints / "step_00000005").mkdir(parents=True)
    return run


def test_the_config_is_stored_with_its_format(run: RunDir) -> None:
    assert run.config.read_text().startswith("format: 1\n")
    assert yaml.safe_load(run.config.read_text()) == {"format": 1, **CONFIG}
    assert run.read_config() == CONFIG


def test_the_same_config_opens_it_again(run: RunDir) -> None:
    run.open_for_training(CONFIG)
    assert run.read_config() == CONFIG


def test_what_a_run_came_to(run: RunDir) -> None:
    end = {"limit": "trainer.max_steps", "pruned": False, "metrics": {"bleu": 3.5}}
    assert run.read_end() is None
    assert not run.is_finished(CONFIG)
    run.store_end(end)
    assert run.read_end() == end
    assert run.is_finished(CONFIG)
    # What never makes a difference does not here either; what may grow does.
    assert run.is_finished(changed(trainer__log_every=1, loggers={"wandb": {"project": "x"}}))
    assert not run.is_finished(changed(trainer__max_steps=31))
    assert not run.is_finished(changed(trainer__seed=2))
    assert run.is_finished(changed(trainer__seed=2), free=["trainer.seed"])
    for other in ({**end, "pruned": True}, {**end, "limit": ""}):
        run.store_end(other)
        assert not run.is_finished(CONFIG)
    run.ended.write_text("{", encoding="utf-8")
    assert run.read_end() is None
    assert not run.is_finished(CONFIG)


def test_without_its_checkpoints_a_run_is_not_finished(run: RunDir) -> None:
    run.store_end({"limit": "trainer.max_steps", "pruned": False, "metrics": {}})
    (run.checkpoints / "step_00000005").rmdir()
    assert not run.is_finished(CONFIG)


def test_every_key_that_differs_is_named(run: RunDir) -> None:
    given = changed(model__encoder__d_model=16, trainer__seed=2, tokenizer__max_size=7)
    del given["trainer"]["patience"]
    with pytest.raises(ConfigError) as caught:
        run.open_for_training(given)
    assert str(caught.value).splitlines() == [
        f"the run {run.path} was started with another config: seq2seq-train run={run.path} continues it as it was, "
        "and another run=... trains this one",
        "model.encoder.d_model: was 12, but is 16",
        "tokenizer.max_size: was null, but is 7",
        "trainer.patience: was 3, but is absent",
        "trainer.seed: was 1, but is 2",
    ]
    assert caught.value.exit_status == 2
    assert run.read_config() == CONFIG


@pytest.mark.parametrize("value", [["a"], ["a", "b"]])
def test_a_list_where_there_was_none(run: RunDir, value: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run.open_for_training(changed(tokenizer__max_size=value, model__encoder__freeze=value))
    assert str(caught.value).splitlines()[1:] == [
        f"model.encoder.freeze: was absent, but is {value}",
        f"tokenizer.max_size: was null, but is {value}",
    ]
    stored = changed(model__encoder__freeze=value)
    run.config.write_text(yaml.safe_dump({"format": 1, **stored}))
    with pytest.raises(ConfigError, match=r"model\.encoder\.freeze: was \['a'.*\], but is absent$"):
        run.open_for_training(CONFIG)


def test_some_keys_may_be_free(run: RunDir) -> None:
    given = changed(trainer__seed=7, tokenizer__max_size=9)
    with pytest.raises(ConfigError, match=r"\ntrainer\.seed: was 1, but is 7$"):
        run.open_for_training(given, free=["tokenizer.max_size"])
    run.open_for_training(given, free=["tokenizer.max_size", "trainer.seed"])
    assert run.read_config() == given


def test_loggers_may_change(run: RunDir) -> None:
    given = changed() | {"loggers": {"wandb": {"project": "mt", "tags": ["x"]}, "mlflow": None}}
    run.open_for_training(given)
    assert run.read_config() == given
    run.open_for_training(changed() | {"loggers": {"wandb": {"project": "other", "tags": None}}})
    assert run.read_config()["loggers"] == {"wandb": {"project": "other", "tags": None}}
    run.open_for_training(changed())
    assert "loggers" not in run.read_config()


def test_another_component_is_named_with_its_options(run: RunDir) -> None:
    given = changed(model__encoder={"name": "transformer", "num_heads": 3, "d_model": 12})
    with pytest.raises(ConfigError) as caught:
        run.open_for_training(given)
    assert str(caught.value).splitlines()[1:] == [
        "model.encoder.name: was lstm, but is transformer",
        "model.encoder.num_heads: was absent, but is 3",
    ]


@pytest.mark.parametrize("limit", ["max_steps", "patience"])
@pytest.mark.parametrize("value", [31, None])
def test_limits_may_grow(run: RunDir, limit: str, value: int | None) -> None:
    given = changed(**{f"trainer__{limit}": value})
    run.open_for_training(given)
    assert run.read_config() == given


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("max_steps", 29, "trainer.max_steps: was 30 and may grow, but is 29"),
        ("patience", 2, "trainer.patience: was 3 and may grow, but is 2"),
        ("max_epochs", 9, "trainer.max_epochs: was null and may grow, but is 9"),
    ],
)
def test_limits_may_not_shrink(run: RunDir, limit: str, value: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run.open_for_training(changed(**{f"trainer__{limit}": value}))
    assert str(caught.value).splitlines()[1:] == [message]


def test_what_does_not_touch_the_weights_may_change(run: RunDir) -> None:
    given = changed(trainer__log_every=7, trainer__keep_last=9)
    run.open_for_training(given)
    assert run.read_config() == given


def test_before_anything_is_made_the_config_may_change(tmp_path: Path) -> None:
    """The first start may have ended at a mistake in the config."""
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.open_for_training(CONFIG)
    run.open_for_training(changed(trainer__seed=5))
    assert run.read_config()["trainer"]["seed"] == 5
    run.config.write_text("broken: [")
    run.open_for_training(CONFIG)
    assert run.read_config() == CONFIG


def test_before_the_first_checkpoint_all_may_change_but_what_the_tokenizer_was_made_from(tmp_path: Path) -> None:
    """The first start may have run out of memory."""
    run = RunDir(tmp_path / "run")
    run.tokenizer.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump({"format": 1, **CONFIG}))
    run.open_for_training(changed(trainer__seed=5))
    assert run.read_config()["trainer"]["seed"] == 5
    with pytest.raises(ConfigError) as caught:
        run.open_for_training(changed(tokenizer__max_size=9))
    assert str(caught.value).splitlines() == [
        f"the run {run.path} was started with another config: another run=... trains this one",
        "tokenizer.max_size: was null, but is 9",
    ]
    (run.checkpoints / "step_00000005").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"trainer\.seed: was 5, but is 1"):
        run.open_for_training(CONFIG)


def test_before_the_first_checkpoint_data_may_be_looked_at_with_other_filters(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.tokenizer.mkdir(parents=True)
    data = {"name": "demo", "filters": {"ratio": {"limit": 3}, "script": {"share": 0.5}}}
    run.config.write_text(yaml.safe_dump({"format": 1, **changed(data=data)}))
    run.open_for_training(changed(data=data))
    run.data_report.write_text("{}")
    run.open_for_training(changed(data=data))
    assert run.data_report.exists()
    others = {"name": "demo", "filters": {"ratio": {"limit": 4}, "script": None, "length": {"most": 9}}}
    run.open_for_training(changed(data=others))
    assert run.read_config()["data"] == others
    assert not run.data_report.exists()  # made anew
    with pytest.raises(ConfigError, match=r"data\.name: was demo, but is tsv"):
        run.open_for_training(changed(data={**others, "name": "tsv"}))
    (run.checkpoints / "step_00000005").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"data\.filters\.ratio\.limit: was 4, but is 3"):
        run.open_for_training(changed(data=data))


def test_a_found_max_tokens_stays_for_as_long_as_the_config_does(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.open_for_training(CONFIG)
    assert run.read_max_tokens() is None
    run.store_max_tokens(1234)
    run.open_for_training(CONFIG)
    assert run.read_max_tokens() == 1234
    run.open_for_training(changed(model__encoder__d_model=16))
    assert run.read_max_tokens() is None


def test_with_a_checkpoint_a_found_max_tokens_stays(run: RunDir) -> None:
    run.store_max_tokens(1234)
    run.open_for_training(changed(trainer__log_every=7, trainer__max_steps=31))
    assert run.read_max_tokens() == 1234


def test_a_broken_max_tokens(run: RunDir) -> None:
    run.max_tokens.write_text("many\n")
    with pytest.raises(CheckpointError) as caught:
        run.read_max_tokens()
    assert str(caught.value) == f"{run.max_tokens}: should hold a whole number"


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"is not empty and not a run; name another folder with run="):
        RunDir(tmp_path).locked().__enter__()
    assert [entry.name for entry in tmp_path.iterdir()] == ["letters.txt"]


def test_a_start_that_was_killed_before_the_config_was_stored(tmp_path: Path) -> None:
    for name in (".lock", ".config.yaml.123.tmp"):
        (tmp_path / name).touch()
    run = RunDir(tmp_path)
    with run.locked():
        run.open_for_training(CONFIG)
    assert run.read_config() == CONFIG


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/run: cannot be written \(Not a directory\)"):
        RunDir(tmp_path / "file" / "run").locked().__enter__()


def test_a_full_disk_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", no_space)
    with pytest.raises(UserError, match=r"run: cannot be written \(No space left on device\)$") as caught:
        RunDir(tmp_path / "run").locked().__enter__()
    assert caught.value.exit_status == 1


def test_only_one_process_trains_in_a_run(run: RunDir) -> None:
    code = (
        "import sys; from pathlib import Path; from seq2seq.training.run_dir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).locked(): print('in')"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    with run.locked():
        second = subprocess.run(command, capture_output=True, text=True)
        with pytest.raises(CheckpointError, match="another process is training in this run"):
            RunDir(run.path).locked().__enter__()
    assert second.stdout == ""
    assert "CheckpointError" in second.stderr
    with RunDir(run.path).locked():
        pass


@pytest.mark.parametrize("wait", [30.0, math.inf])
def test_a_process_that_is_at_work_is_waited_for(run: RunDir, wait: float, capsys: pytest.CaptureFixture[str]) -> None:
    inside = run.locked()
    inside.__enter__()
    left: list[float] = []

    def leave() -> None:
        left.append(time.monotonic())
        inside.__exit__(None, None, None)

    threading.Timer(0.2, leave).start()
    with RunDir(run.path).locked(wait=wait):
        assert left
        assert left[0] <= time.monotonic()
    told = f"{run.path}: another process is at work in this run; waiting for its end\n"
    assert capsys.readouterr().err == (told if wait == math.inf else "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model: 1\n", "should begin with 'format: 1'"),
        ("format: 2\nmodel: 1\n", "should begin with 'format: 1'"),
        ("- 1\n", "should begin with 'format: 1'"),
        ("format: 1\nmodel: [1\n", r"config.yaml: cannot be read"),
        ("format: 1\nmodel: !!python/object/apply:os.mkdir [crater]\n", r"config.yaml: cannot be read"),
    ],
)
def test_a_broken_config(run: RunDir, content: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path)
    run.config.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        run.read_config()
    assert not (run.path / "crater").exists()


def test_what_is_not_there(run: RunDir) -> None:
    with pytest.raises(CheckpointError, match=r"no such run directory; in .* there are: run$"):
        RunDir(run.path.parent / "rum").read_config()
    for number in range(9):
        other = run.path.parent / f"other{number}"
        other.mkdir()
        (other / "config.yaml").touch()
    with pytest.raises(CheckpointError, match=r"are: other0, (other\d, ){6}other7 and 2 more$"):
        RunDir(run.path.parent / "rum").read_config()
    with pytest.raises(CheckpointError, match=r"not a run directory \(it has no config.yaml\)"):
        RunDir(run.tokenizer).read_config()


def test_every_start_is_recorded(run: RunDir) -> None:
    run.record_start(["seq2seq-train", "run=my run"])
    run.record_start(["seq2seq-train", "run=my run", "trainer.max_steps=60"])
    lines = (run.path / "command.txt").read_text().splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        "seq2seq-train 'run=my run'",
        "seq2seq-train 'run=my run' trainer.max_steps=60",
    ]
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["packages"]["torch"] == metadata.version("torch")
    assert environment["threads"] == torch.get_num_threads()


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
