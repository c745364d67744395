"""seq2seq-export, and translating and measuring with CTranslate2 in the place of torch."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.nn.int8 import Int8Linear, is_supported
from seq2seq.text.pair import load_pair
from seq2seq.text.plain import CharacterTokenizer

ctranslate2 = pytest.importorskip("ctranslate2")
NAME = f"CTranslate2 {ctranslate2.__version__}"
Command = Callable[..., Any]
x86 = pytest.mark.skipif(not is_supported(torch.device("cpu")), reason="x86 only")


@pytest.fixture
def run(transformer: Path, command: Command) -> Path:
    return Path(shutil.copytree(transformer, "run"))


@pytest.fixture
def lines(command: Command) -> list[str]:
    lines = ["The old woman opens the door.", "", "a", "the house " * 60, "Does the teacher help?", " "]
    Path("in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


def test_an_export(command: Command, run: Path) -> None:
    told = command("seq2seq-export", "run=run", "to=ctranslate2", "output=out/made", "quantization=int8")
    assert told.status == 0, told.err
    assert told.err == "written to out/made\n"
    assert os.listdir("out") == ["made"]
    assert sorted(os.listdir("out/made")) == [
        "config.json", "export.json", "model.bin", "shared_vocabulary.json", "tokenizer",
    ]  # fmt: skip
    about = json.loads(Path("out/made/export.json").read_text(encoding="utf-8"))
    assert (about["steps"], about["quantization"], about["compared"]) == ([60], "int8", 20)
    assert about["agreement"]["float32"]["tokens"] > 0.99
    formats = list(about["agreement"])
    assert formats == ["float32", formats[1]]
    assert formats[1].startswith("int8")
    table = told.out.splitlines()
    assert table[0] == "20 sentences of the test split by CTranslate2 and by the model in torch, beam 5"
    assert table[2].split() == ["same", "tokens", "same", "sentences", "format"]
    assert [line.split("%   ")[-1] for line in table[3:]] == formats

    # All that another machine needs, with nothing of this project.
    tokenizer = load_pair(CharacterTokenizer, Path("out/made/tokenizer")).target
    pieces = [tokenizer.vocab.tokens[number] for number in tokenizer.encode("The house.")]
    [result] = ctranslate2.Translator("out/made").translate_batch([pieces], beam_size=2)
    assert {token for tokens in result.hypotheses for token in tokens} <= set(tokenizer.vocab.tokens)


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ("to=onnx output=made", 2, "to: should be one of ctranslate2, huggingface, safetensors, but is 'onnx'"),
        ("to=ctranslate2", 2, "output: is missing; it has to be given"),
        ("to=ctranslate2 output=run", 2, "output: run is there already; name another folder"),
        ("to=ctranslate2 output=made input=no.txt", 3, "there is neither no.txt nor no.txt.gz"),
        ("to=ctranslate2 output=made input=empty.txt", 3, "input=empty.txt: holds no text"),
        ("to=ctranslate2 output=empty.txt/made", 2, "output: empty.txt/made: cannot be written (Not a directory)"),
        (
            "to=ctranslate2 output=made quantization=int4",
            2,
            "quantization: should be one of float32, float16, bfloat16, int8, int8_float32, int8_float16, "
            "int8_bfloat16, int16, but is 'int4'; did you mean 'int8'?",
        ),
        ("to=ctranslate2 output=made model=lstm", 2, "model: is chosen when a run is trained, not here"),
        ("to=ctranslate2 output=made beam=5", 2, "beam: unknown key; there are: checkpoint, input, model, output, "
         "plugins, quantization, run, threads, to"),
        ("to=huggingface output=made quantization=int8", 2, "quantization: has an effect with to=ctranslate2 only"),
        ("to=safetensors output=made input=empty.txt", 2,
         "input: has no effect with to=safetensors: nothing is compared"),
        ("to=huggingface output=run", 2, "output: run is there already; name another folder"),
        ("to=huggingface output=made input=no.txt", 3, "there is neither no.txt nor no.txt.gz"),
        ("to=safetensors output=empty.txt/made", 2, "output: empty.txt/made: cannot be written (Not a directory)"),
    ],
)  # fmt: skip
def test_refused_exports(command: Command, run: Path, given: str, status: int, message: str) -> None:
    Path("empty.txt").write_text("\n \n", encoding="utf-8")
    told = command("seq2seq-export", "run=run", *given.split())
    assert (told.status, told.out) == (status, "")
    assert told.err.startswith(f"seq2seq-export: {message}")
    assert sorted(os.listdir()) == ["empty.txt", "run"]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("ctranslate2", "CTranslate2 has no place for lstm"),
        ("huggingface", "Hugging Face has no place for lstm, only for transformer"),
    ],
)
def test_all_that_has_no_place_is_told_at_once(command: Command, trained: Path, to: str, message: str) -> None:
    told = command("seq2seq-export", f"run={trained}", f"to={to}", "output=made")
    assert (told.status, told.out, told.err) == (
        2,
        "",
        f"seq2seq-export: 2 mistakes in the config\n  model.encoder.name: {message}\n  model.decoder.name: {message}\n",
    )
    assert os.listdir() == []


def test_an_export_is_compared_on_a_file(command: Command, run: Path, lines: list[str]) -> None:
    told = command("seq2seq-export", "run=run", "to=ctranslate2", "output=made", "input=in.txt")
    assert told.out.startswith("4 sentences of in.txt by CTranslate2 and by the model in torch, beam 5\n")
    assert told.err.startswith("warning: line 3 has 600 tokens, more than 256: translated in 4 parts\n")


@pytest.mark.parametrize("given", [[], ["search.nbest=3"], ["search=greedy"], ["search.max_length=9"]])
def test_both_backends_translate_alike(command: Command, run: Path, lines: list[str], given: list[str]) -> None:
    told = command("seq2seq-translate", "run=run", "input=in.txt", "output=auto.txt", *given)
    assert told.status == 0
    assert told.err.splitlines()[0] == f"backend: {NAME}"
    assert "line 4 has 600 tokens, more than 256: translated in" in told.err
    for backend in ("torch", "ctranslate2"):
        told = command(
            "seq2seq-translate", "run=run", "input=in.txt", f"output={backend}.txt", f"backend={backend}", *given
        )
        assert told.status == 0
        assert "backend:" not in told.err
    found = [Path(f"{name}.txt").read_text(encoding="utf-8") for name in ("auto", "torch", "ctranslate2")]
    assert found[0] == found[2]
    parts = [[line.split(" ||| ")[:2] for line in text.split("\n")] for text in found]
    assert parts[1] == parts[2]
    assert len(parts[1]) > len(lines)


def test_alignments_are_of_what_was_translated(command: Command, run: Path, lines: list[str]) -> None:
    for backend in ("torch", "ctranslate2"):
        given = ("input=in.txt", "output=out.txt", f"attention={backend}.txt", f"backend={backend}")
        assert command("seq2seq-translate", "run=run", *given).status == 0
    links = Path("ctranslate2.txt").read_text(encoding="utf-8")
    assert links == Path("torch.txt").read_text(encoding="utf-8")
    assert links.count("\n") == len(lines)


def test_translate_gives_what_evaluate_scored(command: Command, run: Path, lines: list[str]) -> None:
    Path("target.txt").write_text("x\n" * len(lines), encoding="utf-8")
    for backend, name in (("auto", NAME), ("torch", "torch")):
        told = command("seq2seq-evaluate", "run=run", "source=in.txt", "target=target.txt", f"backend={backend}")
        assert told.status == 0, told.err
        assert f"sentences/s with {name}\n" in told.out
        folder = Path("run/evaluation/in.txt-target.txt")
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        assert (scores["backend"], scores["precision"]) == (name, "fp32")
        told = command("seq2seq-translate", "run=run", "input=in.txt", f"backend={backend}")
        assert told.out == (folder / "hypotheses.txt").read_text(encoding="utf-8")


def test_int8(command: Command, run: Path, lines: list[str]) -> None:
    told = command("seq2seq-translate", "run=run", "input=in.txt", "precision=int8", "backend=ctranslate2")
    assert (told.status, told.out.count("\n"), "precision:" in told.err) == (0, len(lines), False)


@x86
def test_int8_where_no_layer_is_large_enough(command: Command, run: Path, lines: list[str]) -> None:
    texts = []
    for precision in ("fp32", "int8"):
        told = command("seq2seq-translate", "run=run", "input=in.txt", f"precision={precision}", "backend=torch")
        assert told.status == 0
        texts.append(told.out)
    message = "precision: fp32, since no linear layer is large enough for int8 (131,072 weights)"
    assert told.err.splitlines().count(message) == 1
    assert texts[0] == texts[1]


@x86
def test_int8_in_torch(command: Command, trained: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what CTranslate2 has no place for: nearly the same translations, and the loss of the model as it is."""
    multiplied = []
    forward = Int8Linear.forward

    def counted(self: Int8Linear, x: Tensor) -> Tensor:
        multiplied.append(precision)
        return forward(self, x)

    monkeypatch.setattr("seq2seq.nn.int8.LEAST_WEIGHTS", 1)
    monkeypatch.setattr(Int8Linear, "forward", counted)
    shutil.copytree(trained, "lstm")
    Path("target.txt").write_text("x\n" * len(lines), encoding="utf-8")
    folder = Path("lstm/evaluation/in.txt-target.txt")
    losses, texts = [], []
    for precision in ("fp32", "int8"):
        told = command("seq2seq-translate", "run=lstm", "input=in.txt", f"precision={precision}")
        assert (told.status, "CTranslate2 has no place for lstm" in told.err) == (0, True)
        assert ("precision: int8 in " in told.err) == (precision == "int8")
        texts.append(told.out.splitlines())
        told = command("seq2seq-evaluate", "run=lstm", "source=in.txt", "target=target.txt", f"precision={precision}")
        assert told.status == 0, told.err
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        assert scores["precision"] == precision
        losses.append(scores["loss"])
        assert told.out.count("sentences/s with torch") == 1
        assert (folder / "hypotheses.txt").read_text(encoding="utf-8").splitlines() == texts[-1]
    assert set(multiplied) == {"int8"}
    assert losses[0] == losses[1]
    assert sum(a == b for a, b in zip(*texts, strict=True)) >= len(lines) // 2


