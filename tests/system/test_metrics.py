"""From the metrics that a user chooses to what training and evaluation tell of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import TINY_TRANSFORMER, Command, train_quietly

CHOSEN = (
    "metrics.ter=null", "+metrics.rouge={}", "metrics.distinct={}", "+metrics.small={name:bleu,lowercase:true}",
    "metrics.chrf.word_order=2", "trainer.metric=rouge.rougeL", "trainer.max_steps=40", "trainer.validate_every=20",
)  # fmt: skip


@pytest.fixture(scope="module")
def rouged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with several metrics; not to be changed."""
    return train_quietly(tmp_path_factory.mktemp("rouged") / "run", (*TINY_TRANSFORMER, *CHOSEN))


@pytest.fixture
def scored(rouged: Path, command: Command) -> Path:
    """A copy of it, in the working directory."""
    return Path(shutil.copytree(rouged, "run"))


def scores(name: str = "test") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run", "evaluation", name, "scores.json").read_text(encoding="utf-8"))
    return found


def measured(found: dict[str, Any]) -> list[str]:
    return [name for name, value in found.items() if isinstance(value, dict) and "signature" in value]


ROUGES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
ALL = ["bleu", "chrf", *ROUGES, "distinct-1", "distinct-2", "small"]


def test_training_measures_them_and_keeps_the_best(scored: Path) -> None:
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    validations = [line for line in lines if "validation/loss" in line]
    assert len(validations) == 2
    of_model = ["loss", "perplexity", "token_accuracy"]
    for line in validations:
        found = {name.removeprefix("validation/") for name in line if name.startswith("validation/")}
        assert found - {"best"} == {*ALL, *of_model}
    best = Path("run/checkpoints/best").read_text(encoding="utf-8").strip()
    values = {line["step"]: line["validation/rougeL"] for line in validations}
    assert int(best.removeprefix("step_")) == max(values, key=lambda step: (values[step], -step))
    log = Path("run/train.log").read_text(encoding="utf-8")
    assert "rougeL" in log
    assert "  accuracy " in log


def test_evaluation_measures_what_the_run_stores(command: Command, scored: Path) -> None:
    told = command("seq2seq-evaluate", "run=run")
    assert told.status == 0, told.err
    found = scores()
    assert sorted(measured(found)) == sorted(ALL)
    labels = ("BLEU", "chrF2++", "ROUGE-1", "ROUGE-Lsum", "distinct-2", "small", "accuracy", "perplexity")
    for label in labels:
        assert any(line.startswith(f"{label} ") for line in told.out.splitlines())
    assert "case:lc" in found["small"]["signature"]
    assert "case:mixed" in found["bleu"]["signature"]
    assert "tok:unicode" in found["rouge1"]["signature"]
    assert found["rougeL"]["low"] <= found["rougeL"]["score"] <= found["rougeL"]["high"]
    assert found["distinct-1"]["low"] is None
    # The demo's sentences have no unknown characters, so words and bytes can be told.
    assert 1 < found["byte_perplexity"] < found["word_perplexity"]
    assert 0 < found["token_accuracy"] < 100


def test_the_command_line_changes_them(command: Command, scored: Path) -> None:
    """And not which checkpoint is the best, nor what is stored."""
    stored = Path("run/config.yaml").read_bytes()
    told = command(
        "seq2seq-evaluate", "run=run", "metrics=generation", "metrics.small=null", "metrics.bleu.tokenize=char"
    )
    assert told.status == 0, told.err
    found = scores()
    assert sorted(measured(found)) == sorted(["bleu", "chrf", "distinct-1", "distinct-2", "exact_match"])
    assert "tok:char" in found["bleu"]["signature"]
    best = Path("run/checkpoints/best").read_text(encoding="utf-8").strip()
    assert found["steps"] == [int(best.removeprefix("step_"))]
    assert Path("run/config.yaml").read_bytes() == stored
    told = command("seq2seq-evaluate", "run=run", "metrics=none", "metrics.small=null", "metrics.ter={}")
    assert told.status == 0, told.err
    assert measured(scores()) == ["ter"]


