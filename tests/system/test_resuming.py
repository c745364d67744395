"""seq2seq-translate in blocks: stopped or killed anywhere, and continued, it writes what an undisturbed one does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli.translate import Outputs

Command = Callable[..., Any]

LINES = [
    "The old woman opens the door.", "", "a b", "Does the teacher help three small girls?", "the house " * 40, "c", " ",
    "We do not sell the blue car.", "d", "e f g", "The children help.", "h",
]  # fmt: skip
KINDS = {
    "plain": ("output=out.txt",),
    "nbest": ("output=out.txt", "search.nbest=3"),
    "copy": ("output=out.txt", "copy=copy.txt"),
    "links": ("output=out.txt", "attention=links.jsonl", "search.nbest=2"),
    "all": ("output=out.txt", "attention=links.jsonl", "copy=copy.txt", "search.nbest=2"),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.search.translator.BLOCK", 3)


@pytest.fixture
def start(command: Command, transformer: Path) -> Callable[..., Any]:
    Path("in.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")

    def start(*given: str) -> Any:
        return command("seq2seq-translate", f"run={transformer}", "input=in.txt", *given)

    return start


def read() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in ("out.txt", "links.jsonl", "copy.txt") if Path(name).exists()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shares", [(0.4, 0.7, 0.6), (0.8, 0.3, 0.9), (0.9, 0.8, 0.2)])
def test_cut_anywhere(start: Callable[..., Any], kind: str, shares: tuple[float, ...]) -> None:
    """shares: how much of each file was written."""
    assert start(*KINDS[kind]).status == 0
    whole = read()
    assert whole["out.txt"].count(b"\n") >= len(LINES)
    for share, (name, content) in zip(shares, whole.items(), strict=False):
        Path(name).write_bytes(content[: int(share * len(content))])
    told = start(*KINDS[kind], "resume=true")
    assert told.status == 0, told.err
    assert read() == whole
    assert "continuing after" in told.err
    if "copy.txt" in whole:
        assert whole["copy.txt"] == Path("in.txt").read_bytes()


@pytest.mark.parametrize("more", [["backend=torch"], ["backend=auto"], ["copy=copy.txt"]])
def test_killed_in_the_middle(start: Callable[..., Any], transformer: Path, more: list[str]) -> None:
    """A process of its own, which writes a part of its second block and is gone."""
    program = (
        "import os, signal, sys\n"
        "from seq2seq.search import translator\n"
        "from seq2seq.cli import lines_out, translate\n"
        "translator.BLOCK = 3\n"
        "write = lines_out.OutputFile.write\n"
        "def half(self, text, done):\n"
        "    write(self, text[: len(text) // 2] if done else text, done)\n"
        "    if done: os.kill(os.getpid(), signal.SIGKILL)\n"
        "lines_out.OutputFile.write = half\n"
        "translate.main()\n"
    )
    given = [f"run={transformer}", "input=in.txt", "output=out.txt", *more]
    done = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert 3 <= Path("out.txt").read_bytes().count(b"\n") < len(LINES)
    assert start(*given[2:], "resume=true").status == 0
    resumed = read()
    assert start(*given[2:]).status == 0
    assert read() == resumed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal(
    start: Callable[..., Any], number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start("output=out.txt").status == 0
    whole = read()
    before, write = signal.getsignal(signal.SIGTERM), Outputs.write

    def stopped(self: Outputs, *arguments: Any) -> None:
        write(self, *arguments)
        if self.done == 6:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Outputs, "write", stopped)
    told = start("output=out.txt", "backend=torch")
    assert (told.status, told.out) == (status, "")
    message = "stopped after 6 lines; the same command with resume=true continues"
    assert told.err.splitlines()[-1] == f"seq2seq-translate: {message}"
    assert Path("out.txt").read_bytes().count(b"\n") == 6
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setattr(Outputs, "write", write)
    assert start("output=out.txt", "backend=torch", "resume=true").status == 0
    assert read() == whole

    monkeypatch.setattr(Outputs, "write", stopped)
    told = start("backend=torch")  # to standard output, which cannot be continued
    assert (told.status, told.out.count("\n")) == (status, 6)
    assert told.err.splitlines()[-1] == "seq2seq-translate: stopped after 6 lines"


def test_earlier_files_are_cut_together(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of an earlier job must not be taken for this one's."""
    Path("out.txt").write_text("old\n" * 20, encoding="utf-8")
    Path("links.txt").write_text("0-0\n" * 20, encoding="utf-8")
    monkeypatch.setattr("seq2seq.cli.lines_out.OutputFile.write", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    told = start("output=out.txt", "attention=links.txt", "backend=torch")
    advice = "stopped after 0 lines; the same command with resume=true continues"
    assert (told.status, told.err.splitlines()[-1]) == (130, f"seq2seq-translate: {advice}")
    assert Path("out.txt").read_bytes() == Path("links.txt").read_bytes() == b""


def test_continued_with_other_settings(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write = Outputs.write

    def stopped(self: Outputs, *arguments: Any) -> None:
        write(self, *arguments)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "write", stopped)
        assert start("output=out.txt", "backend=torch", "search.beam_size=2").status == 130
    before = read()
    told = start("output=out.txt", "backend=torch", "checkpoint=last", "search.beam_size=3", "resume=true")
    assert (told.status, told.out) == (2, "")
    assert told.err.splitlines()[-3:] == [
        "seq2seq-translate: out.txt was begun with other settings: without resume=true it is written anew",
        "  checkpoint: was best, but is last",
        "  search.beam_size: was 2, but is 3",
    ]
    assert read() == before
    told = start("output=out.txt", "backend=torch", "search.beam_size=2", "threads=1", "resume=true")
    assert told.status == 0, told.err
    assert sorted(file.name for file in Path().iterdir() if "out" in file.name) == ["out.txt"]


@pytest.mark.parametrize(
    ("there", "advice"),
    [
        (None, "; the same command with resume=true continues"),
        ("old\n", "; the same command begins again"),  # what is there is not of this job
    ],
)
def test_stopped_before_the_first_line(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, there: str | None, advice: str
) -> None:
    if there is not None:
        Path("out.txt").write_text(there, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "write", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        told = start("output=out.txt", "backend=torch")
    assert told.err.splitlines()[-1] == f"seq2seq-translate: stopped after 0 lines{advice}"
    assert (Path("out.txt").read_text() if Path("out.txt").exists() else None) == there
    again = ["resume=true"] if there is None else []
    assert start("output=out.txt", "backend=torch", *again).status == 0
    assert "old" not in Path("out.txt").read_text()


def test_lines_before_a_fault_are_written(start: Callable[..., Any]) -> None:
    assert start("output=out.txt").status == 0
    whole = read()
    good = Path("in.txt").read_bytes()
    lines = good.split(b"\n")
    Path("in.txt").write_bytes(b"\n".join([*lines[:7], b"M\xfcnchen", *lines[8:]]))
    told = start("output=out.txt")
    assert told.status == 3
    assert "in.txt, line 8: not valid UTF-8" in told.err
    assert Path("out.txt").read_bytes().count(b"\n") == 6  # the blocks before it
    Path("in.txt").write_bytes(good)
    assert start("output=out.txt", "resume=true").status == 0
    assert read() == whole


def test_warnings_name_the_line_of_the_input(start: Callable[..., Any]) -> None:
    assert start("output=out.txt").status == 0
    lines = Path("out.txt").read_bytes().splitlines(keepends=True)
    Path("out.txt").write_bytes(b"".join(lines[:4]))
    told = start("output=out.txt", "resume=true")
    assert "line 5 has 400 tokens, more than 256" in told.err


def test_an_output_of_more_lines_than_the_input(start: Callable[..., Any]) -> None:
    for count in (13, 16):  # within the last block and beyond it
        Path("out.txt").write_text("a\n" * count, encoding="utf-8")
        told = start("output=out.txt", "resume=true")
        message = f"the output is of {count} lines already, but the input has 12: it is of another input"
        assert (told.status, told.err.splitlines()[-1]) == (3, f"seq2seq-translate: {message}")
        assert Path("out.txt").read_text(encoding="utf-8") == "a\n" * count


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["resume=true"], "resume=true needs output=FILE, what an earlier start wrote"),
        (["resume=true", "output=/dev/null"], "resume: /dev/null is no file that could be continued"),
        (
            ["resume=true", "output=out.txt", "attention=/dev/null"],
            "resume: /dev/null is no file that could be continued",
        ),
    ],
)
def test_what_cannot_be_continued(start: Callable[..., Any], given: list[str], message: str) -> None:
    told = start(*given)
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-translate: {message}\n")
    assert os.listdir() == ["in.txt"]


def test_from_a_pipe(start: Callable[..., Any], transformer: Path) -> None:
    assert start("output=out.txt").status == 0
    whole = read()
    lines = whole["out.txt"].splitlines(keepends=True)
    Path("out.txt").write_bytes(b"".join(lines[:5]) + b"cut in the")
    given = [sys.executable, "-m", "seq2seq.cli.translate", f"run={transformer}", "output=out.txt", "resume=true"]
    subprocess.run(given, input=Path("in.txt").read_bytes(), capture_output=True, check=True)
    assert read() == whole
