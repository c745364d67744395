"""What the user sees on stderr: log lines, and below them, where stderr is a terminal, progress bars.

Nothing here writes to stdout, which belongs to results.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seq2seq.search.alignment import AttentionMap
from seq2seq.training.reporters import Option, Reporter, Sample

log = logging.getLogger(__name__)

# How numbers are told, in the order in which they are told, empty: not at all; others follow with four digits.
TRAINING = {
    "loss": "loss {:.3f}",
    "lr": "lr {:.1e}",
    "gradient_norm": "norm {:.2f}",
    "tokens_per_second": "{:,.0f} tok/s",
    "epoch": "epoch {:.2f}",
    "tokens": "",
}
SCORES = {
    "loss": "loss {:.2f}",
    "perplexity": "perplexity {:,.1f}",
    "bleu": "BLEU {:.1f}",
    "chrf": "chrF {:.1f}",
    "token_accuracy": "accuracy {:.1f}%",
}

# A log record's `shown`: where it is told, if not in every place.
IN_FILE_ONLY = {"shown": "file"}
UNLESS_BAR = {"shown": "unless bar"}  # left out on a terminal, where a progress bar tells the same


class Screen:
    """stderr. On a terminal all bars are drawn by one rich.Progress, since two would write over each other."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress: Progress | None = None
        self.silent = False

    @property
    def has_bars(self) -> bool:
        """A terminal that can move its cursor. rich alone would say so of a file too, where FORCE_COLOR is set."""
        return not self.silent and self.console.is_interactive and self.console.file.isatty()

    def print(self, text: str, style: str = "") -> None:
        """A line above the bars, wrapped between words on a terminal; an indented line, for example a command, is not
        wrapped, so that it can be copied.
        """
        self.console.print(Text(text, style=style), soft_wrap=text.startswith(" ") or not self.has_bars)

    def start_progress(self) -> Progress:
        """The running one, or a new one; four redraws a second, however often it is updated."""
        if self.progress is None:
            self.progress = Progress(
                _BarLine(self.console),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                refresh_per_second=4,
            )
            self.progress.start()
        return self.progress

    def stop_progress_if_idle(self) -> None:
        if self.progress is not None and not self.progress.tasks:
            self.progress.stop()
            self.progress = None


SCREEN = Screen()


class Bar:
    """One line of progress; does nothing where the screen has no bars. total: None where the end is not known."""

    def __init__(self, description: str, total: int | None, screen: Screen, completed: int = 0) -> None:
        self.screen = screen
        self.progress = screen.start_progress() if screen.has_bars else None
        if self.progress is not None:
            self.task = self.progress.add_task(description, total=total, completed=completed, facts=())

    def advance(self, number: int = 1) -> None:
        if self.progress is not None:
            self.progress.advance(self.task, number)

    def update(self, completed: int, facts: Sequence[str]) -> None:
        """facts: short texts to the right of the count."""
        if self.progress is not None:
            self.progress.update(self.task, completed=completed, facts=facts)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.remove_task(self.task)
            self.progress = None
            self.screen.stop_progress_if_idle()


@contextmanager
def progress_bar(
    description: str, total: int | None = None, screen: Screen = SCREEN
) -> Iterator[Callable[[int], None]]:
    """A bar for the time of a with block; what it yields is told how many more are done."""
    bar = Bar(description, total, screen)
    try:
        yield bar.advance
    finally:
        bar.close()


def setup_logging(log_file: Path | None, screen: Screen = SCREEN) -> None:
    """The package's messages go to stderr as they are and, with time stamps, to the end of log_file.

    Called again, it takes the place of the call before.
    """
    logger = logging.getLogger("seq2seq")
    for old in logger.handlers[:]:
        if isinstance(old, _ScreenHandler | _LogFileHandler):
            logger.removeHandler(old)
            old.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a library that configures the root logger would tell everything twice
    logger.addHandler(_ScreenHandler(screen))
    if log_file is not None:
        logger.addHandler(_LogFileHandler(log_file))


def silence(screen: Screen = SCREEN) -> None:
    """For a process that leaves it to another one to tell what happens."""
    screen.silent = True
    logger = logging.getLogger("seq2seq")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


