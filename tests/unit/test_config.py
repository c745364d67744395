"""The YAML files under configs/, and the config of a run from them to its directory and back."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import nn

from seq2seq.cli.overrides import config_folder, groups
from seq2seq.config import RunConfig, bind_run, completed, merge, read_run, stored_form
from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.pipeline import check, store_of
from seq2seq.training.run_dir import RunDir, flatten
from seq2seq.training_run import _initial_checkpoint

from ..pretrained_models import make

LANGUAGES = ["data.source=en", "data.target=de"]
NEEDED: dict[tuple[str, str | None], list[str]] = {  # what a choice leaves to the user
    ("model/encoder", None): ["model.tie_embeddings=target"],  # all of it needs one width on both sides
    ("model/decoder", None): ["model.tie_embeddings=target"],
    ("model/decoder", "gru_bahdanau2015"): ["model.tie_embeddings=none"],  # maxout features are narrower
    ("model/decoder", "rnn_cho2014"): ["model.tie_embeddings=none"],
    ("model/decoder", "lstm_luong2015"): ["model/encoder=lstm_luong2015", "model.tie_embeddings=target"],
    ("model", "encoder_decoder"): ["model/encoder=lstm", "model/decoder=lstm"],
    ("data", "text_files"): [*LANGUAGES, "data.train=corpus/train"],
    **{("data", name): [*LANGUAGES, "data.train=corpus.x"] for name in ("tsv", "csv", "jsonl", "parquet")},
    ("data", "huggingface"): [*LANGUAGES, "data.path=corpus"],
    ("data", "common_crawl"): ["model=decoder_only_tiny", "data.target=de", "data.train=a.warc.wet.gz"],
    **{("data", name): ["model=decoder_only_tiny"] for name in ("c4", "cc100", "oscar", "wikitext")},
    ("data", "mixture"): ["+data@data.parts.a=demo"],
    ("data", "denoising"): ["data.text.source=null", "data.text.target=de", "data.text.train=corpus/train"],
    ("data", "dialogue"): ["data.turns.source=null", "data.turns.target=en", "data.turns.train=chats.jsonl"],
    ("data", "documents"): ["data.sentences.source=en", "data.sentences.target=de", "data.sentences.train=corpus/x"],
    ("data/noise", None): ["data=denoising", "data.text.source=null", "data.text.target=de"],
    ("data/reading", "generation"): ["model=decoder_only_tiny", "data=wikitext"],
    ("task", "generation"): ["data=wikitext"],
    ("experiment", "multi30k"): ["data.train=corpus/train"],
    ("model", "pretrained"): ["model.path={t5}"],
    ("model/encoder", "pretrained"): ["model.encoder.path={bert}", "model.tie_embeddings=target"],
    ("tokenizer", "huggingface"): ["tokenizer.path={t5}"],
    ("tokenizer", "pretrained"): ["model=pretrained", "model.path={t5}"],
    ("tokenizer", "pretrained_encoder"): [
        "model=encoder_decoder",
        "model/encoder=pretrained",
        "model.encoder.path={bert}",
        "model/decoder=lstm",
    ],
}
CHOICES = [(group, choice) for group, choices in groups([config_folder()]).items() for choice in choices]


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


def compose_tree(*overrides: str) -> dict[str, Any]:
    tree = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    assert isinstance(tree, dict)
    assert tree.pop("run") is None
    assert tree.pop("check") is False
    return {str(key): value for key, value in tree.items()}


def config(*overrides: str) -> RunConfig:
    return bind_run(compose_tree(*overrides))


def store(given: RunConfig, folder: Path) -> RunDir:
    run = RunDir(folder)
    with run.locked():
        run.open_for_training(stored_form(given))
    return run


@pytest.fixture(scope="module")
def write_configs() -> ModuleType:
    script = Path(__file__).parents[2] / "scripts" / "write_configs.py"
    spec = importlib.util.spec_from_file_location("write_configs", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    lines = [f"the dog number {number}" for number in range(200)]
    return {name: str(make(name, folder / name, lines)) for name in ("t5", "bert")}


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["=".join(pair) for pair in CHOICES])
def test_every_choice_composes_binds_and_builds(
    group: str, choice: str, pretrained: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq.training.loggers.find_spec", lambda name: SimpleNamespace(origin="installed"))
    needed = NEEDED.get((group, choice), NEEDED.get((group, None), []))
    tree = compose_tree(f"{group}={choice}", *(key.format(**pretrained) for key in needed))
    bound = bind_run(tree)
    check(bound)
    # --cfg job shows every option there is, so that any can be changed without a `+`.
    stored = {key.partition(".architecture.")[0] for key in flatten(stored_form(bound))}
    assert {key.removesuffix(".architecture") for key in flatten(tree)} == stored


@pytest.mark.parametrize(
    ("size", "d_model", "d_ff", "num_heads", "dropout"), [("base", 512, 2048, 8, 0.1), ("big", 1024, 4096, 16, 0.3)]
)
def test_the_transformers_of_vaswani_et_al(size: str, d_model: int, d_ff: int, num_heads: int, dropout: float) -> None:
    """Table 3 of the paper; sections 3.1, 3.3, 3.4 and 3.5 for what both have in common."""
    model = config(f"model=transformer_{size}").model
    assert model.name == "encoder_decoder"
    assert model.options["tie_embeddings"] == "all"
    for part in ("encoder", "decoder"):
        assert model.options[part].name == "transformer"
        paper = {
            "d_model": d_model,
            "num_layers": 6,
            "num_heads": num_heads,
            "d_ff": d_ff,
            "norm": "post",
            "activation": "relu",
            "positions": "sinusoidal",
            "dropout": dropout,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
        }
        assert {name: model.options[part].options[name] for name in paper} == paper


def test_transformer_means_its_base_size() -> None:
    assert config("model=transformer").model == config("model=transformer_base").model
    assert config("model=lstm").model == config("model=lstm_base").model


def test_what_suits_wmt14_is_that_of_vaswani_et_al() -> None:
    """Sections 5.1, 5.3 and 5.4."""
    bound = config("data=wmt14")
    assert (bound.tokenizer.options["model_type"], bound.tokenizer.options["vocab_size"]) == ("bpe", 37000)
    assert bound.tokenizer.options["shared"] is True
    assert (bound.schedule.name, bound.schedule.options["warmup"]) == ("inverse_sqrt", 4000)
    assert bound.optimizer.options["betas"] == (0.9, 0.98)
    assert bound.optimizer.options["eps"] == 1e-9
    assert bound.loss.options["label_smoothing"] == 0.1


def test_a_recipe_follows_the_data_and_the_tokenizer() -> None:
    assert config().trainer.max_steps != config("data=wmt14").trainer.max_steps
    assert config("tokenizer=characters").tokenizer.options == {"shared": True}  # nothing of sentencepiece's recipe
    mine = config("data=text_files", *LANGUAGES)
    assert (mine.trainer.max_steps, mine.tokenizer.options["vocab_size"]) == (100_000, 8000)  # without any recipe


@pytest.mark.parametrize("text", ["jsonl", "wmt14", "demo"])
def test_the_text_of_a_corpus_is_chosen_as_any_data_is(text: str) -> None:
    options = {} if text != "jsonl" else {"source": "en", "target": "de"}
    given = [f"data.text.{key}={value}" for key, value in options.items()]
    alone = config(f"data={text}", *(f"data.{key}={value}" for key, value in options.items())).data
    found = config("data=denoising", f"data@data.text={text}", "data/noise=word_noise", *given).data
    assert found.options["noise"].name == "word_noise"
    assert (found.options["text"].name, found.options["text"].options) == (alone.name, alone.options)


def test_the_generated_files_are_those_of_the_signatures(write_configs: ModuleType) -> None:
    generated = write_configs.generated()
    assert {"model/encoder/lstm.yaml", "trainer/trainer.yaml", "tokenizer/sentencepiece.yaml"} <= set(generated)
    for name, text in generated.items():
        path = config_folder() / name
        assert path.exists(), f"run scripts/write_configs.py: there is no {name}"
        assert path.read_text(encoding="utf-8") == text, f"run scripts/write_configs.py: {name} is stale"


def test_a_default_in_yaml_is_the_default(write_configs: ModuleType) -> None:
    for value in ("no", "on", "null", "relu", "a b", "", "1e3", "~", 1e-9, 2.5e-7, 1e20, 3, True, None, [0.9, "off"]):
        text = write_configs.yaml_value(value)
        assert yaml.safe_load(f"x: {text} # a comment")["x"] == value
    assert write_configs.yaml_value("relu") == "relu"


def test_write_configs(
    write_configs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "configs"
    shutil.copytree(config_folder(), folder)
    monkeypatch.setattr(write_configs, "config_folder", lambda: folder)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["write_configs.py", *arguments])
        with pytest.raises(SystemExit) as caught:
            write_configs.main()
        return int(caught.value.code or 0), capsys.readouterr().out

    assert run("--check") == (0, "nothing to write\n")
    (folder / "loss" / "cross_entropy.yaml").write_text("name: cross_entropy\n", encoding="utf-8")
    (folder / "search" / "beam.yaml").unlink()
    status, told = run("--check")
    assert status == 1
    assert sorted(told.splitlines()) == ["stale: configs/loss/cross_entropy.yaml", "stale: configs/search/beam.yaml"]
    status, told = run()
    assert status == 0
    assert sorted(told.splitlines()) == [
        "written: configs/loss/cross_entropy.yaml",
        "written: configs/search/beam.yaml",
    ]
    assert run("--check") == (0, "nothing to write\n")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model=lstm", "tokenizer=words", "schedule=cosine", "search=greedy", "optimizer.lr=1e-3", "optimizer=adam"],
        ["model/encoder=lstm_tiny", "model.tie_embeddings=none", "trainer.max_steps=null", "trainer.max_epochs=3"],
        ["data=text_files", *LANGUAGES, "data.train=[corpus/a,corpus/b]", "data.validation=corpus/c"],
        ["data=text_files", "data.source=no", "data.target=off", "data.train='1e3'"],
    ],
)
def test_what_is_stored_is_read_back(tmp_path: Path, overrides: list[str]) -> None:
    given = config(*overrides)
    run = store(given, tmp_path / "run")
    assert read_run(run, {}) == given
    assert run.config.read_text(encoding="utf-8").startswith("format: 1\n")


def test_the_stored_form_is_complete_and_plain(tmp_path: Path) -> None:
    run = store(config("model=lstm_tiny", "model.encoder.num_layers=3"), tmp_path / "run")
    stored = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    assert list(stored) == [
        "format", "model", "data", "tokenizer", "optimizer", "schedule", "loss", "search", "trainer", "metrics",
        "loggers", "plugins", "cache", "init_from",
    ]  # fmt: skip
    encoder = {"name": "lstm", "d_model": 256, "num_layers": 3, "direction": "both", "dropout": 0.2}
    assert stored["model"]["encoder"].items() >= encoder.items()
    assert stored["optimizer"]["betas"] == [0.9, 0.98]


def test_search_and_data_may_differ_from_the_stored_ones(tmp_path: Path) -> None:
    run = store(config("search.length_penalty=0.5"), tmp_path / "run")
    wider = read_run(run, {"search": {"beam_size": 9}})
    assert (wider.search.options["beam_size"], wider.search.options["length_penalty"]) == (9, 0.5)
    assert read_run(run, {"search": {"name": "greedy"}}).search.name == "greedy"
    files = {"name": "text_files", "source": "en", "target": "de", "test": "news"}
    assert read_run(run, {"data": files}).data.options["test"] == "news"
    with pytest.raises(ConfigError) as caught:
        read_run(run, {"search": {"beam_sise": 3}, "data": {"seed": "x"}})
    assert str(caught.value) == (
        "data.seed: should be a whole number, but is 'x'\nsearch.beam_sise: unknown key; did you mean 'beam_size'?"
    )


def test_a_stored_config_that_is_wrong_is_the_runs_fault(tmp_path: Path) -> None:
    run = store(config(), tmp_path / "run")
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace("beam_size: 5", "beam_size: 0"), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        read_run(run, {})
    assert str(caught.value) == f"{run.config}: search.beam_size: should be greater than 0, but is 0"


def test_metrics_may_differ_from_the_stored_ones_and_the_best_checkpoint_stays(tmp_path: Path) -> None:
    run = store(config("+metrics.rouge={}", "trainer.metric=rouge.rougeL"), tmp_path / "run")
    changed = read_run(run, {"metrics": {"bleu": {"lowercase": True}, "ter": None, "rouge": None, "distinct": {}}})
    assert [key for key, factory in changed.metrics.items() if factory is not None] == ["bleu", "chrf", "distinct"]
    assert changed.metrics["bleu"].options == {"tokenize": None, "lowercase": True, "split_compounds": False}
    assert list(changed.measures()) == ["bleu", "chrf", "distinct"]
    stored = read_run(run, {}).watched
    assert (stored.name, stored.lower_is_better) == ("rougeL", False)


def test_a_run_without_metrics_has_the_usual_ones(tmp_path: Path) -> None:
    run = store(config(), tmp_path / "run")
    older = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    del older["metrics"]
    run.config.write_text(yaml.safe_dump(older), encoding="utf-8")
    assert list(read_run(run, {}).measures()) == ["bleu", "chrf", "ter"]
    assert list(read_run(run, {"metrics": {"bleu": {"tokenize": "char"}, "ter": None}}).measures()) == ["bleu", "chrf"]
    assert read_run(run, {}).watched.name == "bleu"


@pytest.mark.parametrize(
    ("metrics", "first"), [("translation", "bleu"), ("summarization", "rougeL"), ("dialogue", "bleu"), ("none", "loss")]
)
def test_the_first_metric_tells_the_best_checkpoint(metrics: str, first: str) -> None:
    assert config(f"metrics={metrics}").watched.name == first


def test_a_run_begins_with_the_best_of_another_by_its_own_metric(tmp_path: Path) -> None:
    other = config("trainer.metric=loss")
    run = store(other, tmp_path / "run")
    for step, loss in ((1, 1.0), (2, 2.0)):
        store_of(run.checkpoints, other).save(step, nn.Linear(2, 2), {}, {"loss": loss, "bleu": loss})
    assert _initial_checkpoint(config(f"init_from={run.path}")).step == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.metric=blue"], "no score is called 'blue'; did you mean 'bleu'?"),
        (["trainer.metric=rougel", "metrics=summarization"], "no score is called 'rougel'; did you mean 'rougeL'?"),
        (
            ["trainer.metric=ter"],
            "ter is not measured while training; there are: bleu, chrf, loss, perplexity, token_accuracy",
        ),
        (
            ["trainer.metric=comet"],
            "comet is not measured while training; there are: bleu, chrf, loss, perplexity, token_accuracy",
        ),
        (["trainer.metric=rouge2"], "rouge2 is not measured: metrics.rouge={} adds it"),
        (["trainer.metric=bleu", "metrics=none"], "bleu is not measured: metrics.bleu={} adds it"),
        (
            ["trainer.metric=rouge", "metrics=summarization"],
            "rouge is several scores; there are: rouge1, rouge2, rougeL, rougeLsum",
        ),
    ],
)
def test_what_cannot_tell_the_best_checkpoint(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(config(*overrides))
    assert str(caught.value) == f"trainer.metric: {message}"


def test_merge() -> None:
    stored = {"a": 1, "search": {"name": "beam", "beam_size": 5, "nbest": 1}, "data": None}
    assert merge(stored, {"search": {"beam_size": 7}})["search"] == {"name": "beam", "beam_size": 7, "nbest": 1}
    same = {"search": {"name": "beam", "nbest": 3}}
    assert merge(stored, same)["search"] == {"name": "beam", "beam_size": 5, "nbest": 3}
    assert merge(stored, {"search": {"name": "greedy"}})["search"] == {"name": "greedy"}
    assert merge(stored, {"data": {"x": 1}, "a": None}) == {"a": None, "search": stored["search"], "data": {"x": 1}}
    assert stored["search"] == {"name": "beam", "beam_size": 5, "nbest": 1}


def test_a_config_of_an_older_version_is_completed() -> None:
    stored = stored_form(config())
    older = {key: value for key, value in stored.items() if key not in ("init_from", "metrics")}
    older["data"] = {key: value for key, value in stored["data"].items() if key not in ("streaming", "workers")}
    new = {key: value for key, value in stored["metrics"].items() if value is not None}
    assert list(new) == ["bleu", "chrf", "ter"]
    assert completed(older) == stored | {"metrics": new}
    unfit = {**stored, "gone": 1}
    assert completed(unfit) == unfit
