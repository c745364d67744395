"""The benchmark of translation: the sources it makes, what it checks and prints; not how fast anything is."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from seq2seq.data.encoded import EncodedCorpus, Rows

FOLDER = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("benchmark_translation")


def rows(*lengths: int) -> Rows:
    ids = np.arange(4, 4 + sum(lengths), dtype=np.int32)
    return Rows((ids, np.concatenate([[0], np.cumsum(lengths)])))


def test_sources_are_drawn_evenly_and_batched_with_the_length_of_the_outputs(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    corpus = EncodedCorpus(rows(2, 7, 3, 5, 2), rows(4, 1, 3, 6, 1), np.arange(5))
    benchmark.store_sources(corpus, tmp_path, number=3, max_tokens=10)  # the first, the third and the last
    lines = [json.loads(line) for line in (tmp_path / "sources.jsonl").read_text().splitlines()]
    sides = corpus.sources
    assert sides is not None
    first, third, last = (sides[i].tolist() for i in (0, 2, 4))
    assert lines == [[[last, third], 4], [[first], 5]]


def test_outputs_have_to_be_as_many_and_as_long_as_asked_for() -> None:
    wrong = importlib.import_module("peers.searching").wrong
    assert wrong([[7, 8, 9, 3], [7, 8, 9]], 2, 4) == ""
    assert wrong([[7, 8, 9, 6], [7, 8, 9, 3]], 2, 4) == ""
    assert wrong([[7, 8, 9, 3]], 2, 4) == "1 outputs for 2 sources"
    assert wrong([[7, 3], [7, 8, 9, 9, 9]], 2, 4) == "outputs of 1 to 5 tokens instead of 3 and eos"


def test_every_batch_is_searched_and_checked(benchmark: ModuleType, tmp_path: Path) -> None:
    searching, training = importlib.import_module("peers.searching"), importlib.import_module("benchmark_training")
    (tmp_path / "sources.jsonl").write_text("[[[7, 8], [9]], 4]\n[[[5, 6, 7]], 6]\n")
    work = benchmark.work_of(tmp_path, benchmark.parse([]), training.Entry("ours fp32", "ours", "fp32"))
    work = searching.SearchWork(**work, started=0.0, output=str(tmp_path / "found.json"))
    asked = []

    def translate(pairs: object, length: int) -> list[list[int]]:
        asked.append((pairs.sources, length))  # type: ignore[attr-defined]
        return [[7] * (length - 1)] * len(pairs.sources)  # type: ignore[attr-defined]

    for at_a_time in (1, 2):
        asked.clear()
        searching.measure(work, translate, precision="fp32", versions={}, at_a_time=at_a_time)
        assert asked[0] == ([[7, 8], [9]], 4)
        assert sorted(asked[1:]) == [([[5, 6, 7]], 6), ([[7, 8], [9]], 4)]
        found = json.loads((tmp_path / "found.json").read_text())
        assert (found["sentences"], found["tokens"]) == (3, 14)
        assert found["seconds"] > 0
    with pytest.raises(SystemExit, match="outputs of 2 to 2 tokens instead of 3 and eos"):
        searching.measure(work, lambda pairs, length: [[7, 7]] * 2, precision="fp32", versions={})


def test_the_work_is_that_of_the_adapters(benchmark: ModuleType, tmp_path: Path) -> None:
    searching, training = importlib.import_module("peers.searching"), importlib.import_module("benchmark_training")
    options = benchmark.parse(["--beam", "4", "--width", "24", "--threads", "1"])
    work = benchmark.work_of(tmp_path, options, training.Entry("eole bf16", "eole", "bf16"))
    found = searching.SearchWork(**work, started=0.0, output="")
    assert (found.beam_size, found.sizes["d_model"], found.precision) == (4, 24, "bf16")
    recipes = importlib.import_module("environments").RECIPES
    assert {*benchmark.MODES} == {*benchmark.PEERS} <= {*recipes, "ours"}
    assert all((FOLDER / "peers" / f"search_{peer}.py").exists() for peer in benchmark.PEERS)


def test_ratios_are_to_the_fastest_peer_of_the_same_precision(benchmark: ModuleType) -> None:
    def found(seconds: float, precision: str) -> dict[str, object]:
        times = {"sentences": 40, "tokens": 1000, "seconds": seconds}
        return {**times, "memory": 1e9, "startup": 3.0, "precision": precision, "versions": {"torch": "2.13.0"}}

    rounds = {
        "ours fp32": [found(2, "fp32"), found(4, "fp32"), found(1, "fp32")],
        "ours auto": [found(1, "bf16")],
        "eole fp32": [found(8, "fp32")],
        "eole bf16": [found(4, "bf16")],
    }
    lines = benchmark.table({name: benchmark.summary(of) for name, of in rounds.items()}).splitlines()[2:]
    assert [line.split(" | ")[2:5] for line in lines] == [
        ["20.0", "500", "4.00"],
        ["40.0", "1,000", "4.00"],
        ["5.0", "125", "1.00"],
        ["10.0", "250", "1.00"],
    ]


def test_an_environment_is_built_once_for_each_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = importlib.import_module("environments")
    recipe = environments.Recipe(packages=("peer==1",), needs=("needed",), torch="torch==2")
    monkeypatch.setattr(environments, "RECIPES", {"peer": recipe})
    installed: list[list[str]] = []
    monkeypatch.setattr(environments.venv, "create", lambda home, **options: home.mkdir(exist_ok=True))
    monkeypatch.setattr(environments, "install", lambda python, packages: installed.append(packages))
    python = environments.python_of("peer", tmp_path)
    assert python == tmp_path / "peer" / "bin" / "python"
    assert installed == [["torch==2"], ["needed"], ["--no-deps", "peer==1"]]
    environments.python_of("peer", tmp_path)
    assert len(installed) == 3
    monkeypatch.setattr(environments, "RECIPES", {"peer": environments.Recipe(needs=("more",), torch="torch==2")})
    environments.python_of("peer", tmp_path)
    assert installed[3:] == [["torch==2"], ["more"]]


def test_a_peer_that_cannot_be_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = importlib.import_module("environments")

    def fail(python: Path, packages: list[str]) -> None:
        raise RuntimeError("no such version")

    monkeypatch.setattr(environments.venv, "create", lambda home, **options: home.mkdir())
    monkeypatch.setattr(environments, "install", fail)
    pythons, failed = environments.pythons_of(["ours", "eole", "eole"], tmp_path)
    assert [*pythons] == ["ours"]
    assert failed == {"eole": "not installed: no such version"}
