"""The benchmark of the whole command: what it makes and prints; not how fast anything is."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("benchmark_commands")


def test_lines_are_repeated(benchmark: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\nb\nc")
    assert benchmark.repeat(tmp_path / "in.txt", tmp_path / "lines", 5) == 5
    assert (tmp_path / "lines").read_text() == "a\nb\nc\na\nb\n"


def test_pieces_are_those_of_the_side_or_of_both(benchmark: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the tokenizer of the run is not sentencepiece"):
        benchmark.pieces(tmp_path, "target")
    for part in ("target", "shared"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "tokenizer.model").touch()
        assert benchmark.pieces(tmp_path, "target") == tmp_path / part / "tokenizer.model"


def test_outputs_are_compared_line_by_line(benchmark: ModuleType, tmp_path: Path) -> None:
    ours, bare = tmp_path / "ours", tmp_path / "bare"
    ours.write_text("a\nb\n\nd\n")
    bare.write_text("a\nx\n\nd\n")
    assert benchmark.same_lines(ours, bare) == 0.75
    bare.write_text("a\n")
    with pytest.raises(SystemExit, match="4 lines by seq2seq-translate, 1 by the script"):
        benchmark.same_lines(ours, bare)


def test_the_ratio_is_to_the_fastest_settings(benchmark: ModuleType) -> None:
    seconds = {"seq2seq-translate": 12.5, "1024 tokens, 2 x 1": 20.0, "2048 tokens, 2 x 1": 10.0}
    assert benchmark.row("int8", 1000, seconds, 0.987) == "| int8 | 80 | 100 | 2048 tokens, 2 x 1 | 0.80 | 98.7% |"


def test_every_setting_is_measured_in_every_round(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, scripts = [], []

    def timed_command(name: str, options: object, *arguments: str) -> float:
        commands.append((name, *arguments))
        return 7.0

    def run(module: str, python: Path, work: dict[str, object], folder: Path, limit: float) -> None:
        scripts.append(work)

    monkeypatch.setattr(benchmark, "timed_command", timed_command)
    monkeypatch.setattr(benchmark, "run", run)
    monkeypatch.setattr(benchmark, "pieces", lambda folder, side: folder / side)
    options = benchmark.parse(["--run=r", "--input=i", "--threads=3", "--tokens=64,128", "--rounds=2", "--beam=4"])
    seconds = benchmark.measure("int8", Path("python"), tmp_path, options)
    assert [*seconds] == [
        "seq2seq-translate",
        *("64 tokens, 3 x 1", "64 tokens, 1 x 3", "128 tokens, 3 x 1", "128 tokens, 1 x 3"),
    ]
    assert seconds["seq2seq-translate"] == 7.0
    assert [name for name, *_ in commands] == ["export", "translate", "translate"]
    assert {"precision=int8", "search.beam_size=4", "threads=3"} <= {*commands[1]}
    assert [(work["max_tokens"], work["inter_threads"]) for work in scripts] == [
        (64, 3),
        (64, 1),
        (128, 3),
        (128, 1),
    ] * 2
    assert {work["compute_type"] for work in scripts} == {"int8"}