class ConsoleReporter(Reporter):
    """Training as it goes: a bar on a terminal, a line for each report elsewhere; a line for each validation in both.

    Samples go to the log file only.
    """

    def __init__(self, total_steps: int | None, screen: Screen = SCREEN) -> None:
        self.total_steps = total_steps
        self.screen = screen
        self.bar: Bar | None = None
        self.facts: dict[str, str] = {}
        self.first_report: tuple[int, float] | None = None

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """Moves the bar; numbers that are not in `values` stay as they were."""
        for name in ("loss", "tokens_per_second"):
            if f"train/{name}" in values:
                self.facts[name] = TRAINING[name].format(values[f"train/{name}"])
        if self.bar is None:
            self.bar = Bar("training", self.total_steps, self.screen, completed=step)
        self.bar.update(step, list(self.facts.values()))

    def scalars(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        training = _facts(values, "train/", TRAINING)
        if training:
            total = f"/{self.total_steps:,}" if self.total_steps else ""
            times = f"{_clock(seconds)}{self._time_left(step, seconds)}"
            log.info("%s", "  ".join([f"step {step:,}{total}", *training, times]), extra=UNLESS_BAR)
        for split in ("validation", "test"):
            scores = _facts(values, f"{split}/", SCORES)
            if scores:
                best = "  (best)" if values.get(f"{split}/best") else ""
                log.info("step %s %s: %s%s", f"{step:,}", split, "  ".join(scores), best)
            for part, of_part in _by_part(values, split).items():
                log.info("  %s: %s", part, "  ".join(_facts(of_part, f"{split}/", SCORES)))

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        for source, reference, hypothesis in rows:
            text = f"  source:     {source}\n  reference:  {reference}\n  hypothesis: {hypothesis}"
            log.info("sample at step %s\n%s", f"{step:,}", text, extra=IN_FILE_ONLY)

    def attention(self, step: int, maps: Sequence[AttentionMap]) -> None:
        """Left out: TensorBoard shows it."""

    def finish(self, options: Mapping[str, Option], values: Mapping[str, float]) -> None:
        """Left out: the command itself tells how it ended."""

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _time_left(self, step: int, seconds: float) -> str:
        """By the pace since the first report of this process, which leaves out what happens only at the start."""
        if self.first_report is None:
            self.first_report = (step, seconds)
        first_step, first_seconds = self.first_report
        if self.total_steps is None or step <= first_step:
            return ""
        pace = (seconds - first_seconds) / (step - first_step)
        return f", {_clock(pace * (self.total_steps - step))} left"


class _BarLine(ProgressColumn):
    """A whole line: description, bar, count, facts, time so far, time left. Drops what does not fit."""

    max_width = 30
    min_width = 5

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> RenderableType:
        count = f"{int(task.completed):,}" + (f"/{int(task.total):,}" if task.total else "")
        rate = [f"{task.speed:,.0f}/s"] if task.speed and not task.fields["facts"] else []
        parts = [count, *task.fields["facts"], *rate, _clock(task.elapsed or 0.0)]
        if task.time_remaining is not None:
            parts.append(f"{_clock(task.time_remaining)} left")
        room = self.console.width - len(task.description) - 3  # two gaps, and the last column stays free
        bar_room = self.min_width if task.total else 0
        while len("  ".join(parts)) + bar_room > room and len(parts) > 1:
            parts.pop(-2 if len(parts) > 2 else -1)  # the count and the time left stay longest
        text = "  ".join(parts)
        line = Table.grid(padding=(0, 1), pad_edge=False)
        cells: list[RenderableType] = [Text(task.description)]
        if task.total and room - len(text) >= self.min_width:
            width = min(self.max_width, room - len(text))
            cells.append(ProgressBar(task.total, task.completed, width))
        cells.append(Text(text, overflow="crop", no_wrap=True))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        return line


class _ScreenHandler(logging.Handler):
    """Messages to the screen, those above INFO with their level and a colour."""

    styles = ((logging.ERROR, "red"), (logging.WARNING, "yellow"))

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def filter(self, record: logging.LogRecord) -> bool:
        shown = getattr(record, "shown", "")
        return shown != "file" and not (shown == "unless bar" and self.screen.has_bars)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            style = next((style for level, style in self.styles if record.levelno >= level), "")
            prefix = f"{record.levelname.lower()}: " if style else ""
            self.screen.print(prefix + self.format(record), style)
        except Exception:
            self.handleError(record)


class _LogFileHandler(logging.FileHandler):
    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A full disk ends training at the next checkpoint, which tells it; a missing line does not."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _by_part(values: Mapping[str, float], split: str) -> dict[str, dict[str, float]]:
    """The parts of a mixture, each with its own values, named as those of the whole."""
    found: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        of_split, metric, *part = name.split("/", 2)
        if of_split == split and part:
            found.setdefault(part[0], {})[f"{split}/{metric}"] = value
    return found


def _facts(values: Mapping[str, float], prefix: str, formats: Mapping[str, str]) -> list[str]:
    """The numbers under a prefix as short texts."""
    named = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    named = {name: value for name, value in named.items() if "/" not in name}  # of a part
    named.pop("best", None)  # a mark, not a number
    known = [text.format(named.pop(name)) for name, text in formats.items() if name in named]
    known = [text for text in known if text]
    return known + [f"{name.replace('_', ' ')} {value:.4g}" for name, value in named.items()]


def _clock(seconds: float) -> str:
    """Hours, minutes, seconds: 0:12:40."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
