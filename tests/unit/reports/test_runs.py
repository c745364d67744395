"""What is read of a run directory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import CheckpointError
from seq2seq.reports.runs import name_runs, read_system

from .made_up_runs import REFERENCES, make_run, text_scores, write_weights


def test_all_that_is_known_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"optimizer.lr": 0.01})
    system = read_system(run, run / "evaluation" / "test")
    assert (system.name, system.run) == ("run", run)
    assert system.config["optimizer.lr"] == 0.01
    assert "format" not in system.config
    assert system.hypotheses == REFERENCES
    assert system.num_parameters == 3 * 4 + 5
    assert system.seconds == 6.25
    assert system.tokens_per_second == 950.0  # of 500, 900, 1000 and 1500
    assert (system.score("bleu"), system.interval("bleu")) == (20.0, (19.0, 21.0))
    assert (system.score("loss"), system.interval("loss")) == (2.5, None)
    assert (system.score("rougeL"), system.interval("rougeL")) == (None, None)
    assert system.score("checkpoint") is None


def test_curves_leave_out_marks_and_what_is_no_number(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    curves = read_system(run, run / "evaluation" / "test").curves
    assert "validation/best" not in curves
    loss, bleu = curves["train/loss"], curves["validation/bleu"]
    assert (loss.steps, loss.values, loss.seconds) == ([2, 4, 6], [5.0, 4.0, 3.0], [1.5, 3.0, 6.25])
    assert loss.tokens == [300, 700, 1100]
    assert (bleu.steps, bleu.values) == ([4, 5], [12.0, 11.0])
    assert bleu.tokens == [700, 900]  # step 5 lies half way between 4 and 6
    assert curves["validation/loss"].values == [3.5]


def test_a_run_of_an_older_version_has_no_tokens(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 1, "seconds": 2.5, "train/loss": 4.5}\n{"step": 2, "seco')
    system = read_system(run, run / "evaluation" / "test")
    assert system.curves["train/loss"].tokens == [None]
    assert (system.seconds, system.tokens_per_second) == (2.5, None)


def test_what_may_be_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    weights = run / "checkpoints" / "step_00000004" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])
    system = read_system(run, run / "evaluation" / "test")
    assert (system.seconds, system.curves, system.num_parameters) == (None, {}, None)
    write_weights(run / "checkpoints" / "step_00000006", {"a": [7]})  # another one, as large
    assert read_system(run, run / "evaluation" / "test").num_parameters == 7


def test_a_language_model_has_no_hypotheses(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "evaluation" / "test" / "scores.json").unlink()
    other = make_run(tmp_path / "text")
    (other / "evaluation" / "test" / "scores.json").write_text(json.dumps(text_scores(1.5)))
    system = read_system(other, other / "evaluation" / "test")
    assert system.hypotheses is None
    assert system.score("bits_per_byte") == 1.5
    with pytest.raises(CheckpointError, match=r"scores\.json: No such file or directory"):
        read_system(run, run / "evaluation" / "test")


def test_lines_are_those_that_were_written(tmp_path: Path) -> None:
    """Whatever they hold, but for the line feed; and as many as were measured."""
    odd = ["a\u2028b", "", "c\x0bd", "e"]
    run = make_run(tmp_path / "run", hypotheses=odd)
    assert read_system(run, run / "evaluation" / "test").hypotheses == odd
    short = make_run(tmp_path / "short", hypotheses=odd[:3])
    with pytest.raises(CheckpointError, match=r"hypotheses\.txt: 3 lines, but 4 sentences were measured$"):
        read_system(short, short / "evaluation" / "test")
    (run / "evaluation" / "test" / "hypotheses.txt").write_text("of\nanother\nevaluation\n.\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"hypotheses\.txt: not what .*scores\.json was measured of; again=true "):
        read_system(run, run / "evaluation" / "test")


def test_names_are_the_paths_below_the_shared_folder(tmp_path: Path) -> None:
    runs = [tmp_path / "a" / "x", tmp_path / "a" / "y" / "z", tmp_path / "b"]
    assert [*name_runs(runs).values()] == ["a/x", "a/y/z", "b"]
    assert [*name_runs(runs[:2]).values()] == ["x", "y/z"]
    assert [*name_runs(runs[:1]).values()] == ["x"]
    assert [*name_runs([tmp_path / "a", tmp_path / "a" / "x"]).values()] == ["a", "a/x"]


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from seq2seq.reports.runs import read_system\n"
        "from seq2seq.reports.comparison import compare\n"
        "run = Path(sys.argv[1]); one = read_system(run, run / 'evaluation' / 'test')\n"
        f"compare([one, read_system(run, run / 'evaluation' / 'test', 'b')], {REFERENCES!r}, baseline='b')\n"
        "print('torch' in sys.modules, one.num_parameters)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout == "False 17\n"


@pytest.mark.parametrize(
    ("end", "parameters", "ended_early"),
    [
        ({"metrics": {}, "parameters": 175_000, "pruned": False}, 175_000, False),
        ({"metrics": {}, "parameters": 175_000, "pruned": True}, 175_000, True),
        ({"metrics": {}, "limit": "max_steps"}, 17, False),  # of an older version
        ({}, 17, False),
    ],
)
def test_the_size_of_the_whole_model_is_what_training_counted(
    tmp_path: Path, end: dict[str, Any], parameters: int, ended_early: bool
) -> None:
    """Of adapters a checkpoint holds nothing else."""
    run = make_run(tmp_path / "run")
    (run / "ended.json").write_text(json.dumps(end), encoding="utf-8")
    found = read_system(run, run / "evaluation" / "test")
    assert (found.num_parameters, found.ended_early) == (parameters, ended_early)
