"""Every command of the README's `sh` blocks runs, in the order of the page, in one working directory."""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from .conftest import COMMANDS, Command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What makes a command small enough for a test, or independent of the network; nothing of what the page says is lost.
QUICK = "debug=quick trainer.max_steps=2 trainer.validate_every=2 trainer.validation_examples=3 trainer.max_tokens=128"
SMALLER = {
    "data=text_files": "tokenizer.vocab_size=400",
    "task=summarization": "tokenizer.vocab_size=400",
    "data=wmt14": "data.path=wmt14 tokenizer.vocab_size=400 tokenizer.byte_fallback=false model.encoder.num_layers=1 "
    "model.decoder.num_layers=1 model.encoder.d_model=16 model.decoder.d_model=16",
}
NEED_PROCESSES = re.compile(r"hydra/launcher=|hydra/sweeper=|trainer\.devices=|plugins=")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def adapted(command: str) -> str:
    if "seq2seq-train" not in command or "--cfg" in command or command.startswith("seq2seq-train run="):
        return command
    extra = [QUICK if "data=" in command else f"{QUICK} data.train=50 tokenizer.vocab_size=400"]
    if "tokenizer=characters" in command:
        extra = [f"{QUICK} data.train=50"]
    extra += [more for sign, more in SMALLER.items() if sign in command]
    return f"{command} {' '.join(extra)}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "corpus").mkdir()
    pairs = [(f"the house number {i} is big .", f"das Haus Nummer {i} ist gross .") for i in range(40)]
    for name in ("train", "val", "test"):
        for language, side in (("en", 0), ("de", 1)):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / "corpus" / f"{name}.{language}").write_text(text, encoding="utf-8")
    (folder / "in.txt").write_text("the house\n\nthe number 7\n", encoding="utf-8")
    (folder / "prompts.txt").write_text("das Haus\n\n", encoding="utf-8")
    (folder / "news").mkdir()
    for name in ("train", "val"):
        rows = (json.dumps({"article": f"{english}\n" * 3, "summary": english}) for english, _ in pairs)
        (folder / "news" / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (folder / "mono").mkdir()
    (folder / "mono" / "news.jsonl.gz").write_bytes(gzip.compress(b'{"de": "das Haus"}\n{"de": ""}\n'))
    local_hub = folder / "wmt14" / "de-en"
    local_hub.mkdir(parents=True)
    table = pyarrow.table({"translation": [{"de": german, "en": english} for english, german in pairs]})
    for split in ("train", "validation", "test"):
        pyarrow.parquet.write_table(table, local_hub / f"{split}-00000-of-00001.parquet")
    plugin = next(block for block in blocks("python") if "my_encoders.py" in block)
    (folder / "my_encoders.py").write_text(plugin, encoding="utf-8")
    choice = folder / "my_configs" / "model" / "encoder"
    choice.mkdir(parents=True)
    (choice / "bag_of_words.yaml").write_text("name: bag_of_words\n", encoding="utf-8")
    return folder


def test_the_readme_has_commands() -> None:
    text = "\n".join(commands())
    for name in ("seq2seq-train", "seq2seq-evaluate", "seq2seq-translate"):
        assert name in text


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^ +make ([\w-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([\w-]+):", makefile, flags=re.MULTILINE))


def in_a_shell(line: str, folder: Path) -> tuple[int, str]:
    """The exit status, and what was told."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stderr


def test_the_readme_s_commands_run(workplace: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell where one is needed, or where processes are started or a plugin stays for good; the others in this
    process, which needs seconds less for each.
    """
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for line in map(adapted, commands()):
        words = shlex.split(line)
        if words[0] not in COMMANDS or {"|", ">"} & set(words) or NEED_PROCESSES.search(line):
            status, told = in_a_shell(line, workplace)
        else:
            done = command(*words)
            status, told = done.status, done.err
        assert status == 0, f"{line}\n{told}"
    assert (workplace / "back.de").read_text(encoding="utf-8") == "das Haus\n\n"
    assert (workplace / "back.en").read_text(encoding="utf-8").count("\n") == 2
    for name in ("out.txt", "alignments.txt", "summaries.txt"):
        assert (workplace / name).read_text(encoding="utf-8").count("\n") == 3
    assert (workplace / "runs" / "mine" / "evaluation" / "test" / "scores.json").exists()
    assert (workplace / "runs" / "mine" / "evaluation" / "val.en-val.de" / "scores.json").exists()
    assert (workplace / "runs" / "lm" / "evaluation" / "val.de" / "scores.json").exists()
    assert (workplace / "runs" / "bag" / "checkpoints" / "last").exists()
