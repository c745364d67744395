import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from seq2seq.training.console import Bar, ConsoleReporter, Screen, progress_bar, setup_logging

TRAINING = {
    "train/loss": 3.2141,
    "train/lr": 7e-4,
    "train/gradient_norm": 1.2345,
    "train/tokens_per_second": 5120.4,
    "train/epoch": 3.0,
    "train/tokens": 3_072_000.0,
}
VALIDATION = {
    "validation/loss": 2.3149,
    "validation/perplexity": 10.124,
    "validation/bleu": 31.24,
    "validation/chrf": 55.0,
}
log = logging.getLogger("seq2seq.tests")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(width: int = 80) -> Screen:
    return Screen(Console(file=Terminal(), width=width, force_terminal=True, force_interactive=True))


def plain() -> Screen:
    return Screen(Console(file=io.StringIO(), width=80))


def written(screen: Screen) -> str:
    """Without colours and cursor movements; what redrawing overwrote is still there."""
    text = screen.console.file.getvalue()  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def frame(screen: Screen) -> list[str]:
    """The bars as they would be drawn now."""
    assert screen.progress is not None
    other = Console(file=io.StringIO(), width=screen.console.width)
    other.print(screen.progress.get_renderable())
    return other.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("seq2seq")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_messages_go_to_stderr_plain_and_to_the_file_with_time_and_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.log"
    file.write_text("before\n")
    setup_logging(file)
    log.info("a [bold]message[/bold] of %s", "x" * 100)
    log.debug("not told")
    log.warning("careful")
    log.error("wrong")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"a [bold]message[/bold] of {'x' * 100}", "warning: careful", "error: wrong"]
    lines = file.read_text().splitlines()
    assert lines[0] == "before"
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(stamp + r" INFO a \[bold\]message\[/bold\] of x{100}", lines[1])
    assert re.fullmatch(stamp + " WARNING careful", lines[2])
    assert re.fullmatch(stamp + " ERROR wrong", lines[3])


def test_setup_again_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path / "first.log")
    setup_logging(tmp_path / "second.log")
    log.info("once")
    assert capsys.readouterr().err == "once\n"
    assert (tmp_path / "first.log").read_text() == ""
    assert (tmp_path / "second.log").read_text().count("once") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has such a file")
def test_a_full_disk_costs_a_line_of_the_log_file_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(Path("/dev/full"))
    log.info("told")
    assert capsys.readouterr().err == "told\n"
    (handler,) = (h for h in logging.getLogger("seq2seq").handlers if isinstance(h, logging.FileHandler))
    with pytest.raises(OSError, match="No space left on device"):
        handler.close()


def test_long_messages_wrap_between_words_on_a_terminal_and_commands_do_not() -> None:
    screen = terminal(width=30)
    setup_logging(None, screen)
    log.info("thirty columns are not enough for this")
    log.info("  seq2seq-translate run=runs/lstm-multi30k")
    assert written(screen).splitlines() == [
        "thirty columns are not enough ",
        "for this",
        "  seq2seq-translate run=runs/lstm-multi30k",
    ]


def test_lines_without_a_terminal() -> None:
    screen = plain()
    setup_logging(None, screen)
    reporter = ConsoleReporter(6000, screen)
    for step in range(1100, 1200):
        reporter.progress(step, {})
    reporter.scalars(1200, 760.9, TRAINING)
    reporter.scalars(1200, 780.0, VALIDATION)
    reporter.scalars(1800, 1060.9, TRAINING | {"train/epoch": 4.5, "train/new_number": 0.123456})
    reporter.scalars(1800, 1080.0, VALIDATION | {"validation/best": 1.0})
    reporter.close()
    # 300 seconds for 600 steps: 4200 more take 2100 seconds, 35 minutes.
    assert written(screen).splitlines() == [
        "step 1,200/6,000  loss 3.214  lr 7.0e-04  norm 1.23  5,120 tok/s  epoch 3.00  0:12:40",
        "step 1,200 validation: loss 2.31  perplexity 10.1  BLEU 31.2  chrF 55.0",
        "step 1,800/6,000  loss 3.214  lr 7.0e-04  norm 1.23  5,120 tok/s  epoch 4.50  new number 0.1235  "
        "0:17:40, 0:35:00 left",
        "step 1,800 validation: loss 2.31  perplexity 10.1  BLEU 31.2  chrF 55.0  (best)",
    ]


def test_lines_of_a_run_without_a_known_end() -> None:
    screen = plain()
    setup_logging(None, screen)
    reporter = ConsoleReporter(None, screen)
    reporter.scalars(7, 1.0, {"train/loss": float("nan")})
    reporter.scalars(8, 360_000.0, {"train/loss": 1.0})
    assert written(screen).splitlines() == ["step 7  loss nan  0:00:01", "step 8  loss 1.000  100:00:00"]


