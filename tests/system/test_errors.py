"""Faults that a user can cause: a few literal lines on stderr, nothing on stdout, the exit status, no traceback."""

import errno
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.training.reporters import JsonLines

Command = Callable[..., Any]

SMALL = ("model=lstm_tiny", "model.encoder.d_model=12", "model.decoder.d_model=12", "trainer.max_steps=1")
FILES = ("data=text_files", "data.source=en", "data.target=de", "tokenizer=characters", "trainer.device=cpu")


def told(result: Any) -> tuple[int, str, str]:
    return result.status, result.out, result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # keys
        (["optimizer.lrr=1"], "optimizer.lrr: unknown key; did you mean 'lr'?"),
        (["lr=1"], "lr: unknown key; did you mean 'optimizer.lr'?"),
        (
            ["name=lstm"],
            "name: unknown key; did you mean 'model.name' or 'model.encoder.name' or 'model.decoder.name' and 6 more?",
        ),
        (["modle=lstm"], "modle: unknown key; did you mean 'model'?"),
        (["+optimizer.lrr=1"], "optimizer.lrr: unknown key; did you mean 'lr'?"),
        (["hydra.foo=1"], "hydra.foo: unknown key"),
        # groups and choices
        (["model=lstmm"], "model: no choice 'lstmm'; did you mean 'lstm'?"),
        (["model="], "model: has no value; model=null means none"),
        (
            ["model=lstmm", "data=demoo"],
            "2 mistakes in the config\n  model: no choice 'lstmm'; did you mean 'lstm'?\n"
            "  data: no choice 'demoo'; did you mean 'demo'?",
        ),
        (["model=null"], "model: is missing; it has to be given"),
        (["data=null"], "data: is missing; it has to be given"),
        (["tokenizer=null"], "tokenizer: is missing; it has to be given"),
        (["model/encodr=lstm"], "model/encodr: no such group; did you mean 'model/encoder'?"),
        (["model/encoder=lstmm"], "model/encoder: no choice 'lstmm'; did you mean 'lstm'?"),
        (["model.encoder.name=lstmm"], "model.encoder.name: no component is called 'lstmm'; did you mean 'lstm'?"),
        (["search=[beam]"], "search: takes one choice, not a list; there are: beam, greedy, sampling"),
        (["experiment=multi30"], "experiment: no choice 'multi30'; did you mean 'multi30k'?"),
        (["recipe=dmo"], "recipe: no choice 'dmo'; did you mean 'demo'?"),
        (
            ["model=encoder_decoder", "model/encoder=lstm"],
            "model/decoder: has to be chosen; there are: conv_gehring2017, conv_tiny, convolutional, "
            "decoder_only_base, decoder_only_tiny, gru, gru_bahdanau2015, gru_tiny, lstm, lstm_base, lstm_chen2018, "
            "lstm_chen2018_tiny, lstm_luong2015, lstm_sutskever2014, lstm_tiny, rnn, rnn_cho2014, rnn_tiny, "
            "transformer, transformer_base, transformer_big, transformer_deep, transformer_modern, "
            "transformer_parallel, transformer_t5, transformer_tiny",
        ),
        (
            ["+optimizer=adam"],
            "optimizer: is chosen already; type it without '+', in YAML as '- override /optimizer: ...'",
        ),
        # values
        (["trainer.max_steps=many"], "trainer.max_steps: should be a whole number, but is 'many'"),
        (["trainer.max_steps=1.5"], "trainer.max_steps: should be a whole number, but is 1.5"),
        (["trainer.max_steps=true"], "trainer.max_steps: should be a whole number, but is true"),
        (["model.encoder.dropout=1.5"], "model.encoder.dropout: should be less than 1, but is 1.5"),
        (["optimizer.lr=-1"], "optimizer.lr: should be greater than 0, but is -1"),
        (["optimizer.lr=nan"], "optimizer.lr: should be a finite number, but is nan"),
        (["optimizer.betas=[0.9,2]"], "optimizer.betas[1]: should be less than 1, but is 2"),
        (
            ["model.encoder.norm=pst"],
            "model.encoder.norm: should be one of pre, post, but is 'pst'; did you mean 'post'?",
        ),
        (["trainer.max_tokens=0"], "trainer.max_tokens: should be greater than 0 or auto, but is 0"),
        (
            ["trainer.max_tokens=aut"],
            "trainer.max_tokens: should be a whole number or auto, but is 'aut'; did you mean 'auto'?",
        ),
        (["trainer.max_steps.foo=1"], "trainer.max_steps: should be a whole number, but is {'foo': 1}"),
        (["optimizer.lr=${nothing}"], "optimizer.lr: Interpolation key 'nothing' not found"),
        (["run=[a]"], "run: should be the name of a directory, but is ['a']"),
        # the command line itself
        (["foo"], "'foo' is not of the form key=value; see --help"),
        (["=3"], "'=3' has no key before the '='; see --help"),
        (["data.train="], "data.train: has no value; data.train=null means none"),
        (
            ["data.train=[a"],
            "data.train: the value of 'data.train=[a' cannot be read; quote it: 'data.train=\"[a\"'",
        ),
        (
            ["trainer.max_steps=1,000"],
            "trainer.max_steps: '1,000' is more than one value: quote it, or write [1,000] for a list, or add -m to "
            "try each",
        ),
        (["--foo"], "there is no flag --foo; see --help"),
        (["--cfg"], "argument --cfg/-c: expected one argument; see --help"),
        (["--config-dir", "nowhere"], "--config-dir: there is no folder nowhere"),
        (
            ["--config-path", "mine"],
            "--config-path would hide the files that are there; --config-dir adds a folder to them; see --help",
        ),
        (
            ["--experimental-rerun", "x.pickle"],
            "--experimental-rerun reads a pickle, which can run any code; the same command again continues a run; "
            "see --help",
        ),
        # what does not go together
        (
            ["model.encoder.d_model=130"],
            "model.encoder: d_model must be a multiple of num_heads, which is 4: for example 128, not 130",
        ),
        (
            ["model.encoder.d_model=64"],
            "model: tie_embeddings=all needs source and target embeddings of one width "
            "(embedding_dim, or else d_model), not 64 and 128: set tie_embeddings=target",
        ),
        (
            ["tokenizer.shared=false"],
            "model: tie_embeddings=all needs one vocabulary for both sides: set tokenizer.shared=true",
        ),
        (["trainer.average=9"], "trainer: average=9 checkpoints need keep_last=9 or more, not 5"),
        (
            ["trainer.average=3", "trainer.average_of=best"],
            "trainer: average=3 checkpoints need keep_best=3 or more, not 1",
        ),
        (
            ["optimizer=adafactor", "trainer.strategy=fsdp"],
            "trainer.strategy: fsdp cuts weights in parts, but optimizer=adafactor needs whole ones: set ddp",
        ),
        (["trainer.max_steps=null"], "trainer: one of max_steps and max_epochs has to be given"),
        (
            ["trainer.max_tokens=auto", "trainer.strategy=fsdp"],
            "trainer: max_tokens=auto tries the whole model on one device: with strategy=fsdp set a number",
        ),
        (
            ["model=lstm_tiny", "trainer.recompute=true"],
            "trainer.recompute: has no effect on this model, which has no Transformer or convolutional layers: "
            "set false",
        ),
        (["search.nbest=7"], "search: nbest is 7: must be at most beam_size, which is 5"),
        (["data.source=de"], "data: source and target are both de: one has to be en, the other de"),
        (["data=text_files", "data.source=en", "data.target=de"], "data.train: is missing; it has to be given"),
    ],
)
def test_a_wrong_config(command: Command, arguments: list[str], message: str) -> None:
    assert told(command("seq2seq-train", *arguments)) == (2, "", f"seq2seq-train: {message}\n")
    assert os.listdir() == []


