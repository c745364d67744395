"""The scripts that run over the model presets: what they find and print, not how fast anything is."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from seq2seq.cli.overrides import config_folder
from seq2seq.search.beam import Beam
from seq2seq.text.vocab import Vocab

FOLDER = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def presets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("presets")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("benchmark_presets")


@pytest.fixture
def settings(benchmark: ModuleType) -> Iterator[object]:
    return benchmark.Settings(
        vocabulary=50, tokens=300, length=None, batches=3, sources=5, seconds=0.0, threads=1, device="cpu",
        precision="fp32",
    )  # fmt: skip


def test_presets_are_found_and_other_names_of_them_are_not(
    presets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    (folder / "encoder").mkdir(parents=True)
    (folder / "pair.yaml").write_text("# Any.\n# Written by scripts/write_configs.py from the class.\nname: pair\n")
    (folder / "new_tiny.yaml").write_text("# New.\ndefaults:\n  - pair\n  - _self_\n")
    (folder / "own.yaml").write_text("name: own\n")
    (folder / "new.yaml").write_text("# The new one.\ndefaults:\n  - new_tiny\n")
    (folder / "encoder" / "part.yaml").write_text("name: part\n")
    monkeypatch.setattr(presets, "config_folder", lambda: tmp_path)
    assert presets.model_presets() == ["new_tiny", "own"]


def test_every_preset_of_the_project_is_one_of_the_commands(presets: ModuleType) -> None:
    found = presets.model_presets()
    assert {"transformer_base", "transformer_tiny", "lstm_base"} <= set(found)
    assert {"transformer", "encoder_decoder"}.isdisjoint(found)
    assert all((config_folder() / "model" / f"{name}.yaml").exists() for name in found)
    config = presets.compose_run("model=lstm_tiny", "model.encoder.num_layers=3")
    assert (config.model.name, config.model.options["encoder"].options["num_layers"]) == ("encoder_decoder", 3)


def test_choose(benchmark: ModuleType) -> None:
    variant = ["deep", "model.encoder.num_layers=9", "model.decoder.num_layers=7"]
    assert benchmark.choose("a,b_tiny,c_tiny", True, [variant]) == {
        "b_tiny": ["model=b_tiny"],
        "c_tiny": ["model=c_tiny"],
        "deep": ["model=b_tiny", "model.encoder.num_layers=9", "model.decoder.num_layers=7"],
    }
    with pytest.raises(SystemExit, match="no preset is left"):
        benchmark.choose("a", True, [])


def test_the_table_is_narrow_and_its_ratios_are_to_the_reference(benchmark: ModuleType) -> None:
    small = {"parameters": 2.0e6, "training": 123_456.0, "memory": 5.0e8, "beam_tokens": 50_000.0}
    small |= {"beam_sentences": 2_000.0, "greedy_tokens": 123_456.0, "greedy_sentences": 4_938.0}
    large = {name: 2.5 * value for name, value in small.items()}
    lines = benchmark.table({"a_preset_with_a_very_long_name": small, "transformer_base": large}).splitlines()
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) <= 100
    assert [lines[2].split().count(ratio) for ratio in ("0.40", "1.00")] == [4, 0]
    assert lines[3].split().count("1.00") == 4
    first = benchmark.table({"a": small, "b": large}).splitlines()
    assert first[3].split().count("2.50") == 4


def test_batches_are_spread_over_the_lengths(benchmark: ModuleType, settings: object) -> None:
    corpus = benchmark.random_corpus(settings)
    batches = benchmark.training_batches(corpus, settings)
    assert len(batches) == 3
    widths = [max(batch.source.size(1), batch.target.size(1)) for batch in batches]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert all(len(batch.numbers) * width <= 300 for batch, width in zip(batches, widths, strict=True))
    source, mask = benchmark.decoding_batch(corpus, 5)
    assert (source[mask] == Vocab.eos).sum() == 5


class Stopping:
    """A model whose outputs all end at once."""

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> "Stopping":
        return self

    def select(self, sources: Tensor) -> "Stopping":
        return self

    def reorder(self, hypotheses: Tensor) -> "Stopping":
        return self

    def step(self, tokens: Tensor, state: "Stopping") -> tuple[Tensor, "Stopping"]:
        logits = torch.linspace(0, 1, 9).repeat(len(tokens), 1)
        logits[:, Vocab.eos] = 50.0
        return logits, state


def test_a_model_is_held_to_the_length_of_the_search(benchmark: ModuleType) -> None:
    source, mask = torch.full((2, 5), 7), torch.ones(2, 5, dtype=torch.bool)
    search = Beam(beam_size=3, max_length=6)
    assert [len(found[0].tokens) for found in search(Stopping(), source, mask)] == [0, 0]  # type: ignore[arg-type]
    assert [len(found[0].tokens) for found in search(benchmark.Unending(Stopping()), source, mask)] == [6, 6]