def test_a_terminal_has_a_bar_and_the_file_has_the_lines(tmp_path: Path) -> None:
    screen = terminal()
    setup_logging(tmp_path / "train.log", screen)
    reporter = ConsoleReporter(6000, screen)
    reporter.progress(1199, {})
    reporter.scalars(1200, 760.9, TRAINING)
    reporter.progress(1200, TRAINING)
    reporter.progress(1201, {})
    (line,) = frame(screen)
    reporter.scalars(1200, 780.0, VALIDATION)
    reporter.close()

    assert re.match(r"training \S+ +1,201/6,000  loss 3\.214  5,120 tok/s  0:00:0\d", line)
    assert "lr 7.0e-04" not in written(screen)
    assert "step 1,200 validation: loss 2.31" in written(screen)
    assert "step 1,200/6,000  loss 3.214" in (tmp_path / "train.log").read_text()
    assert "step 1,200 validation: loss 2.31" in (tmp_path / "train.log").read_text()
    assert screen.progress is None


def test_samples_go_to_the_file_only(tmp_path: Path) -> None:
    for screen in (terminal(), plain()):
        setup_logging(tmp_path / "train.log", screen)
        ConsoleReporter(10, screen).samples(5, [("ein Hund", "a dog", "a %s cat")])
        assert written(screen) == ""
    text = (tmp_path / "train.log").read_text()
    assert text.count("sample at step 5\n  source:     ein Hund\n  reference:  a dog\n  hypothesis: a %s cat\n") == 2


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_bar_is_wider_than_the_terminal(width: int) -> None:
    screen = terminal(width)
    reporter = ConsoleReporter(1_000_000, screen)
    reporter.progress(299_998, TRAINING | {"train/tokens_per_second": 123_456.0})
    reporter.progress(299_999, {})
    with progress_bar("translating", 29_000, screen) as advance:
        advance(14_500)
        lines = frame(screen)
    reporter.close()
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    assert ("loss 3.214" in lines[0]) == (width >= 60)
    assert ("299,999/1,000,000" in lines[0]) == (width >= 40)


def test_bars_appear_together_and_go() -> None:
    screen = terminal()
    with progress_bar("reading", None, screen) as read:
        read(1234)
        with progress_bar("encoding", 10, screen) as encode:
            encode(4)
            encode(1)
            reading, encoding = frame(screen)
        assert len(frame(screen)) == 1
    assert screen.progress is None
    assert re.match(r"reading 1,234  ([\d,]+/s  )?0:00:0", reading)
    assert re.match(r"encoding \S+ +5/10  [\d,]+/s  0:00:0", encoding)


def test_a_bar_goes_when_its_block_fails() -> None:
    screen = terminal()
    with pytest.raises(RuntimeError), progress_bar("reading", 3, screen):
        raise RuntimeError
    assert screen.progress is None
    hidden_and_shown = re.findall(r"\x1b\[\?25[lh]", screen.console.file.getvalue())  # type: ignore[attr-defined]
    assert hidden_and_shown == ["\x1b[?25l", "\x1b[?25h"]


def test_no_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Screen()
    assert screen.console.is_terminal
    with progress_bar("reading", 3, screen) as advance:
        advance(1)
        Bar("beside", None, screen).update(2, ["fact"])
    ConsoleReporter(5, screen).progress(1, TRAINING)
    assert capsys.readouterr() == ("", "")


def test_a_real_terminal_of_80_columns_and_an_empty_stdout() -> None:
    pty = pytest.importorskip("pty")
    code = """
import logging, sys, time
from seq2seq.training.console import ConsoleReporter, progress_bar, setup_logging
setup_logging(None)
reporter = ConsoleReporter(50)
for step in range(1, 31):
    reporter.progress(step, {"train/loss": 1.0})
    time.sleep(0.02)
with progress_bar("translating", 9) as advance:
    advance(3)
    logging.getLogger("seq2seq").info("told above")
    sys.stderr.write("by another library\\n")
    time.sleep(0.8)
reporter.close()
logging.getLogger("seq2seq").info("after the bars")
"""
    reading, writing = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=writing, stdout=subprocess.PIPE, stderr=writing, env=environment
    )
    os.close(writing)
    seen = b""
    while True:
        try:
            part = os.read(reading, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(reading)
    out, _ = process.communicate(timeout=30)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()))

    assert (process.returncode, out) == (0, b"")
    assert all(len(line) <= 80 for line in lines)
    assert [line for line in ("told above", "by another library", "after the bars") if line not in lines] == []
    assert any(re.match(r"training \S+ 30/50  loss 1\.000", line) for line in lines)
    assert any(re.match(r"translating \S+ 3/9", line) for line in lines)