def test_several_mistakes_at_once(command: Command) -> None:
    wrong = ["trainer.max_steps=many", "optimizer.lrr=1", "model.encoder.dropout=1.5", "data=text_files", "foo.bar=1"]
    assert told(command("seq2seq-train", *wrong)) == (
        2,
        "",
        "seq2seq-train: 6 mistakes in the config\n"
        "  data.source: is missing; it has to be given, if only as null\n"
        "  data.target: is missing; it has to be given\n"
        "  foo: unknown key; there are: cache, data, init_from, loggers, loss, metrics, model, optimizer, plugins, "
        "schedule, search, tokenizer, trainer\n"
        "  model.encoder.dropout: should be less than 1, but is 1.5\n"
        "  optimizer.lrr: unknown key; did you mean 'lr'?\n"
        "  trainer.max_steps: should be a whole number, but is 'many'\n",
    )


HEAD = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEAD}optimizer:\n  lrr: 1\n", "optimizer.lrr: unknown key; did you mean 'lr'?"),
        (f"{HEAD}defaults:\n  - override /modle: lstm\n", "modle: no such group; did you mean 'model'?"),
        (f"{HEAD}defaults:\n  - override /model: lstmm\n", "model: no choice 'lstmm'; did you mean 'lstm'?"),
        (
            f"{HEAD}defaults:\n  - /model: lstm\n",
            "model: is chosen already; type it without '+', in YAML as '- override /model: ...'",
        ),
        ("optimizer:\n  lr: 1\n", "experiment: its YAML file should begin with the line '# @package _global_'"),
        (
            f"{HEAD}optimizer: {{lr: 1\n",
            "DIR/experiment/mine.yaml, line 3: expected ',' or '}', but got '<stream end>'",
        ),
        (
            f"{HEAD}optimizer:\n\tlr: 1\n",
            "DIR/experiment/mine.yaml, line 3: found character '\\t' that cannot start any token",
        ),
        (f"{HEAD}optimizer:\n  lr: 1\n  lr: 2\n", "DIR/experiment/mine.yaml, line 4: found duplicate key lr"),
        (f"{HEAD}optimizer:\n  lr: ${{nothing}}\n", "optimizer.lr: Interpolation key 'nothing' not found"),
        (
            f"{HEAD}tokenizer:\n  normalization: no\n",
            "tokenizer.normalization: should be one of identity, nfc, nfkc, nmt_nfkc, but is false",
        ),
    ],
)
def test_a_wrong_yaml_file(command: Command, text: str, message: str) -> None:
    file = Path("conf", "experiment", "mine.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    message = message.replace("DIR", str(Path("conf").resolve()))
    given = ["--config-dir", "conf", "experiment=mine"]
    assert told(command("seq2seq-train", *given)) == (2, "", f"seq2seq-train: {message}\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["seq2seq-train", "seq2seq-evaluate", "seq2seq-translate"])
def test_a_device_that_is_not_there(command: Command, run: Path, name: str) -> None:
    Path("in.txt").write_text("a\n", encoding="utf-8")
    key = "trainer.device" if name == "seq2seq-train" else "device"
    given = {
        "seq2seq-train": ["run=new"],
        "seq2seq-evaluate": ["run=run"],
        "seq2seq-translate": ["run=run", "input=in.txt"],
    }
    assert told(command(name, *given[name], f"{key}=cuda")) == (
        2,
        "",
        f"{name}: device 'cuda' is not on this machine, which has cpu\n",
    )


def write(name: str, content: str | bytes) -> None:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def corpus(command: Command) -> None:
    for language in ("en", "de"):
        write(f"good.{language}", "one two\nthree four\nfive six\n")
        write(f"empty.{language}", "")
    write("alone.en", "one\n")
    write("uneven.en", "one\ntwo\nthree\n")
    write("uneven.de", "eins\nzwei\n")
    write("latin.en", "one\ntwo\n")
    write("latin.de", b"eins\nzwei \xfcber\n")
    write("cut.en", "one\n")
    write("cut.de.gz", gzip.compress(b"eins\n" * 100)[:-20])


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("xyzxyz", "data.train: there is neither xyzxyz.en nor xyzxyz.en.gz"),
        ("folder/x", "data.train: there is neither folder/x.en nor x.en.gz: there is no folder folder"),
        ("god", "data.train: there is neither god.en nor god.en.gz; similar files there: good.en, good.de, alone.en"),
        (
            "alone",
            "data.train: there is neither alone.de nor alone.de.gz; similar files there: alone.en, latin.de, uneven.de",
        ),
        ("empty", "data.train: empty.en is empty"),
        (
            "uneven",
            "uneven.en has 3 lines, uneven.de has 2: line n of one must translate line n of the other",
        ),
        (
            "latin",
            "latin.de, line 2: not valid UTF-8 (byte 0xFC at column 6); convert it, for example: "
            "iconv -f latin1 -t utf-8",
        ),
        (
            "cut",
            "data.train: cut.de.gz: truncated or corrupt gzip file (Compressed file ended before the "
            "end-of-stream marker was reached)",
        ),
    ],
)
def test_wrong_training_files(command: Command, corpus: None, prefix: str, message: str) -> None:
    status, out, err = told(command("seq2seq-train", *FILES, f"data.train={prefix}", "run=run"))
    assert (status, out) == (3, "")
    err = err.removeprefix("training the tokenizer (characters)\n").replace("shared tokenizer: ", "")
    assert err == f"seq2seq-train: {message}\n"