def test_int8_where_nothing_computes_in_it(
    command: Command, trained: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq.export.choice.is_supported", lambda device: False)
    told = command("seq2seq-translate", f"run={trained}", "input=in.txt", "precision=int8")
    assert (told.status, told.out) == (2, "")
    assert [line.strip() for line in told.err.splitlines()[1:]] == [
        "precision: torch computes in int8 on x86 processors only, so it needs backend=ctranslate2",
        *(f"model.{part}.name: CTranslate2 has no place for lstm" for part in ("encoder", "decoder")),
    ]


def test_a_run_that_does_not_fit(command: Command, trained: Path, lines: list[str]) -> None:
    """auto takes torch and says why; the reason is the refusal of the other one."""
    reason = [f"model.{part}.name: CTranslate2 has no place for lstm" for part in ("encoder", "decoder")]
    told = command("seq2seq-translate", f"run={trained}", "input=in.txt")
    assert (told.status, told.err.splitlines()[0]) == (0, f"backend: torch ({reason[0]})")
    told = command("seq2seq-translate", f"run={trained}", "input=in.txt", "backend=ctranslate2")
    assert (told.status, told.out) == (2, "")
    assert [line.strip() for line in told.err.splitlines()[1:]] == reason


def test_without_the_package(command: Command, run: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.export.ctranslate2.find_spec", lambda name: None)
    missing = "CTranslate2 is not installed: pip install 'seq2seq[ctranslate2]'"
    told = command("seq2seq-translate", "run=run", "input=in.txt")
    assert (told.status, told.err.splitlines()[0]) == (0, f"backend: torch ({missing})")
    told = command("seq2seq-translate", "run=run", "input=in.txt", "backend=ctranslate2")
    assert (told.status, told.err) == (2, f"seq2seq-translate: {missing}\n")
    told = command("seq2seq-export", "run=run", "to=ctranslate2", "output=made")
    assert (told.status, told.err) == (2, f"seq2seq-export: to: {missing}\n")


def test_a_machine_that_cannot(command: Command, run: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> set[str]:
        raise RuntimeError("no driver\nand more")

    for types, reason in (
        (fail, "CTranslate2: no driver"),
        (lambda device: {"int8", "float16"}, "precision: CTranslate2 computes on this cpu in float16, int8"),
    ):
        monkeypatch.setattr("seq2seq.export.ctranslate2.compute_types", types)
        told = command("seq2seq-translate", "run=run", "input=in.txt")
        assert (told.status, told.err.splitlines()[0]) == (0, f"backend: torch ({reason})")


def test_threads(command: Command, run: Path, lines: list[str]) -> None:
    before = torch.get_num_threads()
    try:
        one = command("seq2seq-translate", "run=run", "input=in.txt", "threads=1")
        three = command("seq2seq-translate", "run=run", "input=in.txt", "threads=3", "max_tokens=50")
        assert torch.get_num_threads() == 3
        assert (one.status, three.status, three.out) == (0, 0, one.out)
        told = command("seq2seq-translate", "run=run", "input=in.txt", "threads=0")
        assert (told.status, told.err) == (2, "seq2seq-translate: threads: should be greater than 0, but is 0\n")
    finally:
        torch.set_num_threads(before)
