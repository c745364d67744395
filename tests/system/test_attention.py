"""seq2seq-translate attention=FILE: what is written beside the translations, line for line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

LINES = ["The old woman opens the door .", "", "a  b", "the house " * 150, " ", "The children help ."]


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def read(name: str) -> list[str]:
    return Path(name).read_text(encoding="utf-8").split("\n")[:-1]


def check(links: str, source: str, target: str) -> None:
    """One link to each target word, from a word that is there."""
    pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
    assert [place for _, place in pairs] == list(range(len(target.split())))
    assert all(0 <= place < len(source.split()) for place, _ in pairs)


def test_alignments(command: Command, run: Path) -> None:
    write("in.txt", "".join(f"{line}\n" for line in LINES))
    write("links.txt", "of an earlier run\n" * 9)
    told = command("seq2seq-translate", "run=run", "input=in.txt", "output=out.txt", "attention=links.txt")
    assert (told.status, told.out) == (0, "")
    assert "line 4 has" in told.err  # cut into parts
    alone = command("seq2seq-translate", "run=run", "input=in.txt")
    assert alone.out.split("\n")[:-1] == read("out.txt")
    links = read("links.txt")
    assert len(links) == len(LINES)
    for of_line, source, target in zip(links, LINES, read("out.txt"), strict=True):
        check(of_line, source, target)
    assert links[0]
    assert (links[1], links[4]) == ("", "")


@pytest.mark.parametrize("name", ["maps.json", "maps.jsonl"])
def test_weights(command: Command, run: Path, name: str) -> None:
    write("in.txt", "".join(f"{line}\n" for line in LINES[:3]))
    given = ["run=run", "input=in.txt", "search.nbest=2", f"attention={name}"]
    told = command("seq2seq-translate", *given)
    assert told.status == 0
    rows = [json.loads(line) for line in read(name)]
    assert len(rows) == len(told.out.splitlines()) > 3  # one for each hypothesis
    for row, line in zip(rows, told.out.splitlines(), strict=True):
        source = LINES[int(line.split(" ||| ")[0])]
        assert list(row) == ["source", "target", "weights"]
        assert "".join(row["source"]).replace("\u2581", "") == "".join([*source.split(), "</s>" if source else ""])
        assert row["target"][-1:] == row["source"][-1:]
        assert [len(weights) for weights in row["weights"]] == [len(row["source"])] * len(row["target"])
        assert all(sum(weights) == pytest.approx(1, abs=0.01) for weights in row["weights"])
        assert all(round(weight, 4) == weight for weights in row["weights"] for weight in weights)


def test_from_a_pipe(command: Command, trained: Path) -> None:
    given = [sys.executable, "-m", "seq2seq.cli.translate", f"run={trained}", "device=cpu", "attention=links.txt"]
    stdin = "".join(f"{line}\n" for line in LINES)
    done = subprocess.run(given, input=stdin, capture_output=True, text=True, check=True)
    links = read("links.txt")
    assert len(links) == done.stdout.count("\n") == len(LINES)
    for of_line, source, target in zip(links, LINES, done.stdout.split("\n")[:-1], strict=True):
        check(of_line, source, target)


def test_a_model_without_attention(command: Command, tiny: tuple[str, ...]) -> None:
    assert command("seq2seq-train", *tiny, "model.decoder.attention=none", "trainer.max_steps=1", "run=run").status == 0
    write("in.txt", "a\n")
    write("old.txt", "an earlier translation\n")
    told = command("seq2seq-translate", "run=run", "input=in.txt", "output=old.txt", "attention=links.txt")
    message = "attention: the run's decoder does not attend to the source: nothing to write"
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-translate: {message}\n")
    assert sorted(os.listdir()) == ["in.txt", "old.txt", "run"]
    assert read("old.txt") == ["an earlier translation"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("attention=other", "attention: other: cannot be written (Is a directory)"),
        ("attention=no/links.txt", "attention: no/links.txt: cannot be written (No such file or directory)"),
        ("attention=in.txt", "attention: in.txt is the input; name another file"),
        ("output=out.txt attention=out.txt", "attention: out.txt is the output; name another file"),
    ],
)
def test_a_file_that_cannot_be_written(command: Command, run: Path, given: str, message: str) -> None:
    write("in.txt", "a\n")
    Path("other").mkdir()
    told = command("seq2seq-translate", "run=run", "input=in.txt", *given.split())
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-translate: {message}\n")
    assert sorted(os.listdir()) == ["in.txt", "other", "run"]
    assert read("in.txt") == ["a"]
