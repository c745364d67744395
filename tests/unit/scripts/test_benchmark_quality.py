"""The benchmark of time to a BLEU: the files that it writes for the peer, and its table; nothing is trained."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("benchmark_quality")


GIVEN = ["--train", "train", "--validation", "val", "--test", "test"]


def test_sources_of_like_length_lie_together_under_the_budget(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SEARCH_TOKENS", 8)  # eos counted
    script.store_sources([[9, 9, 9], [5], [6, 6], [7], [8] * 20], tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "sources.jsonl").read_text().splitlines()]
    assert lines == [[[[5], [7]], [1, 3]], [[[6, 6], [9, 9, 9]], [2, 0]], [[[8] * 20], [4]]]


@pytest.mark.parametrize(
    ("goal", "row"),
    [
        (30.0, "| eole | 500 | 2.0 | 30.5 | yes | eole 1 |"),  # by the mean of its snapshots
        (31.0, "| eole | 750 | 3.0 | 31.0 | yes | eole 1 |"),
        (40.0, "| eole | 1,000 | 4.0 | 33.0 | no | eole 1 |"),
    ],
)
def test_the_peer_is_measured_where_it_first_reaches_the_goal(script: ModuleType, goal: float, row: str) -> None:
    scores = [
        {"step": 250, "seconds": 60.0, "bleu": 9.0},
        {"step": 500, "seconds": 120.0, "bleu": 28.0, "bleu_of_mean": 30.5},
        {"step": 750, "seconds": 180.0, "bleu": 31.0, "bleu_of_mean": 30.9},
        {"step": 1000, "seconds": 240.0, "bleu": 33.0},
    ]
    options = script.parse([*GIVEN, "--goal", str(goal), "--threads", "2"])
    lines = script.table(options, 90.0, 35.2, {"scores": scores, "versions": {"eole": "1"}}).splitlines()
    assert lines[0] == "| | updates | minutes | test BLEU | goal reached | version |"
    assert lines[2].startswith(f"| seq2seq | 450 | 1.5 | 35.2 | {'no' if goal > 35 else 'yes'} |")
    assert lines[3] == row
    assert script.table(options, 90.0, 35.2, None).splitlines() == lines[:3]


def test_with_one_thread_the_time_is_that_of_the_processor(script: ModuleType) -> None:
    options = script.parse([*GIVEN, "--threads", "1"])
    found = {"scores": [{"step": 250, "seconds": 60.0, "bleu": 9.0}], "versions": {}}
    assert "CPU minutes" in script.table(options, 90.0, 35.2, found)


def test_mistakes_are_told_before_anything_is_installed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["benchmark_quality.py", *given, *arguments])
        script.main()

    def pythons_of(peers: object, folder: object) -> tuple[dict[str, Path], dict[str, str]]:
        return {}, {"eole": "would be installed now"}

    monkeypatch.setattr(script, "pythons_of", pythons_of)
    given = [word if word.startswith("--") else str(tmp_path / word) for word in GIVEN]
    files = [tmp_path / f"{name}.{language}" for name in ("train", "val", "test") for language in ("en", "de")]
    for file in files[:-1]:
        file.touch()
    with pytest.raises(SystemExit, match=rf"^no such file: {files[-1]}$"):
        begin()
    files[-1].touch()
    with pytest.raises(SystemExit, match=r" exists: --output names a new folder, since a run that is there "):
        begin("--output", str(tmp_path))
    with pytest.raises(SystemExit, match="eole: would be installed now"):
        begin("--output", str(tmp_path / "new"))


def test_the_sizes_are_those_of_the_preset(script: ModuleType) -> None:
    options = importlib.import_module("presets").compose_run("model=transformer_tiny").model.options
    for part in ("encoder", "decoder"):
        assert {name: options[part].options[name] for name in script.SIZES} == script.SIZES
