"""A command line's one job: what Hydra's flags and its own node do for it. Sweeps: test_sweep.py."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.version import Version, VersionBase

from seq2seq.cli.compose import Job, compose_jobs


def composed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["seq2seq-train", *arguments])
    job = compose_jobs("train")
    assert isinstance(job, Job)
    return job.tree


def test_a_file_of_the_users_own_in_the_place_of_the_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "defaults: [train, _self_]\ntrainer:\n  max_steps: 7\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    tree = composed(monkeypatch, "--config-dir", str(tmp_path), "--config-name", "mine", "model=lstm_tiny")
    assert tree["trainer"]["max_steps"] == 7
    assert tree["model"]["encoder"]["name"] == "lstm"
    assert tree["run"] == "runs/lstm_tiny-demo"


def test_values_may_speak_of_hydras_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    tree = composed(monkeypatch, "model=lstm_tiny", "run=${hydra:runtime.cwd}/${hydra:runtime.choices.model}")
    assert tree["run"] == f"{tmp_path}/lstm_tiny"
    assert "hydra" not in tree


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_hydra_works_as_of_one_version(monkeypatch: pytest.MonkeyPatch, sweep: list[str]) -> None:
    """Of which it takes the meaning of defaults lists, for one job and for many."""
    monkeypatch.setattr(VersionBase.instance(), "version_base", Version("1.1"))  # each sets it
    monkeypatch.setattr(sys, "argv", ["seq2seq-train", *sweep, "model=lstm_tiny", "run=${hydra:runtime.version_base}"])
    composed = compose_jobs("train")
    assert composed is not None
    run = composed.tree["run"] if isinstance(composed, Job) else composed.grid()[0].tree["run"]
    assert run.split("/")[0] == "1.3"


def test_what_hydra_sets_for_a_job_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOO", raising=False)
    tree = composed(monkeypatch, "model=lstm_tiny", "++hydra.job.env_set={FOO: bar}", "run=${oc.env:FOO,nothing}")
    assert tree["run"] == "bar"


def test_a_config_is_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra's own way looks at it twice."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    seen = []
    original = ConfigLoaderImpl.load_configuration

    def counted(self: ConfigLoaderImpl, *arguments: Any, **options: Any) -> Any:
        seen.append(arguments)
        return original(self, *arguments, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    composed(monkeypatch, "model=lstm_tiny")
    assert len(seen) == 1
