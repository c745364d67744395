"""The benchmark of training: the work it makes, what it counts, checks and prints; not how fast anything is."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.data.loader import Loader
from seq2seq.text.vocab import Vocab

FOLDER = Path(__file__).resolve().parents[3] / "scripts"
SIZES = {"num_layers": 3, "d_model": 8, "d_ff": 20, "num_heads": 2, "vocabulary": 50}


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("benchmark_training")


@pytest.fixture
def measuring() -> ModuleType:
    return importlib.import_module("peers.measuring")


def corpus(number: int) -> EncodedCorpus:
    generator = np.random.default_rng(3)

    def rows() -> Rows:
        lengths = generator.integers(1, 9, number)
        ids = generator.integers(len(Vocab.special), SIZES["vocabulary"], int(lengths.sum())).astype(np.int32)
        return Rows((ids, np.concatenate([[0], np.cumsum(lengths)])))

    return EncodedCorpus(rows(), rows(), np.arange(number))


def work_file(benchmark: ModuleType, folder: Path, *arguments: str) -> Path:
    """A run of the control, on one thread."""
    options = benchmark.parse(["--threads", "1", "--untimed", "2", "--steps", "3", *arguments])
    work = benchmark.work_of(folder, options, benchmark.Entry("control fp32", "control", "fp32"))
    file = folder / "work.json"
    file.write_text(json.dumps({**work, "sizes": SIZES, "started": 0.0, "output": str(folder / "found.json")}))
    return file


def test_operations_are_those_that_torch_counts_but_for_the_future() -> None:
    control, flops = importlib.import_module("peers.control"), importlib.import_module("flops")
    model = control.Control(**SIZES, dropout=0.0)
    source_length, target_length = 5, 7
    source = torch.full((1, source_length), 9)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # a product is an operation then
        model(source, torch.full((1, target_length), 9))
    unseen = target_length * (target_length - 1) // 2  # keys after their query, which torch multiplies too
    expected = counter.get_total_flops() - SIZES["num_layers"] * 4 * SIZES["d_model"] * unseen
    assert flops.forward_flops(SIZES, source_length, target_length) == expected
    more = flops.training_flops(SIZES, [source_length, 2], [target_length, 3])
    assert more == 3 * (expected + flops.forward_flops(SIZES, 2, 3))


def test_parameters_are_those_of_the_matrices() -> None:
    control, flops = importlib.import_module("peers.control"), importlib.import_module("flops")
    model = control.Control(**SIZES, dropout=0.0)
    assert flops.num_parameters(SIZES) == sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)


def test_the_work_has_the_batches_of_our_loader(
    benchmark: ModuleType, measuring: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_module, stored = importlib.import_module("work"), corpus(40)
    work_module.store_corpus(stored, tmp_path)
    work_module.store_batches(stored, tmp_path, max_tokens=30, seed=1, number=9)
    monkeypatch.setattr(sys, "argv", ["control", str(work_file(benchmark, tmp_path))])
    threads = torch.get_num_threads()
    work = measuring.Work.from_arguments()
    torch.set_num_threads(threads)
    loader = Loader(work_module.load_corpus(tmp_path), max_tokens=30, seed=1)
    found = list(work.batches())
    assert len(found) == 5
    for pairs in found:
        expected = loader.next_batch()
        source, target = pairs.tensors()
        assert source.equal(expected.source)
        assert target[:, 1:].equal(expected.labels)
        assert target[:, :-1].where(expected.target_mask, torch.tensor(0)).equal(expected.target)
        assert (sum(pairs.source_lengths), sum(pairs.target_lengths)) == (
            expected.num_source_tokens,
            expected.num_tokens,
        )


def test_ids_of_a_peer_with_other_special_tokens(measuring: ModuleType) -> None:
    source, target = measuring.Pairs([[7, 1], [8]], [[9], [1, 6]]).tensors(pad=1, unk=0)
    assert source.tolist() == [[7, 0, 3], [8, 3, 1]]
    assert target.tolist() == [[2, 9, 3, 1], [2, 0, 6, 3]]


def test_what_is_no_measurement_of_the_work(measuring: ModuleType) -> None:
    assert measuring.unlike("updates", 3, 3) == []
    assert measuring.unlike("label tokens", 1999, 2000) == ["1,999 label tokens instead of 2,000"]
    assert measuring.falling([9.0, 8.0, 7.0, 6.0]) == []
    assert measuring.falling([9.0, 8.0, 7.0, 9.5]) == ["the loss does not fall: from 9.000 to 9.500"]
    assert measuring.falling([9.0, float("nan")]) == ["the loss does not fall: from 9.000 to nan"]
    expected = 50 * 8 + 3 * (12 * 64 + 4 * 160)
    assert measuring.sized(expected + 100, SIZES) == []
    assert measuring.sized(2 * expected, SIZES) == [f"{2 * expected:,} parameters instead of some {expected:,}"]


def test_dropout_has_to_be_on(measuring: ModuleType) -> None:
    def loss_with(dropout: float) -> tuple[nn.Module, object]:
        model = nn.Dropout(dropout)
        return model, lambda: float(model(torch.ones(50)).square().sum())

    torch.manual_seed(1)
    assert measuring.dropping(*loss_with(0.5), 0.5) == []
    assert measuring.dropping(*loss_with(0.0), 0.0) == []
    assert measuring.dropping(*loss_with(0.0), 0.1) == ["dropout is 0.1, and yet the loss of a batch is [50.0]"]


def test_ours_has_the_sizes_and_the_dropout_of_the_work(
    benchmark: ModuleType, measuring: ModuleType, tmp_path: Path
) -> None:
    ours, flops = importlib.import_module("peers.ours"), importlib.import_module("flops")
    presets = importlib.import_module("presets")
    stored = json.loads(work_file(benchmark, tmp_path, "--dropout", "0.25").read_text())
    config = presets.compose_run(*ours.arguments(measuring.Work(**stored)))
    for side in ("encoder", "decoder"):
        options = config.model.options[side].options
        assert {options[name] for name in ("dropout", "attention_dropout", "activation_dropout")} == {0.25}
    vocab = ours.tokenizers_of(SIZES["vocabulary"]).target.vocab
    model = config.model(vocab, vocab)
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)
    assert matrices == flops.num_parameters(SIZES)
    assert config.trainer.max_steps == 5


def test_choose(benchmark: ModuleType) -> None:
    entries = benchmark.choose(["ours", "joeynmt"], ["fp32", "bf16", "auto"], [["long", "trainer.max_tokens=9000"]])
    assert [(entry.name, entry.peer, entry.mode, entry.overrides) for entry in entries] == [
        ("ours fp32", "ours", "fp32", ()),
        ("ours auto", "ours", "auto", ()),
        ("joeynmt fp32", "joeynmt", "fp32", ()),
        ("long", "ours", "auto", ("trainer.max_tokens=9000",)),
    ]
    with pytest.raises(SystemExit, match="unknown peer 'marian'; known are control, ours, opennmt_py"):
        benchmark.choose(["marian"], ["fp32"], [])
    with pytest.raises(SystemExit, match="no peer does fp16"):
        benchmark.choose(["ours"], ["fp16"], [])


def test_every_peer_has_an_adapter_and_a_recipe_or_our_own_python(benchmark: ModuleType) -> None:
    recipes = importlib.import_module("environments").RECIPES
    assert {*benchmark.MODES} == {*benchmark.PEERS} <= {*recipes, "control", "ours"}
    assert all((FOLDER / "peers" / f"{peer}.py").exists() for peer in benchmark.PEERS)


def found(seconds: list[float], precision: str = "fp32") -> dict[str, object]:
    return {
        "tokens": [100, 100, 400],
        "flops": [10.0, 10.0, 40.0],
        "seconds": seconds,
        "padding": 0.1,
        "memory": 5e8,
        "startup": 2.0,
        "losses": [9.0, 8.0],
        "parameters": 2_000_000,
        "precision": precision,
        "versions": {"python": "3.11", "torch": "2.13.0"},
    }


def test_summary_takes_the_medians_of_updates_and_of_rounds(benchmark: ModuleType) -> None:
    rounds = [found([1.0, 2.0, 2.0]), found([1.0, 1.0, 8.0]), found([0.5, 0.5, 1.0])]  # 100, 100 and 200 tokens/s
    summary = benchmark.summary(rounds, {"fp32": 50.0, "bf16": 100.0})
    assert summary["tokens_per_second"] == 100
    assert summary["of_peak"] == pytest.approx(0.2)
    assert summary["mean_tokens_per_second"] == 120
    assert summary["loss"] == 8.5


def test_ratios_are_to_the_control_and_to_the_best_peer_of_the_same_precision(benchmark: ModuleType) -> None:
    def row(speed: float, precision: str) -> dict[str, object]:
        rows = benchmark.summary([found([1.0, 1.0, 4.0], precision)], {"fp32": 50.0, "bf16": 100.0})
        return {**rows, "tokens_per_second": speed}

    entries = benchmark.choose(["control", "ours", "eole"], ["fp32", "bf16", "auto"], [])
    speeds = {"control fp32": 1000.0, "control bf16": 1500.0, "ours fp32": 1800.0, "ours auto": 4000.0}
    speeds |= {"eole fp32": 1200.0, "eole bf16": 2000.0}
    results = {name: row(speed, "fp32" if name.endswith("fp32") else "bf16") for name, speed in speeds.items()}
    lines = benchmark.table(entries, results).splitlines()[2:]
    cells = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[3:5] for line in lines}
    assert cells["ours fp32"] == ["1.80", "1.50"]
    assert cells["ours auto"] == ["4.00", "2.00"]
    assert cells["control bf16"] == ["1.50", "0.75"]
    assert cells["eole fp32"] == ["1.20", "1.00"]


def test_events_are_grouped() -> None:
    profiles = importlib.import_module("profiles")
    groups = {
        "aten::addmm": "matrix products",
        "aten::mm": "matrix products",
        "aten::bmm": "attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward": "attention",
        "aten::_softmax": "attention",
        "aten::_log_softmax_backward_data": "softmax and loss",
        "aten::native_dropout_backward": "dropout and random",
        "aten::bernoulli_": "dropout and random",
        "aten::_fused_adamw_": "optimizer",
        "aten::native_layer_norm": "norms",
        "aten::embedding_dense_backward": "embedding",
        "aten::add_": "elementwise and copies",
        "Torch-Compiled Region": "compiled",
        "something": "other",
    }
    assert {event: profiles.group_of(event) for event in groups} == groups
    shares = profiles.shares([("aten::mm", 3.0), ("aten::addmm", 1.0), ("aten::add", 4.0)])
    assert shares["matrix products"] == shares["elementwise and copies"] == 0.5
    assert sum(shares.values()) == 1
    table = profiles.profile_table({"a": [("aten::mm", 1.0)], "b": [("aten::mm", 1.0), ("aten::bmm", 3.0)]})
    assert table.splitlines()[3:] == ["| attention | 0.0% | 75.0% |", "| matrix products | 100.0% | 25.0% |"]


@pytest.mark.parametrize(
    ("device", "has_bf16", "modes"),
    [
        ("cpu", True, ["fp32", "bf16", "auto"]),
        ("cpu", False, ["fp32"]),
        ("cuda", False, ["fp32", "bf16", "auto"]),
    ],
)
def test_bf16_by_software_is_not_measured_unasked(
    device: str,
    has_bf16: bool,
    modes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("seq2seq.training.precision.cpu_has_bf16", lambda: has_bf16)
    assert importlib.import_module("work").usual_modes(device) == modes
    assert ("bf16 is left out" in capsys.readouterr().err) == (len(modes) == 1)


@pytest.mark.slow
def test_control_and_ours_are_measured(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = np.random.default_rng(5).integers(0, 40, (300, 6))
    for side in ("a", "b"):
        (tmp_path / f"train.{side}").write_text("\n".join(" ".join(f"{side}{word}" for word in row) for row in words))
    sizes = ["--layers=1", "--width=16", "--feed-forward=24", "--heads=2", "--vocabulary=400", "--tokens=200"]
    run = ["--peers=control,ours", "--modes=fp32", "--threads=1", "--untimed=1", "--steps=6", "--rounds=1", "--lr=0.01"]
    data = ["--train", str(tmp_path / "train"), "--source=a", "--target=b", "--json", str(tmp_path / "all.json")]
    monkeypatch.setattr(sys, "argv", ["benchmark_training.py", *sizes, *run, *data, "--profile"])
    with pytest.raises(SystemExit) as status:
        benchmark.main()
    assert not status.value.code
    kept = json.loads((tmp_path / "all.json").read_text())
    assert kept["failed"] == {}
    control, ours = (kept["rounds"][name][0] for name in ("control fp32", "ours fp32"))
    assert control["tokens"] == ours["tokens"]
    assert control["padding"] == ours["padding"]
    assert "| matrix products |" in capsys.readouterr().out