def test_an_older_run_has_the_usual_ones(command: Command, run: Path) -> None:
    stored = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    del stored["metrics"]
    (run / "config.yaml").write_text(yaml.safe_dump(stored), encoding="utf-8")
    told = command("seq2seq-evaluate", "run=run", "metrics.ter=null")
    assert told.status == 0, told.err
    assert measured(scores()) == ["bleu", "chrf"]
    told = command("seq2seq-train", "run=run")
    assert told.status == 0, told.err
    assert "already done" in told.err


def test_a_library_that_is_gone_stops_evaluation_alone(
    command: Command, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq.metrics.rouge.find_spec", lambda name: None)
    told = command("seq2seq-evaluate", "run=run")
    message = (
        "seq2seq-evaluate: metrics.rouge: the library `rouge-score` is missing: pip install 'seq2seq[generation]', "
        "or set null to do without\n"
    )
    assert (told.status, told.out, told.err) == (2, "", message)
    Path("in.txt").write_text("the house\n", encoding="utf-8")
    assert command("seq2seq-translate", "run=run", "input=in.txt").status == 0
    assert command("seq2seq-evaluate", "run=run", "metrics.rouge=null").status == 0


def test_a_file_that_runs_code_is_read_where_the_user_names_it(command: Command, scored: Path) -> None:
    stored = yaml.safe_load((scored / "config.yaml").read_text(encoding="utf-8"))
    stored["metrics"]["comet"] = {"model": "run/x.ckpt", "batch_size": 16}
    (scored / "config.yaml").write_text(yaml.safe_dump(stored), encoding="utf-8")
    told = command("seq2seq-evaluate", "run=run")
    message = (
        "seq2seq-evaluate: metrics.comet: the run uses run/x.ckpt, which can run code when it is loaded; allow it: "
        "metrics.comet.model=run/x.ckpt, or metrics.comet=null\n"
    )
    assert (told.status, told.out, told.err) == (2, "", message)
    told = command("seq2seq-evaluate", "run=run", "metrics.comet.model=run/x.ckpt")
    assert "the library `unbabel-comet` is missing" in told.err
    told = command("seq2seq-evaluate", "run=run", "metrics.comet=null")
    assert told.status == 0, told.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["trainer.metric=blue"], "trainer.metric: no score is called 'blue'; did you mean 'bleu'?"),
        (["metrics.bleu.lowercas=true"], "metrics.bleu.lowercas: unknown key; did you mean 'lowercase'?"),
        (
            ["metrics.rouge.stem=true"],
            "metrics.rouge: stem=true is for English, but the target language is 'de'",
        ),
        (
            ["metrics=summarization", "+metrics.rougeL={name:bleu}"],
            "metrics.rougeL: 'rougeL' is a score of metrics.rouge already: choose another name",
        ),
        (
            ["metrics.bertscore={}"],
            "2 mistakes in the config\n"
            "  metrics.bertscore.model: is missing; it has to be given\n"
            "  metrics.bertscore.num_layers: is missing; it has to be given",
        ),
    ],
)
def test_what_is_wrong_is_told_before_any_work(command: Command, given: list[str], message: str) -> None:
    told = command("seq2seq-train", *given, "run=run")
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-train: {message}\n")
    assert not Path("run").exists()


def test_what_the_tokenizer_does_not_know_leaves_no_perplexity_per_word(command: Command, scored: Path) -> None:
    Path("in.en").write_text("a house\na dog\n", encoding="utf-8")
    Path("in.de").write_text("ein Haus\nein \u2603\n", encoding="utf-8")
    told = command("seq2seq-evaluate", "run=run", "source=in.en", "target=in.de")
    assert told.status == 0, told.err
    warning = "warning: no perplexity of words and bytes: the text holds what the tokenizer does not know\n"
    assert told.err.count(warning) == 1
    assert "per word" not in told.out
    told = command("seq2seq-evaluate", "run=run", "split=test")
    assert "no perplexity" not in told.err
    assert "per word" in told.out
