"""Sweeps composed: their jobs, what a search may try, and what is refused."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from seq2seq.cli.compose import Job, Sweep, compose_jobs
from seq2seq.cli.sweep import _dimension, _parts
from seq2seq.errors import ConfigError
from seq2seq.sweeps.optuna import Dimension

Compose = Callable[..., Sweep]


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compose:
    """The sweep of a command line."""
    monkeypatch.chdir(tmp_path)

    def composed(*arguments: str) -> Sweep:
        monkeypatch.setattr(sys, "argv", ["seq2seq-train", *arguments])
        sweep = compose_jobs("train")
        assert isinstance(sweep, Sweep)
        return sweep

    return composed


def test_every_combination(compose: Compose) -> None:
    sweep = compose("-m", "model=lstm_tiny,gru_tiny", "optimizer.lr=1e-3,0.1", "trainer.max_steps=5", "run=all")
    jobs = sweep.grid()
    expected = [(model, lr) for model in ("lstm", "gru") for lr in ("0.001", "0.1")]
    assert [job.overrides for job in jobs] == [f"model={model}_tiny optimizer.lr={lr}" for model, lr in expected]
    runs = [f"all/model={model}_tiny,optimizer.lr={lr},trainer.max_steps=5" for model, lr in expected]
    assert [job.tree["run"] for job in jobs] == runs
    assert [job.tree["model"]["encoder"]["name"] for job in jobs] == ["lstm", "lstm", "gru", "gru"]
    assert [job.tree["optimizer"]["lr"] for job in jobs] == [0.001, 0.1, 0.001, 0.1]
    assert {job.tree["trainer"]["max_steps"] for job in jobs} == {5}
    assert (sweep.launcher.get("name"), sweep.sweeper.get("name")) == (None, None)


def test_a_preset_is_a_sweep_without_a_flag_and_names_its_folder(compose: Compose) -> None:
    jobs = compose("sweep=architectures", "model=rnn_tiny,lstm_tiny").grid()
    assert [job.tree["run"] for job in jobs] == [
        f"runs/architectures/model={model}_tiny,trainer.seed={seed}" for model in ("rnn", "lstm") for seed in (1, 2)
    ]
    assert [job.tree["trainer"]["seed"] for job in jobs] == [1, 2, 1, 2]


@pytest.mark.parametrize("name", ["architectures", "learning_rate", "transformer_small_data"])
def test_presets_compose_and_bind(compose: Compose, name: str) -> None:
    from seq2seq.cli.train import check

    sweep = compose(f"sweep={name}", "trainer.device=cpu")
    launcher, optuna = _parts(sweep)
    assert launcher is None
    assert (optuna is None) == (name == "architectures")
    firsts = {x.get_key_element(): x for x in sweep.space}
    chosen = []
    for key, override in firsts.items():
        dimension = _dimension(override)
        chosen.append(f"{key}={dimension.choices[0] if dimension.choices else dimension.low}")
    check(sweep.make([*sweep.fixed, *chosen]).tree)


def test_yaml_files_of_the_users_own(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      optimizer:\n        lr: 1,2\n"
    (tmp_path / "mine" / "sweep" / "rates.yaml").write_text(text, encoding="utf-8")
    jobs = compose("--config-dir", "mine", "sweep=rates").grid()
    assert [job.tree["optimizer"]["lr"] for job in jobs] == [1, 2]


def test_one_job_is_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["seq2seq-train", "optimizer.lr=1"])
    assert isinstance(compose_jobs("train"), Job)


@pytest.mark.parametrize(
    ("typed", "dimension"),
    [
        ("model=lstm,gru", Dimension("model", choices=("lstm", "gru"))),
        ("++a.b=choice(1,x)", Dimension("++a.b", choices=("1", "x"))),
        ("++lr=interval(1e-4,0.1)", Dimension("++lr", low=1e-4, high=0.1)),
        ("++lr=tag(log,interval(1e-4,0.1))", Dimension("++lr", low=1e-4, high=0.1, logarithmic=True)),
        ("++n=int(interval(2,9))", Dimension("++n", low=2, high=9, whole=True)),
        ("++n=range(1,8,2)", Dimension("++n", low=1, high=7, step=2, whole=True)),
        ("++d=range(0.25,1,0.25)", Dimension("++d", low=0.25, high=0.75, step=0.25)),
    ],
)
def test_what_a_search_may_try(typed: str, dimension: Dimension) -> None:
    found = _dimension(OverridesParser.create().parse_overrides([typed])[0])
    assert found == dimension


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("++lr=interval(0.1,0.001)", "lr: should go from a smaller to a larger number"),
        (
            "++lr=tag(log,interval(0,0.1))",
            "lr: should go from a smaller to a larger number, both above 0, to be logarithmic",
        ),
        ("++n=range(1,2)", "n: the range has fewer than two values"),
    ],
)
def test_what_a_search_cannot_try(typed: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _dimension(OverridesParser.create().parse_overrides([typed])[0])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "optimizer.lr=interval(1e-3,1e-2)"],
            "optimizer.lr: a range without steps is for hydra/sweeper=optuna; otherwise list the values",
        ),
        (["-m", "hydra/launcher=joblip"], "hydra/launcher: no choice 'joblip'; did you mean 'joblib'?"),
        (["sweep=learningrate"], "sweep: no choice 'learningrate'; did you mean 'learning_rate'?"),
    ],
)
def test_what_is_refused(compose: Compose, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(*arguments).grid()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs: should be greater than 0, but is 0",
        ),
        (
            ["hydra/launcher=ray", "hydra.launcher.num_cpu=2"],
            "hydra.launcher.num_cpu: unknown key; did you mean 'num_cpus'?",
        ),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.prune=medium"],
            "hydra.sweeper.prune: should be one of median, hyperband, none, but is 'medium'; did you mean 'median'?",
        ),
    ],
)
def test_options_of_launchers_and_sweepers(compose: Compose, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parts(compose("-m", *arguments))
    assert str(caught.value) == message
