"""Metrics with a model of their own, with stand-ins for their libraries, which take what theirs take."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from seq2seq.errors import ConfigError
from seq2seq.metrics import bertscore, comet, rouge
from seq2seq.metrics.base import Metric, Texts
from seq2seq.metrics.bertscore import BERTScore
from seq2seq.metrics.comet import COMET
from seq2seq.metrics.rouge import ROUGE
from seq2seq.registry import Factory

TEXTS = Texts(["a b", "c"], ["a b", "d"], "de", ["x", "y"])
Calls = list[tuple[Any, ...]]


def library(monkeypatch: pytest.MonkeyPatch, owner: ModuleType, name: str, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(owner, "find_spec", lambda asked: object() if asked == name else None)


@pytest.mark.parametrize(
    ("owner", "component", "options", "package", "extra"),
    [
        (rouge, ROUGE, {}, "rouge-score", "generation"),
        (bertscore, BERTScore, {"model": "x", "num_layers": 3}, "bert-score", "bertscore"),
        (comet, COMET, {"model": "x"}, "unbabel-comet", "comet"),
    ],
)
def test_a_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    owner: ModuleType,
    component: type[Metric],
    options: dict[str, Any],
    package: str,
    extra: str,
) -> None:
    monkeypatch.setattr(owner, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        Factory(component, extra, options, "metrics.x")()
    told = f"the library `{package}` is missing: pip install 'seq2seq[{extra}]', or set null to do without"
    assert str(caught.value) == f"metrics.x: {told}"


def test_bertscore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: Calls = []

    class Scorer:
        def __init__(self, model_type: str, num_layers: int, batch_size: int, baseline_path: str) -> None:
            calls.append((model_type, num_layers, batch_size))
            self.hash = f"{model_type}_L{num_layers}_no-idf_version=0.3.13"

        def score(self, cands: list[str], refs: list[str], batch_size: int) -> tuple[torch.Tensor, ...]:
            calls.append((cands, refs, batch_size))
            return torch.tensor([0.1, 0.1]), torch.tensor([0.2, 0.2]), torch.tensor([1.0, 0.5])

    library(monkeypatch, bertscore, "bert_score", BERTScorer=Scorer)
    (tmp_path / "bert").mkdir()
    monkeypatch.chdir(tmp_path)
    score = BERTScore(model="bert", num_layers=9, batch_size=3).measure(TEXTS, confidence=True)[""]
    assert calls == [(str(tmp_path / "bert"), 9, 3), (["a b", "c"], ["a b", "d"], 3)]
    assert (score.score, score.low, score.high) == (75, 50, 100)
    assert score.signature == "nrefs:1|bs:1000|seed:12345|bert_L9_no-idf_version=0.3.13"
    with pytest.raises(ValueError, match=r"^model=roberta-large: no such folder; models are not downloaded$"):
        BERTScore(model="roberta-large", num_layers=17)


@pytest.mark.parametrize("named", ["folder", "file"])
def test_comet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str) -> None:
    calls: Calls = []

    class Model:
        def predict(
            self, samples: list[dict[str, str]], batch_size: int, gpus: int, progress_bar: bool
        ) -> SimpleNamespace:
            calls.append((samples, batch_size, gpus))
            return SimpleNamespace(scores=[0.75, 0.25], system_score=0.5)

    def load_from_checkpoint(checkpoint_path: str, local_files_only: bool) -> Model:
        assert local_files_only
        calls.append((checkpoint_path,))
        return Model()

    library(monkeypatch, comet, "comet", load_from_checkpoint=load_from_checkpoint)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = tmp_path / "wmt22" / "checkpoints" / "model.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    given = file if named == "file" else tmp_path / "wmt22"
    score = COMET(model=str(given), batch_size=4).measure(TEXTS, confidence=False)[""]
    samples = [{"src": "x", "mt": "a b", "ref": "a b"}, {"src": "y", "mt": "c", "ref": "d"}]
    assert calls == [(str(file),), (samples, 4, 0)]
    assert (score.score, score.low) == (50, None)
    assert score.signature.startswith("nrefs:1|model:wmt22|version:unbabel-comet-")
    with pytest.raises(ValueError, match=r"^model=Unbabel/wmt22: no such checkpoint; models are not downloaded$"):
        COMET(model="Unbabel/wmt22")
