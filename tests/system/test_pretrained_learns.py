"""Each family, and each way to train one, until it has learned the demo: minutes each."""

import json
from pathlib import Path

import pytest

from seq2seq.data.demo import Demo

from ..pretrained_models import make
from .conftest import Command

COMMON = (
    "trainer.max_length=200", "trainer.max_steps=2000", "trainer.validate_every=1000", "optimizer=muon",
    "optimizer.lr=1e-2", "schedule=cosine", "schedule.warmup=100", "trainer.device=cpu", "run=run",
)  # fmt: skip
WAYS = {
    "t5": ["model=pretrained", "model.path={t5}", "model.dropout=0"],
    "bart": ["model=pretrained", "model.path={bart}", "model.dropout=0"],
    "marian": ["model=pretrained", "model.path={marian}", "model.dropout=0"],
    "m2m100": ["model=pretrained", "model.path={m2m100}", "model.source_language=en", "model.target_language=de",
               "model.dropout=0"],
    "gpt2": ["model=pretrained", "model.path={gpt2}", "model.dropout=0"],
    "llama": ["model=pretrained", "model.path={llama}"],
    "bert under an LSTM": ["model=encoder_decoder", "model/encoder=pretrained", "model.encoder.path={bert}",
                           "model.encoder.dropout=0", "model/decoder=lstm_tiny"],
}  # fmt: skip
SIZES = {"gpt2": {"width": 128, "depth": 3}, "llama": {"width": 128, "depth": 3}}


@pytest.mark.slow
@pytest.mark.parametrize("way", list(WAYS))
def test_the_demo_is_learned(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.chdir(tmp_path)
    read = Demo(train=600).split("train")
    assert read is not None
    lines = [text for example in read.read() for text in (example.source, example.target)]
    family = way.split()[0]
    folder = make(family, tmp_path / family, lines, **SIZES.get(family, {}))
    told = command("seq2seq-train", *(key.format(**{family: folder}) for key in WAYS[way]), *COMMON)
    assert told.status == 0, told.err
    assert command("seq2seq-evaluate", "run=run", "split=test").status == 0
    found = json.loads(Path("run/evaluation/test/scores.json").read_bytes())
    assert found["bleu"]["score"] > 80
