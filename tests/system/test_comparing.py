"""seq2seq-evaluate on several runs."""

import csv
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml

from seq2seq.cli.evaluate import EvaluateOptions, load, make_plan, measure
from seq2seq.cli.known import known_scores
from seq2seq.errors import CheckpointError

from .conftest import TINY, Command, run_main, train_quietly


@pytest.fixture(scope="module")
def trained_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two seeds of a run and one of another learning rate, not measured yet; not to be changed."""
    folder = tmp_path_factory.mktemp("three")
    options = {"a-seed1": ["trainer.seed=1"], "a-seed2": ["trainer.seed=2"], "b": ["optimizer.lr=1e-2"]}
    for name, own in options.items():
        train_quietly(folder / name, (*TINY, "metrics.ter=null", *own))
    return folder


@pytest.fixture(scope="module")
def measured_three(trained_three: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with scores."""
    folder = Path(shutil.copytree(trained_three, tmp_path_factory.mktemp("measured") / "runs"))
    assert run_main("seq2seq-evaluate", (f"run={folder}/*",)) == 0
    return folder


@pytest.fixture
def runs(measured_three: Path, command: Command) -> Path:
    """A copy of these, as `runs` in the working directory."""
    return Path(shutil.copytree(measured_three, "runs"))


def rows(out: str) -> dict[str, list[str]]:
    """Of the first table, by the names of the runs."""
    table = out.split("\n\n")[1]
    return {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    """The rows, by the names of the runs."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_each_is_measured_once(command: Command, trained_three: Path) -> None:
    shutil.copytree(trained_three, "runs")
    for stranger in (".hidden", "notes"):
        Path("runs", stranger).mkdir()
    shutil.copy("runs/b/config.yaml", "runs/.hidden")
    first = command("seq2seq-evaluate", "run=runs/*")
    assert first.status == 0, first.err
    assert first.out.startswith("test: 20 sentences, 3 runs, checkpoint best\n\nrun ")
    assert "measuring b, 3 of 3\n" in first.err
    assert "already" not in first.err
    assert rows(first.out).keys() == {"a-seed1", "a-seed2", "b"}
    assert "\nmean over seeds runs " in first.out
    assert "\na                  2 " in first.out
    scores = Path("runs/b/evaluation/test/scores.json")
    written = scores.stat().st_mtime_ns
    second = command("seq2seq-evaluate", "run=[runs/b,runs/a-seed2,runs/a-seed1]")
    assert (second.status, second.out) == (0, first.out)
    assert "3 of 3 were measured already; again=true measures them again\n" in second.err
    assert scores.stat().st_mtime_ns == written
    third = command("seq2seq-evaluate", "run=[runs/b]", "again=true")
    assert third.status == 0, third.err
    assert scores.stat().st_mtime_ns > written
    fourth = command("seq2seq-evaluate", "run=runs/?", "checkpoint=last", "search.beam_size=2")
    assert "already" not in fourth.err
    assert Path("runs/b/evaluation/test-last/scores.json").exists()


def test_scores_are_those_of_one_run_by_itself(command: Command, runs: Path) -> None:
    many = json.loads((runs / "b" / "evaluation" / "test" / "scores.json").read_text(encoding="utf-8"))
    told = command("seq2seq-evaluate", "run=runs/b")
    assert told.status == 0, told.err
    assert told.out.startswith("test: 20 sentences, checkpoint best (step ")
    alone = json.loads((runs / "b" / "evaluation" / "test" / "scores.json").read_text(encoding="utf-8"))
    del many["sentences_per_second"], alone["sentences_per_second"]
    assert many == alone


def test_p_values_and_files(command: Command, runs: Path) -> None:
    told = command("seq2seq-evaluate", "run=runs/*", "baseline=runs/b", "table=[out/t.md,out/t.csv,out/t.json]")
    assert told.status == 0, told.err
    assert told.err.endswith("written to out/t.md, out/t.csv, out/t.json\n")
    assert "\ndifferences to b, and their p-values\n" in told.out
    found = json.loads(Path("out/t.json").read_text(encoding="utf-8"))
    assert len(found["references"]) == len(found["sources"]) == 20
    assert found["varied"] == ["optimizer.lr"]
    Path("ref").write_text("".join(f"{line}\n" for line in found["references"]), encoding="utf-8")
    files = [f"runs/{name}/evaluation/test/hypotheses.txt" for name in ("b", "a-seed1", "a-seed2")]
    line = [sys.executable, "-m", "sacrebleu", "ref", "-i", *files, "-m", "chrf", "--paired-ar", "-f", "json"]
    _, *theirs = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
    ours = [found["tests"][name]["chrf"]["randomisation"] for name in ("a-seed1", "a-seed2")]
    assert ours == [row["chrF2"]["p_value"] for row in theirs]
    by_name = read_csv(Path("out/t.csv"))
    assert by_name["a-seed2"]["trainer.seed"] == "2"
    assert float(by_name["a-seed2"]["chrf_p_randomisation"]) == ours[1]
    assert Path("out/t.md").read_text(encoding="utf-8").count("\n| b | ") == 1


def test_a_page(command: Command, runs: Path) -> None:
    pytest.importorskip("seq2seq.reports.page")
    pytest.importorskip("plotly")
    told = command("seq2seq-evaluate", "run=runs/*", "baseline=runs/b", "report=out/page")
    assert told.status == 0, told.err
    assert told.err.endswith("written to out/page/report.html\n")
    page = Path("out/page/report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("a-seed1", "a-seed2", "chrF2"))
    assert "Attention" in page


def test_a_page_that_cannot_be_written_is_told_before_anything_is_measured(command: Command, runs: Path) -> None:
    pytest.importorskip("plotly")
    Path("out/report.html").mkdir(parents=True)
    told = command("seq2seq-evaluate", "run=runs/*", "report=out", "again=true")
    assert (told.status, told.out) == (1, "")
    assert told.err == "seq2seq-evaluate: out/report.html: cannot be written (it is a folder)\n"
    Path("/proc").exists() or pytest.skip("needs a folder in which nothing can be made")
    told = command("seq2seq-evaluate", "run=runs/*", "report=/proc/self", "again=true")
    assert (told.status, told.out) == (1, "")
    assert told.err.startswith("seq2seq-evaluate: /proc/self/report.html: cannot be written (")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: lower max_tokens"),
        (OSError("header too short"), "header too short"),
        (FileNotFoundError(2, "No such file or directory", "x"), "x: No such file or directory"),
    ],
)
def test_a_page_without_attention_where_the_model_cannot_be_loaded(
    command: Command, runs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    pytest.importorskip("plotly")

    def refuse(plan: object) -> None:
        raise error

    monkeypatch.setattr("seq2seq.cli.evaluate.load", refuse)
    told = command("seq2seq-evaluate", "run=runs/*", "report=out")
    assert told.status == 0, told.err
    assert f"warning: a-seed1: no attention: {message}\n" in told.err
    assert told.err.endswith("written to out/report.html\n")
    assert 'id="attention"' not in Path("out/report.html").read_text(encoding="utf-8")


def test_of_many_runs_eight_are_told(command: Command, runs: Path) -> None:
    for lr in range(10):
        shutil.copytree(runs / "b", f"sw/model=lstm,optimizer.lr={lr},trainer.seed=1-0123abcd")
    told = command("seq2seq-evaluate", "run=sw/*", "baseline=xyz")
    shown = ", ".join(f"lr={lr}" for lr in range(8))
    assert told.err == f"seq2seq-evaluate: baseline: 'xyz' is none of the runs; there are: {shown} and 2 more\n"
    told = command("seq2seq-evaluate", "run=[runs/b,sw]")
    assert "error: sw is not measured: sw: not a run directory (it has no config.yaml); a folder of 10 runs" in told.err


def test_what_cannot_be_measured_is_told_and_the_others_go_on(command: Command, runs: Path) -> None:
    shutil.rmtree(runs / "a-seed2" / "checkpoints")
    shutil.copytree(runs / "b", runs / "c")
    config = yaml.safe_load((runs / "c" / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["test"] = 15
    (runs / "c" / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (runs / "d").mkdir()
    (runs / "d" / "config.yaml").write_text("x", encoding="utf-8")
    told = command("seq2seq-evaluate", "run=runs/*", "baseline=b", "table=t.csv")
    assert told.status == 4
    assert told.err.endswith("seq2seq-evaluate: 3 of 5 runs were not measured\n")
    assert "error: a-seed2 is not measured: runs/a-seed2/checkpoints: holds no whole checkpoint yet\n" in told.err
    other = "c is not measured: its data has other references than that of b (15 and 20 sentences)"
    assert f"error: {other}\n" in told.err
    assert {*rows(told.out)} == {"a-seed1", "a-seed2", "b", "c", "d"}
    assert {*[*rows(told.out)][:2]} == {"a-seed1", "b"}
    assert "\na-seed2 not measured: runs/a-seed2/checkpoints: holds no whole checkpoint yet\n" in told.out
    faults = {name: row["fault"] for name, row in read_csv(Path("t.csv")).items()}
    assert faults["c"] == "its data has other references than that of b (15 and 20 sentences)"
    assert faults["b"] == ""
    alone = command("seq2seq-evaluate", "run=[runs/a-seed2,runs/nowhere]")
    assert (alone.status, alone.out) == (4, "")
    assert alone.err.endswith("seq2seq-evaluate: 2 of 2 runs were not measured\n")
    without = command("seq2seq-evaluate", "run=[runs/a-seed1,runs/b,runs/c]", "baseline=runs/c")
    assert without.status == 3
    assert "error: a-seed1 is not measured: its data has other references than that of c" in without.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run=runs/x*"], 4, "run=runs/x*: matches nothing; in runs there are: a-seed1, a-seed2, b"),
        (["run=elsewhere/*"], 4, "run=elsewhere/*: matches nothing; there is no folder elsewhere"),
        (
            ["run=runs/b/checkpoints/*"],
            4,
            "run=runs/b/checkpoints/*: matches no run directory, which has a config.yaml, but: best, last, "
            "step_00000002, step_00000004",
        ),
        (["run=[]"], 2, "run: is an empty list"),
        (["run=runs/*", "table=t.txt"], 2, "table: t.txt: the ending should be one of .md, .csv, .json"),
        (["run=runs/*", "baseline=runs/c"], 2, "baseline: 'runs/c' is none of the runs; did you mean 'runs/b'?"),
        (["run=runs/*", "baseline=xy"], 2, "baseline: 'xy' is none of the runs; there are: a-seed1, a-seed2, b"),
        (["run=runs"], 4, "runs: not a run directory (it has no config.yaml); a folder of 3 runs: run='runs/*'"),
        (["run=runs/b", "baseline=runs/b"], 2, "baseline: is for several runs: run=[runs/a,runs/b] or run='runs/*'"),
        (["run=runs/b", "again=true"], 2, "again: is for several runs: run=[runs/a,runs/b] or run='runs/*'"),
        (
            ["run=runs/*", "model=pretrained", "model.path=x"],
            2,
            "model: is measured by itself: name the run that was made for it among the others",
        ),
    ],
)
def test_wrong_use(command: Command, runs: Path, arguments: list[str], status: int, message: str) -> None:
    told = command("seq2seq-evaluate", *arguments)
    assert (told.status, told.out, told.err) == (status, "", f"seq2seq-evaluate: {message}\n")


def test_a_folder_that_is_called_like_a_pattern_is_one_run(command: Command, measured_three: Path) -> None:
    shutil.copytree(measured_three / "b", "runs[1]")
    told = command("seq2seq-evaluate", "run='runs[1]'")
    assert told.status == 0, told.err
    assert told.out.startswith("test: 20 sentences, checkpoint best (step ")


DECISIVE = ["name", "files", "tag", "checkpoint", "steps", "weights", "examples", "languages", "precision", "version"]


@pytest.mark.parametrize("key", [*DECISIVE, "search", "metrics", "sacrebleu", "backend", "hypotheses"])
def test_what_decides_whether_scores_are_known(runs: Path, key: str) -> None:
    options = EvaluateOptions(run=["runs/b"], max_tokens=500)
    path = runs / "b" / "evaluation" / "test" / "scores.json"
    plan = make_plan(runs / "b", options, {})
    scores = known_scores(plan)
    assert scores == json.loads(path.read_text(encoding="utf-8"))
    value = scores[key]
    path.write_text(json.dumps(scores | {key: [value]}), encoding="utf-8")
    assert known_scores(plan) is None
    path.write_text(json.dumps({name: scores[name] for name in scores if name != key}), encoding="utf-8")
    assert (known_scores(plan) is None) == (key != "tag")  # scores are older than tags


def test_scores_by_another_tokenizer_or_version_of_sacrebleu_are_not_known(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(runs / "b", EvaluateOptions(run=["runs/b"]), {})
    scores = known_scores(plan)
    assert scores is not None
    assert scores["sacrebleu"] == {"version": version("sacrebleu"), "tokenize": {"bleu": ["13a"]}}
    with monkeypatch.context() as other:
        other.setattr("seq2seq.metrics.sacrebleu.default_tokenizer", lambda language: "char")
        assert known_scores(plan) is None
    with monkeypatch.context() as other:
        other.setattr("seq2seq.cli.known.version", lambda name: "1.0")
        assert known_scores(plan) is None
    assert known_scores(plan) == scores


def test_scores_of_weights_that_are_broken_since_are_not_known(runs: Path) -> None:
    options = EvaluateOptions(run=["runs/b"])
    (weights,) = (runs / "b" / "checkpoints").glob("step_00000004/model.safetensors")
    (runs / "b" / "checkpoints" / "step_00000002" / "model.safetensors").write_bytes(b"")
    weights.write_bytes(weights.read_bytes()[:-1])
    plan = make_plan(runs / "b", options, {})
    assert known_scores(plan) is None
    with pytest.raises(CheckpointError, match=r"bytes, but .* were written$"):
        measure(plan, *load(plan))


def test_lines_that_were_edited_are_measured_again(runs: Path) -> None:
    lines = runs / "b" / "evaluation" / "test" / "hypotheses.txt"
    text = lines.read_text(encoding="utf-8")
    lines.write_text("x" + text, encoding="utf-8")
    plan = make_plan(runs / "b", EvaluateOptions(run=["runs/b"]), {})
    assert known_scores(plan) is None
    lines.unlink()
    assert known_scores(plan) is None