def test_all_splits_that_cannot_be_read_are_told_at_once(command: Command, corpus: None) -> None:
    given = ["data.train=good", "data.validation=xyzxyz", "data.test=folder/x"]
    assert told(command("seq2seq-train", *FILES, *given, "run=run")) == (
        3,
        "",
        "seq2seq-train: 2 splits cannot be read\n"
        "  data.validation: there is neither xyzxyz.en nor xyzxyz.en.gz\n"
        "  data.test: there is neither folder/x.en nor x.en.gz: there is no folder folder\n",
    )
    assert not Path("run").exists()


def test_the_run_of_a_wrong_start_can_be_used_again(command: Command, corpus: None) -> None:
    assert command("seq2seq-train", *FILES, *SMALL, "run=run", "data.train=uneven").status == 3
    assert command("seq2seq-train", *FILES, *SMALL, "run=run", "data.train=good").status == 0


def test_test_data_may_be_added_to_a_run(command: Command, corpus: None) -> None:
    assert command("seq2seq-train", *FILES, *SMALL, "run=run", "data.train=good").status == 0
    result = command("seq2seq-train", "run=run", "data.test=good")
    assert result.status == 0
    assert "  seq2seq-evaluate run=run split=test\n" in result.err
    assert command("seq2seq-evaluate", "run=run", "split=test").out.startswith("test: 3 sentences")
    assert told(command("seq2seq-train", "run=run", "data.validation=good"))[2].endswith(
        "  data.validation: was null, but is good\n"
    )


