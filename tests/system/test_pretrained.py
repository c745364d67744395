"""Models of the transformers library with the three commands."""

import json
import resource
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from seq2seq.data.demo import Demo
from seq2seq.training.run_dir import RunDir

from ..pretrained_models import FAMILIES, make
from .conftest import Command

SHORT = (
    "trainer.max_steps=4", "trainer.validate_every=2", "trainer.validation_examples=4", "trainer.max_tokens=500",
    "data.train=300", "data.validation=10", "data.test=8", "optimizer.lr=1e-3", "trainer.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> list[str]:
    read = Demo(train=300).split("train")
    assert read is not None
    return [text for example in read.read() for text in (example.source, example.target)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        make(family, folder / family, lines)
    return folder


@pytest.fixture
def here(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a folder of models of its own."""
    shutil.copytree(models, tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no waiting for what cannot be reached
    shutil.copytree("models/t5", "models/t5-cut")
    cut = load_file("models/t5/model.safetensors")
    del cut["decoder.block.1.layer.2.layer_norm.weight"]
    save_file(cut, "models/t5-cut/model.safetensors", {"format": "pt"})
    Path("in.txt").write_text("the old man sees the dog\n\nthe small cat\n", encoding="utf-8")
    return tmp_path


def weights(run: str, step: int = 4) -> dict[str, bytes]:
    file = Path(run, f"checkpoints/step_{step:08}/model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(file).items()}


def test_a_run_is_complete_and_continues_exactly(command: Command, here: Path) -> None:
    train = ("seq2seq-train", "model=pretrained", "model.path=models/t5", *SHORT)
    told = command(*train, "run=whole")
    assert told.status == 0, told.err
    assert command(*train, "run=parted", "trainer.max_steps=2").status == 0
    shutil.rmtree("models")
    told = command("seq2seq-train", "run=parted", "trainer.max_steps=4")
    assert told.status == 0, told.err
    assert weights("parted") == weights("whole")
    told = command("seq2seq-translate", "run=whole", "input=in.txt", "search.max_length=8")
    assert told.status == 0, told.err
    assert told.out.count("\n") == 3
    assert told.out.split("\n")[1] == ""
    told = command("seq2seq-evaluate", "run=whole", "split=test", "search.max_length=8")
    assert told.status == 0, told.err
    assert "test: 8 sentences, checkpoint best (step" in told.out


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("t5", "bert")])
def test_other_families_continue_exactly(command: Command, here: Path, family: str) -> None:
    languages = ["model.source_language=en", "model.target_language=de"] if family == "m2m100" else []
    train = ("seq2seq-train", "model=pretrained", f"model.path=models/{family}", *languages, *SHORT)
    assert command(*train, "run=whole").status == 0
    assert command(*train, "run=parted", "trainer.max_steps=2").status == 0
    assert command(*train, "run=parted").status == 0
    assert weights("parted") == weights("whole")
    assert command("seq2seq-translate", "run=whole", "input=in.txt", "search.max_length=9").out.count("\n") == 3
    told = command("seq2seq-evaluate", "run=whole", "search.max_length=9")
    assert "test: 8 sentences, checkpoint best (step" in told.out


def test_a_language_model_reads_the_source_as_its_prompt(command: Command, here: Path) -> None:
    told = command("seq2seq-train", "model=pretrained", "model.path=models/gpt2", *SHORT, "run=run")
    assert told.status == 0, told.err
    told = command("seq2seq-translate", "run=run", "input=in.txt", "search.max_length=5", "search.beam_size=3")
    assert (told.status, told.out.count("\n")) == (0, 3)


def test_text_alone(command: Command, here: Path) -> None:
    given = ("model=pretrained", "model.path=models/gpt2", "data.source=null", "run=run")
    told = command("seq2seq-train", *given, *SHORT)
    assert told.status == 0, told.err
    told = command("seq2seq-translate", "run=run", "input=in.txt", "search.max_length=12")
    assert told.status == 0, told.err
    assert told.out.startswith("the old man sees the dog")


def test_an_adapter_is_stored_alone(command: Command, here: Path) -> None:
    lora = ("model=pretrained", "model.path=models/t5", "model.adapter=lora", "model.lora_rank=2")
    told = command("seq2seq-train", *lora, *SHORT, "run=run")
    assert told.status == 0, told.err
    stored = weights("run")
    assert stored
    assert all(".lora_" in name for name in stored)
    assert any(any(stored[name]) for name in stored if "lora_B" in name)  # zeros at first
    told = command("seq2seq-translate", "run=run", "input=in.txt", "search.max_length=5")
    assert (told.status, told.out.count("\n")) == (0, 3)
    shutil.copy("models/bert/model.safetensors", "models/t5/model.safetensors")
    told = command("seq2seq-translate", "run=run", "input=in.txt")
    assert (told.status, told.out) == (2, "")
    assert f"{here}/models/t5: holds other weights than those that the run was trained with" in told.err
    shutil.rmtree("models")
    told = command("seq2seq-translate", "run=run", "input=in.txt")
    assert (told.status, told.out) == (2, "")
    assert told.err == (
        f"seq2seq-translate: model.path: {here}/models/t5: there is no such folder; the run holds the adapter alone "
        "and needs that model: model.path=... says where it is now\n"
    )


def test_the_model_of_an_adapter_may_move(command: Command, here: Path) -> None:
    """It is known by its weights. Training stores where it lies."""
    lora = ("model=pretrained", "model.path=models/t5", "model.adapter=lora", "optimizer.lr=1e-2", "run=run")
    assert command("seq2seq-train", *SHORT, *lora, "trainer.max_steps=2").status == 0
    translate = ("seq2seq-translate", "run=run", "input=in.txt", "search.max_length=5", "checkpoint=last")
    before = command(*translate).out
    assert before.count("\n") == 3
    shutil.move("models/t5", "moved")
    assert command(*translate).status == 2
    assert command(*translate, "model.path=moved").out == before
    told = command("seq2seq-export", "run=run", "to=huggingface", "output=out", "model.path=moved")
    assert told.status == 0, told.err
    told = command(*translate, "model.path=models/bart")
    assert told.status == 2
    assert f"{here}/models/bart: holds other weights than those that the run was trained with" in told.err
    told = command(*translate, "model.path=moved", "model.lora_rank=3")
    assert told.err.splitlines()[-1].strip().endswith("model.lora_rank: stays as in the run's training")
    evaluate = ("seq2seq-evaluate", "run=run", "split=test", "search.max_length=5")
    found = command(*evaluate, "model.path=moved", "checkpoint=last")
    assert found.status == 0, found.err
    assert command(*evaluate, "model.path=models/bart").status == 2
    told = command("seq2seq-train", "run=run", "model.path=moved", "trainer.max_steps=3")
    assert told.status == 0, told.err
    assert RunDir(Path("run")).read_config()["model"]["path"] == str(here / "moved")
    assert command(*translate, "checkpoint=step_00000002").out == before
    again = command(*evaluate, "checkpoint=step_00000002")
    assert again.out.splitlines()[2:5] == found.out.splitlines()[2:5]  # the scores, but not the speed


def test_a_whole_run_needs_no_model(command: Command, here: Path) -> None:
    assert command("seq2seq-train", "model=pretrained", "model.path=models/t5", *SHORT, "run=run").status == 0
    told = command("seq2seq-translate", "run=run", "input=in.txt", "model.path=models/t5")
    assert (told.status, told.out) == (2, "")
    assert told.err == "seq2seq-translate: model.path: has no effect: the run holds all of its weights\n"
    told = command("seq2seq-train", "run=run", "model.freeze=[encoder]")
    assert told.status == 2
    assert "model.freeze: was null, but is ['encoder']" in told.err


@pytest.mark.parametrize(("family", "more"), [("t5", ["model.adapter=lora"]), ("gpt2", []), ("t5", [])])
def test_given_back(
    command: Command, here: Path, family: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers finds with the exported model what the run finds."""
    import transformers

    given = ("model=pretrained", f"model.path=models/{family}", *more, "optimizer.lr=1e-2", "run=run")
    assert command("seq2seq-train", *SHORT, *given).status == 0
    told = command("seq2seq-export", "run=run", "to=huggingface", "output=out")
    assert told.status == 0, told.err
    python = told.err[told.err.index("from transformers import") :]
    exec(python.replace("A line.", "the small cat").replace("=100", "=1"), {})
    said = capsys.readouterr().out.strip()
    told = command("seq2seq-translate", "run=run", "input=in.txt", "search=greedy", "search.max_length=1")
    assert said in ("", told.out.splitlines()[2])  # theirs may begin with what says nothing
    told = command("seq2seq-translate", "run=run", "input=in.txt", "search=greedy", "search.max_length=9")
    assert told.status == 0, told.err
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    auto = transformers.AutoModelForSeq2SeqLM if family == "t5" else transformers.AutoModelForCausalLM
    model = auto.from_pretrained("out")
    for line, ours in zip(Path("in.txt").read_text().split("\n")[::2], told.out.split("\n")[::2], strict=True):
        read = tokenizer(line if family == "t5" else f"{line}\n", return_tensors="pt")
        found = model.generate(
            **read, max_new_tokens=9, do_sample=False, bad_words_ids=[[0]] if family == "t5" else None
        )
        start = 1 if family == "t5" else read.input_ids.size(1)
        assert tokenizer.decode(found[0, start:], skip_special_tokens=True).replace("\n", " ") == ours


def test_a_disk_that_is_full(command: Command, here: Path) -> None:
    """Stood in for by a limit on the size of files."""
    assert command("seq2seq-train", "model=pretrained", "model.path=models/t5", *SHORT, "run=run").status == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for to in ("huggingface", "safetensors"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, before[1]))
        try:
            told = command("seq2seq-export", "run=run", f"to={to}", "output=out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (told.status, told.out) == (2, "")
        assert told.err == "seq2seq-export: output: out: cannot be written (File too large)\n"
        assert not [*here.glob("*out*")]


def test_a_run_without_a_checkpoint_is_not_the_model_as_it_was(command: Command, here: Path) -> None:
    assert command("seq2seq-train", "model=pretrained", "model.path=models/t5", *SHORT, "run=run").status == 0
    shutil.rmtree("run/checkpoints")
    told = command("seq2seq-translate", "run=run", "input=in.txt")
    assert (told.status, told.out) == (4, "")
    assert "holds no whole checkpoint yet" in told.err


def test_tags_need_trained_tables(command: Command, here: Path) -> None:
    tagged = ("data=mixture", "+data@data.parts.a=demo", "data.parts.a.train=50", "data.tags.a=<2de>", "run=run")
    gpt2 = ("model=pretrained", "model.path=models/gpt2", "trainer.max_steps=1", "trainer.device=cpu")
    told = command("seq2seq-train", *gpt2, *tagged, "model.adapter=lora")
    assert told.status == 2
    assert "model: adapter=lora: <2de> would not be learned, since the tables of tokens stay as they are" in told.err
    assert command("seq2seq-train", *gpt2, *tagged, "run=other").status == 0


def test_a_run_is_no_model_of_the_library(command: Command, here: Path) -> None:
    Path("mine").mkdir()
    Path("mine/config.yaml").write_text("format: 1\nmodel: {}\n", encoding="utf-8")
    told = "mine: is a run of seq2seq: run={0}/mine uses it, and a new run begins with it by init_from={0}/mine"
    for name in ("seq2seq-train", "seq2seq-translate"):
        found = command(name, "model=pretrained", "model.path=mine")
        assert (found.status, found.out) == (2, "")
        assert found.err == f"{name}: model.path: {here}/{told.format(here)}\n"


def test_what_has_no_place(command: Command, here: Path) -> None:
    """Outputs are as long as the model can make them; a validation pair that is too long is told."""
    given = ("model=pretrained", "model.path=models/gpt2", *SHORT, "run=run")
    assert command("seq2seq-train", *given, "trainer.max_length=290").status == 0
    Path("long.txt").write_text("dog " * 250 + "\n", encoding="utf-8")
    told = command("seq2seq-translate", "run=run", "input=long.txt", "search=greedy")
    assert told.status == 0, told.err
    assert told.out.count("\n") == 1
    told = command("seq2seq-translate", "run=run", "input=long.txt", "search.max_length=500")
    assert (told.status, told.out) == (2, "")
    assert "search.max_length: sources and outputs of these lengths take" in told.err
    Path("longer.txt").write_text("dog " * 900 + "\n", encoding="utf-8")
    told = command("seq2seq-evaluate", "run=run", "source=longer.txt", "target=in.txt")
    assert told.status == 3
    told = command("seq2seq-evaluate", "run=run", "source=longer.txt", "target=long.txt")
    assert told.status == 3
    assert "data.max_source_tokens and data.max_target_tokens shorten them" in told.err


def test_label_smoothing_leaves_out_what_the_model_cannot_say(command: Command, here: Path) -> None:
    given = ("model=pretrained", "model.path=models/gpt2", *SHORT, "loss.label_smoothing=0.1", "run=run")
    assert command("seq2seq-train", *given, "trainer.log_every=1").status == 0
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert all(row["train/loss"] < 20 for row in rows if "train/loss" in row)


def test_what_is_frozen_stays(command: Command, here: Path) -> None:
    frozen = ("model=pretrained", "model.path=models/t5", "model.freeze=encoder", "run=run")
    told = command("seq2seq-train", *frozen, *SHORT)
    assert told.status == 0, told.err
    before, after = weights("run", 2), weights("run", 4)
    same = {name for name in before if before[name] == after[name]}
    assert {name for name in before if name.startswith("body.encoder.block")} <= same
    assert not {name for name in before if name.startswith("body.decoder.block")} & same


def test_an_encoder_under_a_decoder_of_ours(command: Command, here: Path) -> None:
    mixed = (
        "model=encoder_decoder", "model/encoder=pretrained", "model.encoder.path=models/bert",
        "model.encoder.freeze=true", "model/decoder=lstm_tiny", "model.decoder.d_model=16",
    )  # fmt: skip
    told = command("seq2seq-train", *mixed, *SHORT, "run=run")
    assert told.status == 0, told.err
    before, after = weights("run", 2), weights("run", 4)
    read = load_file("models/bert/model.safetensors")["encoder.layer.0.output.dense.weight"].numpy().tobytes()
    assert after["encoder.body.encoder.layer.0.output.dense.weight"] == read
    assert before["decoder.head.weight"] != after["decoder.head.weight"]
    shutil.rmtree("models")
    told = command("seq2seq-translate", "run=run", "input=in.txt", "search.max_length=5")
    assert (told.status, told.out.count("\n")) == (0, 3)


def test_without_training(command: Command, here: Path) -> None:
    asis = ("model=pretrained", "model.path=models/t5", "search.max_length=6")
    told = command("seq2seq-translate", *asis, "input=in.txt")
    assert told.status == 0, told.err
    assert told.out.count("\n") == 3
    assert command("seq2seq-translate", *asis, "input=in.txt").out == told.out
    assert command("seq2seq-translate", "run=runs/t5", "input=in.txt", "search.max_length=6").out == told.out
    told = command("seq2seq-evaluate", *asis, "source=in.txt", "target=in.txt")
    assert told.status == 0, told.err
    assert "3 sentences, checkpoint untrained\n" in told.out
    told = command("seq2seq-translate", "model=pretrained", "model.path=models/gpt2", "run=runs/t5", "input=in.txt")
    assert (told.status, told.out) == (2, "")
    assert f"runs/t5 is a run of its own, of model.path={here / 'models/t5'}: name another with run=..." in told.err


def test_without_training_all_mistakes_are_told(command: Command) -> None:
    for name in ("seq2seq-translate", "seq2seq-evaluate"):
        told = command(name, "model=pretrained", "model.pth=models/t5")
        assert (told.status, told.out) == (2, "")
        assert told.err == (
            f"{name}: 2 mistakes in the config\n  model.path: is missing; it has to be given\n"
            "  model.pth: unknown key; did you mean 'path'?\n"
        )


def test_without_training_beside_another_process(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads stays as it is; where something has to change, it is waited for."""
    monkeypatch.setattr("seq2seq.cli.untrained.WAIT", 0.3)
    asis = ("model=pretrained", "model.path=models/t5", "input=in.txt", "search.max_length=6")
    told = command("seq2seq-translate", *asis)
    assert told.status == 0, told.err
    files = [file for file in Path("runs/t5").rglob("*") if file.is_file() and file.name != ".lock"]
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}
    assert command("seq2seq-translate", *asis).out == told.out
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files} == before
    with RunDir(Path("runs/t5")).locked():
        found = command("seq2seq-translate", *asis)
        assert (found.status, found.out) == (4, "")
        assert found.err == "seq2seq-translate: runs/t5: another process is at work in this run\n"
    tokenizer = Path("models/t5/tokenizer_config.json")
    tokenizer.write_text(tokenizer.read_text().replace('"model_max_length"', '"is_new": 1, "model_max_length"'))
    assert command("seq2seq-translate", *asis).out == told.out
    assert '"is_new"' in Path("runs/t5/tokenizer/shared/tokenizer_config.json").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["model=pretrained"], "model.path: is missing; it has to be given"),
        (["model=pretrained", "model.path=models/none/x"], "model.path: models/none/x: there is no such folder"),
        (["model=pretrained", "model.path=nobody/nothing"], "model.path: nobody/nothing: cannot be had from the hub ("),
        (["model=pretrained", "model.path=models/t5", "model.source_language=en"],
         "model.source_language: the model at path knows no languages: leave it out"),
        (["model=pretrained", "model.path=models/t5", "tokenizer=words"],
         "tokenizer: model=pretrained knows the tokens of its own tokenizer alone: leave tokenizer out"),
        (["model=pretrained", "model.path=models/t5", "model.freeze=[encodr]"],
         "model: freeze: nothing is called 'encodr'; there are: shared, encoder, decoder"),
        (["model=pretrained", "model.path=models/gpt2", "trainer.max_length=400"],
         "trainer.max_length: texts of 400 tokens take 802 places, but the model has 600: set a smaller one"),
        (["model=pretrained", "model.path=models/t5", "model.lora_rank=4"],
         "model: lora_rank, lora_alpha, lora_dropout and lora_modules have no effect without adapter=lora"),
        (["model=pretrained", "model.path=models/t5-cut"], "model.path: {here}/models/t5-cut: model.safetensors lacks"),
        (["model=pretrained", "model.path=models/bert"],
         "model.path: {here}/models/bert: bert is an encoder: model/encoder=pretrained takes it"),
        (["model=encoder_decoder", "model/encoder=pretrained", "model/decoder=lstm_tiny"],
         "model.encoder.path: is missing; it has to be given"),
        (["model=pretrained", "model.pth=models/t5", "optimizer.l=1"],
         "3 mistakes in the config\n  model.path: is missing; it has to be given\n"
         "  model.pth: unknown key; did you mean 'path'?\n  optimizer.l: unknown key; did you mean 'lr'?\n"),
    ],
)  # fmt: skip
def test_mistakes(command: Command, here: Path, given: list[str], message: str) -> None:
    told = command("seq2seq-train", *given, *SHORT, "run=run")
    assert (told.status, told.out) == (2, "")
    assert message.format(here=here) in told.err
    assert "Traceback" not in told.err
    assert not Path("run/checkpoints").exists()
