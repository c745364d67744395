"""Components from outside: one short file, found by its entry point or by its name in the config."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from seq2seq.cli import evaluate, train, translate
from seq2seq.config import read_run
from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.models.base import encoders
from seq2seq.plugins import load_components
from seq2seq.training.run_dir import RunDir

PLUGIN = '''\
"""An encoder for seq2seq: every state is a mixture of a token and the mean of all tokens."""

import torch
from torch import Tensor, nn

from seq2seq.models.base import Encoder, Memory, encoders
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@encoders.register("bag")
class BagEncoder(Encoder):
    """A bag of words.

    Options:
        d_model: width of the embeddings and of the states
        dropout: of the embeddings
    """

    def __init__(self, vocab: Vocab, *, d_model: PositiveInt = 12, dropout: Probability = 0.0) -> None:
        super().__init__()
        self.output_dim = d_model
        self.embedding = nn.Embedding(len(vocab), d_model, padding_idx=vocab.pad)
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Linear(2 * d_model, d_model)

    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """tokens (B,S), mask (B,S) -> states (B,S,D), final (B,D)."""
        x = self.dropout(self.embedding(tokens)).masked_fill(~mask[:, :, None], 0.0)
        final = x.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        states = self.mix(torch.cat((x, final[:, None].expand_as(x)), dim=2))
        return Memory(states, mask, final)
'''
TINY = (
    "model=encoder_decoder", "model/decoder=lstm", "model.decoder.d_model=14", "tokenizer=characters",
    "data.train=40", "data.validation=6", "data.test=5", "trainer.max_steps=3", "trainer.validate_every=2", "run=run",
)  # fmt: skip
PRINTABLE = "".join(map(chr, range(33, 127)))
COMMANDS = {"train": train, "evaluate": evaluate, "translate": translate}

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on sys.path; what is imported from there, and what it registers, is forgotten afterwards."""
    load_components()  # so that the registry that comes back afterwards is complete
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(encoders, "components", dict(encoders.components))
    yield folder
    forget(folder)