def test_test_data_of_the_demo_are_cut_from_the_same_sentences(command: Command, run: Path) -> None:
    assert told(command("seq2seq-train", "run=run", "data.test=21"))[2].endswith("  data.test: was 20, but is 21\n")


def test_patience_without_validation_is_said(command: Command, corpus: None) -> None:
    given = [*FILES, *SMALL, "data.train=good", "trainer.patience=3", "run=run"]
    status, out, err = told(command("seq2seq-train", *given))
    assert (status, out) == (0, "")
    assert "warning: no validation data: no scores, no best checkpoint, and trainer.patience has no effect\n" in err


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("evaluate", 2, "run: is missing; it has to be given"),
        ("translate", 2, "run: is missing; it has to be given"),
        ("evaluate run=", 2, "run: has no value; run=null means none"),
        ("evaluate run=rnu", 4, "rnu: no such run directory; in . there are: run"),
        ("translate run=x/run input=in.txt", 4, "x/run: no such run directory"),
        ("evaluate run=other", 4, "other: not a run directory (it has no config.yaml)"),
        (
            "evaluate run=run split=tset",
            2,
            "split: should be one of train, validation, test, but is 'tset'; did you mean 'test'?",
        ),
        (
            "evaluate run=run beam=3",
            2,
            "beam: unknown key; there are: again, backend, baseline, checkpoint, data, device, max_tokens, metrics, "
            "model, plugins, precision, report, run, search, source, split, table, tag, target, threads",
        ),
        ("evaluate run=run search.beam_sise=3", 2, "search.beam_sise: unknown key; did you mean 'beam_size'?"),
        (
            "translate run=run input=in.txt search.beam_size=0",
            2,
            "search.beam_size: should be greater than 0, but is 0",
        ),
        ("evaluate run=run search=bean", 2, "search: no choice 'bean'; did you mean 'beam'?"),
        (
            "evaluate run=run model=lstm",
            2,
            "model: is chosen when a run is trained, not here; but for model=pretrained",
        ),
        ("evaluate run=run ~optimizer", 2, "optimizer: is not there, so it cannot be taken away"),
        (
            "evaluate run=run data.name=text_files data.source=en data.target=de",
            2,
            "data.test: the run has no such split; name files with target= and source=",
        ),
        ("evaluate run=run source=in.txt", 2, "source=FILE needs target=FILE, what its lines are compared with"),
        (
            "evaluate run=run source=in.txt target=nothere",
            3,
            "there is neither nothere nor nothere.gz",
        ),
        (
            "evaluate run=run source=in.txt target=two.txt",
            3,
            "in.txt has 1 lines, two.txt has 2: line n of one must translate line n of the other",
        ),
        (
            "evaluate run=run metrics.bleu.tokenize=13b",
            2,
            "metrics.bleu.tokenize: should be one of none, zh, 13a, intl, char, ja-mecab, ko-mecab, spm, flores101, "
            "flores200, spBLEU-1K, but is '13b'; did you mean '13a'?",
        ),
        (
            "evaluate run=run metrics.rogue={}",
            2,
            "metrics.rogue: no component is called 'rogue'; did you mean 'rouge'?",
        ),
        (
            "evaluate run=run metrics=sumarization",
            2,
            "metrics: no choice 'sumarization'; did you mean 'summarization'?",
        ),
        (
            "evaluate run=run metrics.ter=3",
            2,
            "metrics.ter: should be a group of options, {} for the usual ones, or null for none, but is 3",
        ),
        (
            "evaluate run=run metrics.rouge.stem=true",
            2,
            "metrics.rouge: stem=true is for English, but the target language is 'de'",
        ),
        (
            "evaluate run=run metrics.loss.name=bleu",
            2,
            "metrics.loss: 'loss' is told always: choose another name",
        ),
        ("evaluate run=run checkpoint=lst", 4, "run/checkpoints: no checkpoint 'lst'; did you mean 'last'?"),
        ("translate run=run input=nothere", 3, "input=nothere: no such file"),
        ("translate run=run input=other", 3, "other: Is a directory"),
        (
            "translate run=run input=latin.txt",
            3,
            "latin.txt, line 2: not valid UTF-8 (byte 0xFC at column 1); convert it, for example: "
            "iconv -f latin1 -t utf-8",
        ),
        ("translate run=run input=in.txt output=other", 2, "output: other: cannot be written (Is a directory)"),
        (
            "translate run=run input=in.txt output=no/out.txt",
            2,
            "output: no/out.txt: cannot be written (No such file or directory)",
        ),
        ("translate run=run input=in.txt output=in.txt", 2, "output: in.txt is the input; name another file"),
        ("translate run=run input=in.txt max_tokens=0", 2, "max_tokens: should be greater than 0, but is 0"),
    ],
)
def test_wrong_use_of_a_run(command: Command, run: Path, line: str, status: int, message: str) -> None:
    Path("other").mkdir()
    write("in.txt", "one\n")
    write("two.txt", "one\ntwo\n")
    write("latin.txt", b"one\n\xfcber\n")
    before = sorted(os.listdir())
    name, *arguments = line.split()
    assert told(command(f"seq2seq-{name}", *arguments)) == (status, "", f"seq2seq-{name}: {message}\n")
    assert sorted(os.listdir()) == before
    assert Path("in.txt").read_text(encoding="utf-8") == "one\n"


