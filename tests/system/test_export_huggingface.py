"""seq2seq-export to=huggingface and to=safetensors: the folders are used without this project."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from seq2seq.pipeline import load_run
from seq2seq.search.beam import Beam
from seq2seq.text.vocab import Vocab

from .conftest import train_quietly

transformers = pytest.importorskip("transformers")
Command = Callable[..., Any]

# What a program writes that knows nothing of this project.
OUTSIDE = """
import contextlib, io, json, sys
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder, target_folder, searches, snippet = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
model = AutoModelForSeq2SeqLM.from_pretrained(folder)
source, target = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(target_folder)
batch = source(sys.stdin.read().splitlines(), padding=True, return_tensors="pt")
found = {"class": type(model).__name__, "read": batch["input_ids"].tolist(), "written": [], "texts": []}
for search in searches:
    output = model.generate(**batch, **search)
    found["written"].append(output.tolist())
    found["texts"].append(target.batch_decode(output, skip_special_tokens=True))
with contextlib.redirect_stdout(io.StringIO()) as printed:
    exec(snippet, {})
found["printed"] = printed.getvalue()
assert "seq2seq" not in sys.modules
json.dump(found, sys.stdout)
"""
SMALL = (
    "model.encoder.d_model=16", "model.decoder.d_model=16", "model.encoder.num_layers=1", "model.decoder.num_layers=2",
    "model.encoder.d_ff=32", "model.decoder.d_ff=32", "model.encoder.num_heads=4", "model.decoder.num_heads=2",
    "data.train=300", "data.validation=20", "data.test=200", "trainer.max_steps=100", "trainer.validate_every=100",
    "trainer.validation_examples=5", "trainer.max_tokens=900", "trainer.device=cpu", "optimizer.lr=1e-2",
    "search=greedy", "search.max_length=30",
)  # fmt: skip
LIMIT = 40  # tokens
LAST = "BlenderbotForConditionalGeneration"
KINDS = {
    "MarianMTModel": ("model=transformer_base", "tokenizer.vocab_size=400"),
    "PegasusForConditionalGeneration": (
        "model=transformer_tiny", "tokenizer.vocab_size=380", "tokenizer.model_type=bpe", "tokenizer.shared=false",
        "model.tie_embeddings=target",
    ),
    LAST: (
        "model=transformer_tiny", "tokenizer=words", "model.encoder.positions=learned",
        "model.decoder.positions=learned",
    ),
}  # fmt: skip


def outside(folder: Path, lines: list[str], searches: list[dict[str, Any]], snippet: list[str]) -> dict[str, Any]:
    target = folder / "target" if (folder / "target").exists() else folder
    done = subprocess.run(
        [sys.executable, "-I", "-c", OUTSIDE, folder, target, json.dumps(searches), "\n".join(snippet)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(
    scope="module",
    params=["MarianMTModel", "PegasusForConditionalGeneration", pytest.param(LAST, marks=pytest.mark.slow)],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def small(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_quietly(tmp_path_factory.mktemp(kind) / "run", (KINDS[kind][0], *SMALL, *KINDS[kind][1:]))


def test_a_folder_is_all_that_is_needed(command: Command, small: Path, kind: str) -> None:
    """200 sentences in one padded batch, greedily and by beam, against the run."""
    Path("in.txt").write_text("The teacher helps.\nA dog sleeps.\n", encoding="utf-8")
    told = command("seq2seq-export", f"run={small}", "to=huggingface", "output=out/made", "input=in.txt")
    assert told.status == 0, told.err
    table = told.out.splitlines()
    assert table[0] == "2 sentences of in.txt by transformers and by the model in torch, greedy"
    assert [line.split() for line in table[2:]] == [
        ["same", "tokens", "same", "sentences", "format"], ["100.00%", "100.00%", "float32"]
    ]  # fmt: skip
    written, family, *snippet = told.err.splitlines()
    assert (written, family.split()[2]) == ("written to out/made", kind.removesuffix("MTModel").split("For")[0])
    assert os.listdir("out") == ["made"]
    separate = kind == "PegasusForConditionalGeneration"
    assert sorted(os.listdir("out/made")) == [
        "config.json", "export.json", "generation_config.json", "model.safetensors", *(["target"] if separate else []),
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    about = json.loads(Path("out/made/export.json").read_text(encoding="utf-8"))
    assert (about["architecture"], about["steps"], about["compared"]) == (kind, [100], 2)
    assert (about["same_ids"], about["agreement"]["float32"]["sentences"]) == (1.0, 1.0)

    loaded = load_run(small, "best", {}, device="cpu", precision="fp32")
    source = loaded.config.data().split("test")
    assert source is not None
    lines = [example.source for example in source.read()]
    sizes, common = (1, 5), {"max_length": LIMIT + 2, "length_penalty": 0.0, "early_stopping": True}
    found = outside(Path("out/made"), lines, [{"num_beams": size, **common} for size in sizes], snippet)
    assert found["class"] == kind
    assert found["printed"].startswith("['")
    for beam_size, written, texts in zip(sizes, found["written"], found["texts"], strict=True):
        translator = loaded.translator(8192)
        translator.search = Beam(beam_size=beam_size, max_length=LIMIT, length_penalty=0.0)
        ours = [best_first[0] for best_first in translator.translate(lines)]
        assert [until_eos(ids) for ids in found["read"]] == [[*t.parts[0][0], Vocab.eos] for t in ours]
        # at the limit a beam is ended in another way, which counts most where long outputs are preferred
        compared = [n for n, t in enumerate(ours) if beam_size == 1 or len(t.parts[0][1]) < LIMIT]
        assert len(compared) > 20
        for n in compared:
            assert until_eos(written[n]) == [Vocab.bos, *ours[n].parts[0][1], Vocab.eos]
            assert texts[n] == ours[n].text


def until_eos(ids: list[int]) -> list[int]:
    return ids[: ids.index(Vocab.eos) + 1]


def test_an_export_without_transformers(command: Command, transformer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.export.huggingface.find_spec", lambda name: None)
    given = ("seq2seq-export", f"run={transformer}", "to=huggingface")
    told = command(*given, "output=made", "input=in.txt")
    assert (told.status, told.err) == (2, "seq2seq-export: input: needs transformers: nothing is compared\n")
    told = command(*given, "output=made")
    assert (told.status, told.out) == (0, "")
    assert told.err.splitlines()[:2] == ["written to made", "not compared, since transformers is not installed"]
    assert "agreement" not in json.loads(Path("made/export.json").read_text(encoding="utf-8"))
    assert transformers.AutoModelForSeq2SeqLM.from_pretrained("made").num_parameters() > 0


@pytest.mark.parametrize("average", [False, True])
def test_weights_alone(command: Command, trained: Path, average: bool) -> None:
    """Of any model; those of an average are in no checkpoint."""
    which = "average" if average else "last"
    told = command("seq2seq-export", f"run={trained}", "to=safetensors", "output=made", f"checkpoint={which}")
    assert (told.status, told.out, told.err) == (0, "", "written to made\n")
    assert sorted(os.listdir("made")) == ["config.yaml", "export.json", "model.safetensors", "tokenizer"]
    assert os.listdir("made/tokenizer") == ["shared"]
    assert Path("made/config.yaml").read_text() == (trained / "config.yaml").read_text()
    assert yaml.safe_load(Path("made/config.yaml").read_text())["model"]["encoder"]["name"] == "lstm"
    about = json.loads(Path("made/export.json").read_text())
    found = load_file("made/model.safetensors")
    assert about["parameters"] == sum(tensor.numel() for tensor in found.values())
    assert about["steps"] == ([2, 4] if average else [4])
    stored = load_file(trained / "checkpoints" / "step_00000004" / "model.safetensors")
    assert stored.keys() == found.keys()
    assert all(stored[name].equal(found[name]) for name in found) == (not average)


def test_a_tokenizer_without_a_place_leaves_nothing(command: Command, transformer: Path) -> None:
    run = Path(shutil.copytree(transformer, "run"))
    vocab = run / "tokenizer" / "shared" / "vocab.json"
    tokens = json.loads(vocab.read_text())
    vocab.write_text(json.dumps({**tokens, "tokenizer": "words", "tokens": [*tokens["tokens"][:-1], "<s>"]}))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["tokenizer"] = {"name": "words"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    told = command("seq2seq-export", "run=run", "to=huggingface", "output=out/made")
    assert told.status == 2
    assert told.err.startswith("seq2seq-export: tokenizer: has the words <s>, which are the special tokens' names")
    assert os.listdir("out") == []