def forget(folder: Path) -> None:
    """As if a new process began."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    encoders.components.pop("bag", None)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    logger = logging.getLogger("seq2seq")
    before = (logger.handlers[:], logger.propagate)

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"seq2seq-{name}", *arguments])
        with pytest.raises(SystemExit) as caught:
            COMMANDS[name].main()
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    yield run
    logger.handlers, logger.propagate = before


def install(site: Path, module: str = "seq2seq_bag", text: str = PLUGIN) -> None:
    """As pip leaves a package: the module, and a dist-info with its entry points."""
    (site / f"{module}.py").write_text(text, encoding="utf-8")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[seq2seq.plugins]\nbag = {module}\n", encoding="utf-8")


def check_that_the_run_can_be_used(site: Path, command: Command, *given: str) -> None:
    Path("news.en").write_text("The dog sleeps.\nA cat?\n", encoding="utf-8")
    Path("news.de").write_text(f"{PRINTABLE}\n" * 2, encoding="utf-8")  # has something of whatever is generated
    forget(site)
    status, told, _ = command("evaluate", "run=run", "source=news.en", "target=news.de", *given)
    assert status == 0
    assert told.startswith("news.en-news.de: 2 sentences, checkpoint best")
    Path("in.txt").write_text("The dog sleeps.\n\nA cat?\n", encoding="utf-8")
    forget(site)
    status, told, _ = command("translate", "run=run", "input=in.txt", *given)
    assert status == 0
    assert told.count("\n") == 3


def test_a_plugin_is_one_short_file() -> None:
    assert len(PLUGIN.splitlines()) < 60


def test_an_installed_plugin_with_a_yaml_file_of_its_own(site: Path, command: Command) -> None:
    install(site)
    choice = Path("configs", "model", "encoder", "bag_wide.yaml")
    choice.parent.mkdir(parents=True)
    choice.write_text("name: bag\nd_model: 18\n", encoding="utf-8")
    status, told, _ = command("train", "--config-dir", "configs", "model/encoder=bag_wide", *TINY)
    assert (status, told) == (0, "")
    stored = yaml.safe_load(Path("run", "config.yaml").read_text(encoding="utf-8"))
    assert stored["model"]["encoder"] == {"name": "bag", "d_model": 18, "dropout": 0.0}
    assert stored["plugins"] == []
    check_that_the_run_can_be_used(site, command)


def test_a_plugin_that_the_config_names(site: Path, command: Command) -> None:
    """Without a YAML file: the name is enough, also where the choice before has other options."""
    (site / "seq2seq_bag.py").write_text(PLUGIN, encoding="utf-8")
    given = ["plugins=seq2seq_bag", "model=transformer_tiny", "model.encoder.name=bag", "model.encoder.dropout=0.1"]
    status, told, err = command("train", *given, *TINY[1:], "model.tie_embeddings=none")
    assert (status, told) == (0, "")
    stored = yaml.safe_load(Path("run", "config.yaml").read_text(encoding="utf-8"))
    assert stored["model"]["encoder"] == {"name": "bag", "d_model": 12, "dropout": 0.1}
    assert stored["plugins"] == ["seq2seq_bag"]
    assert err.endswith(
        "  seq2seq-evaluate run=run split=test 'plugins=[seq2seq_bag]'\n"
        "  seq2seq-translate run=run input=FILE output=FILE 'plugins=[seq2seq_bag]'\n"
    )
    check_that_the_run_can_be_used(site, command, "plugins=seq2seq_bag")
    forget(site)
    assert command("translate", "run=run", "input=in.txt") == (
        2,
        "",
        "seq2seq-translate: plugins: the run uses seq2seq_bag, whose code runs when it is loaded; allow it: "
        "plugins=[seq2seq_bag]\n",
    )


def test_the_options_of_a_plugin_are_checked_as_all_others(site: Path, command: Command) -> None:
    install(site)
    wrong = ["model.encoder.name=bag", "model.encoder.d_modle=4", "model.encoder.dropout=1"]
    assert command("train", *wrong, *TINY) == (
        2,
        "",
        "seq2seq-train: 2 mistakes in the config\n"
        "  model.encoder.d_modle: unknown key; did you mean 'd_model'?\n"
        "  model.encoder.dropout: should be less than 1, but is 1\n",
    )
    assert not Path("run").exists()


def test_a_run_with_a_plugin_is_continued_by_who_allows_it(site: Path, command: Command) -> None:
    (site / "seq2seq_bag.py").write_text(PLUGIN, encoding="utf-8")
    assert command("train", "plugins=[seq2seq_bag]", "model.encoder.name=bag", *TINY)[0] == 0
    forget(site)
    head = "run=run: what is not typed is as in its config.yaml\n"
    assert command("train", "run=run", "trainer.max_steps=4") == (
        2,
        "",
        f"{head}seq2seq-train: plugins: the run uses seq2seq_bag, whose code runs when it is loaded; allow it: "
        "plugins=[seq2seq_bag]\n",
    )
    status, _, told = command("train", "run=run", "trainer.max_steps=4", "plugins=[seq2seq_bag]")
    assert status == 0
    assert "continuing at step 3\n" in told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('not today\\nnor tomorrow')\n", "RuntimeError: not today (broken.py, line 1)"),
        (
            "import nothing_of_this_name\n",
            "ModuleNotFoundError: No module named 'nothing_of_this_name' (broken.py, line 1)",
        ),
        ("def f(:\n", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("x = 1\nassert not x\n", "AssertionError: no message (broken.py, line 2)"),
    ],
)
def test_a_plugin_that_cannot_be_imported(site: Path, command: Command, text: str, reason: str) -> None:
    (site / "broken.py").write_text(text, encoding="utf-8")
    told = f"seq2seq-train: plugins: cannot import 'broken': {reason}\n"
    assert command("train", "plugins=[broken]", "run=run") == (2, "", told)
    assert not Path("run").exists()


def test_a_fault_in_a_plugin_is_told_from_there_on(site: Path, command: Command) -> None:
    faulty = PLUGIN.replace("x = self.dropout", "raise RuntimeError(f'no {len(tokens)}')\n        x = self.dropout")
    (site / "seq2seq_bag.py").write_text(faulty, encoding="utf-8")
    line = faulty[: faulty.index("raise RuntimeError")].count("\n") + 1
    status, out, told = command("train", "plugins=[seq2seq_bag]", "model.encoder.name=bag", *TINY)
    assert (status, out) == (1, "")
    head = "seq2seq-train: a fault in a plugin\nTraceback (most recent call last):\n"
    fault = told[told.index(head) :].removeprefix(head)
    assert fault.startswith(f'  File "{site}/seq2seq_bag.py", line {line}, in forward\n    raise RuntimeError(')
    assert re.search(r"^RuntimeError: no \d+\n\Z", fault, flags=re.MULTILINE)
    assert fault.count("File ") == 1


@pytest.mark.parametrize("value", ["3", "nowhere", "[nowhere]", "[json,nowhere]"])
def test_a_plugin_that_is_not_there(site: Path, command: Command, value: str) -> None:
    name = "3" if value == "3" else "nowhere"
    told = f"seq2seq-train: plugins: cannot import '{name}': ModuleNotFoundError: No module named '{name}'\n"
    assert command("train", f"plugins={value}") == (2, "", told)


def test_an_installed_plugin_that_cannot_be_imported(site: Path) -> None:
    install(site, "broken_bag", "raise OSError('no disk')\n")
    with pytest.raises(ConfigError) as caught:
        load_components()
    assert str(caught.value) == (
        "the installed plugin 'bag': cannot import 'broken_bag': OSError: no disk (broken_bag.py, line 1)"
    )


def test_a_plugin_does_not_take_the_place_of_a_component(site: Path) -> None:
    (site / "greedy_bag.py").write_text(PLUGIN.replace('"bag"', '"lstm"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"plugins: cannot import 'greedy_bag': ValueError: model/encoder 'lstm' is"):
        load_components(["greedy_bag"])


@pytest.mark.parametrize("changes", [{}, {"plugins": ["another"]}])
def test_a_run_cannot_choose_what_code_runs(
    site: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """Whatever sys.path holds; only what the user types, or has installed as a plugin, is imported."""
    for name in ("evil", "another"):
        (site / f"{name}.py").write_text(f"open('{name} ran', 'w')\n", encoding="utf-8")
    run = RunDir(Path("stranger"))
    run.path.mkdir()
    run.config.write_text("format: 1\nplugins: [evil]\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_run(run, changes)
    assert str(caught.value) == (
        "plugins: the run uses evil, whose code runs when it is loaded; allow it: plugins=[evil]"
    )
    assert not Path("evil ran").exists()
    with pytest.raises(CheckpointError, match=r"config\.yaml"):  # a config with nothing else in it
        read_run(run, {"plugins": ["evil"]})
    assert Path("evil ran").exists()


def test_in_a_process_of_its_own(site: Path) -> None:
    """The whole way, with PYTHONPATH in the place of an installation."""
    install(site)
    script = "import sys; from seq2seq.cli.train import main; main()"
    given = [sys.executable, "-c", script, "model.encoder.name=bag", *TINY]
    done = subprocess.run(
        given, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "trained 3 steps" in done.stderr
    assert Path("run", "checkpoints", "last").exists()