def test_a_fault_leaves_no_empty_output(command: Command, run: Path) -> None:
    write("in.txt", "one\n")
    write("old.txt", "an earlier translation\n")
    for output in ("old.txt", "new.txt"):
        given = ["run=run", "input=in.txt", f"output={output}", "checkpoint=step_00000003"]
        assert command("seq2seq-translate", *given).status == 4
    assert Path("old.txt").read_text(encoding="utf-8") == "an earlier translation\n"
    assert not Path("new.txt").exists()


def test_a_changed_config_on_an_existing_run(command: Command, run: Path, tiny: tuple[str, ...]) -> None:
    before = (run / "config.yaml").read_bytes()
    changed = ["optimizer.lr=1e-2", "model.encoder.d_model=16", "trainer.max_steps=3", "trainer.log_every=7"]
    assert told(command("seq2seq-train", *tiny, *changed, "run=run")) == (
        2,
        "",
        "seq2seq-train: the run run was started with another config: seq2seq-train run=run continues it as it was, "
        "and another run=... trains this one\n"
        "  model.encoder.d_model: was 12, but is 16\n"
        "  optimizer.lr: was 0.001, but is 0.01\n"
        "  trainer.max_steps: was 4 and may grow, but is 3\n",
    )
    assert (run / "config.yaml").read_bytes() == before


def test_another_setup_on_an_existing_run(command: Command, run: Path) -> None:
    """The first of dozens of differences, and how many more there are."""
    status, out, err = told(command("seq2seq-train", "model=transformer_tiny", "data.train=100", "run=run"))
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert lines[:2] == [
        "seq2seq-train: the run run was started with another config: seq2seq-train run=run continues it as it was, "
        "and another run=... trains this one",
        "  data.test: was 20, but is 500",
    ]
    assert len(lines) == 10
    assert re.fullmatch(r"  and \d\d more", lines[-1])


def test_what_is_typed_for_an_existing_run_has_to_fit(command: Command, run: Path) -> None:
    """The rest is the run's own."""
    before = (run / "config.yaml").read_bytes()
    head = "run=run: what is not typed is as in its config.yaml\n"
    typed = ["optimizer.lr=1e-2", "model.encoder.d_model=12", "trainer.max_steps=9"]
    assert told(command("seq2seq-train", "run=run", *typed)) == (
        2,
        "",
        f"{head}seq2seq-train: the run run was started with another config: seq2seq-train run=run continues it as it "
        "was, and another run=... trains this one\n"
        "  optimizer.lr: was 0.001, but is 0.01\n",
    )
    assert told(command("seq2seq-train", "run=run", "trainer.max_step=9")) == (
        2,
        "",
        f"{head}seq2seq-train: trainer.max_step: unknown key; did you mean 'max_steps'?\n",
    )
    assert (run / "config.yaml").read_bytes() == before


def test_a_folder_that_is_no_run_is_left_alone(command: Command) -> None:
    Path("thesis").mkdir()
    write("thesis/thesis.tex", "")
    assert told(command("seq2seq-train", *SMALL, "data.train=100", "run=thesis")) == (
        4,
        "",
        "seq2seq-train: thesis: is not empty and not a run; name another folder with run=...\n",
    )
    assert os.listdir("thesis") == ["thesis.tex"]


def test_a_run_that_cannot_be_made(command: Command) -> None:
    write("file", "")
    assert told(command("seq2seq-train", *SMALL, "data.train=100", "run=file/run")) == (
        4,
        "",
        "seq2seq-train: file/run: cannot be written (Not a directory)\n",
    )


def no_space(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(command: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One exit status, with the file that could not be written, or else the run."""
    with monkeypatch.context() as patch:
        patch.setattr(JsonLines, "scalars", no_space)
        status, out, err = told(command("seq2seq-train", "run=run", "trainer.max_steps=5"))
        assert (status, out) == (1, "")
        assert err.endswith("\nseq2seq-train: run: No space left on device\n")
    monkeypatch.setattr(os, "fsync", no_space)
    assert told(command("seq2seq-train", *SMALL, "data.train=100", "run=new")) == (
        1,
        "",
        "seq2seq-train: new/config.yaml: No space left on device\n",
    )
    status, out, err = told(command("seq2seq-evaluate", "run=run"))
    assert (status, out) == (1, "")
    assert err.splitlines()[1:] == [  # after the line on the backend
        "seq2seq-evaluate: run/evaluation/test/hypotheses.txt: No space left on device"
    ]


def in_a_process(module: str, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    given = [sys.executable, "-m", f"seq2seq.cli.{module}", *arguments]
    done = subprocess.run(given, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_in_processes_of_their_own(command: Command, trained: Path) -> None:
    """What the others see in this process is what a shell sees."""
    assert in_a_process("train", "optimizer.lrr=1") == (
        2,
        "",
        "seq2seq-train: optimizer.lrr: unknown key; did you mean 'lr'?\n",
    )
    assert in_a_process("translate", "run=nowhere", stdin="one\n") == (
        4,
        "",
        "seq2seq-translate: nowhere: no such run directory\n",
    )
    assert os.listdir() == []


def test_a_fault_before_the_first_output_leaves_an_earlier_one(command: Command, run: Path) -> None:
    Path("in.txt").write_bytes(b"one\n\xff\n")
    Path("out.txt").write_text("kept\n", encoding="utf-8")
    result = command("seq2seq-translate", "run=run", "input=in.txt", "output=out.txt")
    assert (result.status, Path("out.txt").read_text(encoding="utf-8")) == (3, "kept\n")
    Path("in.txt").write_bytes(b"")
    result = command("seq2seq-translate", "run=run", "input=in.txt", "output=out.txt")
    assert (result.status, Path("out.txt").read_text(encoding="utf-8")) == (0, "")
    Path("in.txt").write_bytes(b"one\ntwo\n")
    Path("out.txt").write_text("a much longer output than the new one\n" * 9, encoding="utf-8")
    result = command("seq2seq-translate", "run=run", "input=in.txt", "output=out.txt")
    assert result.status == 0
    assert Path("out.txt").read_text(encoding="utf-8").count("\n") == 2
