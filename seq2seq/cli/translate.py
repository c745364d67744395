"""seq2seq-translate: one line out for each line in, in order; files, pipes, or a person typing."""

from __future__ import annotations

import os
import queue
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import TRANSLATE
from seq2seq.errors import ConfigError, DataError, Problem
from seq2seq.registry import PositiveInt

if TYPE_CHECKING:
    from seq2seq.search.translator import Translation, Translator

CHUNK = 8192  # lines that are sorted by length together
MAPS = 512  # translations whose attention is in memory together
JSON_LINES = (".json", ".jsonl")
PATIENCE = 0.1  # seconds without a new line after which the lines so far are translated


@dataclass(frozen=True, kw_only=True)
class TranslateOptions:
    """What the command takes; `search` is laid over what the run stored."""

    run: str
    input: str | None = None
    output: str | None = None
    attention: str | None = None
    checkpoint: str = "best"
    max_tokens: PositiveInt = 8192
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    search: dict[str, Any] | None = None
    plugins: str | list[str] = field(default_factory=list)


def main() -> None:
    """The entry point."""
    run_command("seq2seq-translate", "translate", translate, TRANSLATE)


def translate(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.binding import bind
    from seq2seq.pipeline import load_run
    from seq2seq.search.alignment import attends
    from seq2seq.training.console import progress_bar, setup_logging

    options = bind(TranslateOptions, tree)
    setup_logging(None)
    with ExitStack() as stack:
        lines, following = _open_input(options.input, stack)  # before the model is loaded: a pipe fills meanwhile
        output = sys.stdout.buffer if options.output is None else _open_new("output", options, stack)
        attention = None if options.attention is None else _open_new("attention", options, stack)
        changes = {key: tree[key] for key in ("search", "plugins") if tree.get(key)}
        loaded = load_run(
            Path(options.run).expanduser(),
            options.checkpoint,
            changes,
            device=options.device,
            precision=options.precision,
        )
        translator = loaded.translator(options.max_tokens)
        if attention is not None and not attends(translator):
            told = "decoder does not attend to the source" if translator.source_tokenizer else "model has no source"
            raise ConfigError(Problem("attention", f"the run's {told}: nothing to write"))
        earlier = [file for file in (output if options.output is not None else None, attention) if file is not None]
        nbest = loaded.config.search.options.get("nbest", 1) > 1
        # A bar would be drawn between the translations, or between what a person types.
        typing = options.input is None and sys.stdin.isatty()
        quiet = typing or (options.output is None and sys.stdout.isatty())
        advance = None if quiet else stack.enter_context(progress_bar("translating", None))
        done = 0
        for chunk in chunks(lines, CHUNK, following):
            found = translator.translate(chunk, first_line=done + 1, on_done=advance)
            found = found if nbest else [best_first[:1] for best_first in found]
            text = "".join(_format(number, best_first, nbest) for number, best_first in enumerate(found, start=done))
            _empty(earlier)
            _write(output, options.output or "standard output", text, done)
            if attention is not None and options.attention is not None:
                for text in _alignments(translator, chunk, found, Path(options.attention).suffix in JSON_LINES):
                    _write(attention, options.attention, text, done)
            done += len(chunk)
        _empty(earlier)


def _empty(files: list[IO[bytes] | BinaryIO]) -> None:
    """Only when there is something to write: a fault before that leaves an earlier output as it was."""
    for file in files:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
    files.clear()


def _write(file: IO[bytes] | BinaryIO, name: str, text: str, done: int) -> None:
    """done: the lines whose output is whole."""
    try:
        file.write(text.encode())
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # what is buffered would fail again at exit
        raise DataError(f"{name}: cannot be written ({error.strerror}) after {done:,} lines") from error


def _alignments(
    translator: Translator, lines: Sequence[str], found: Sequence[Sequence[Translation]], json: bool
) -> Iterator[str]:
    """One line for each translation, some lines at a time."""
    from seq2seq.search.alignment import attention_maps

    pairs = [(line, translation) for line, best_first in zip(lines, found, strict=True) for translation in best_first]
    for start in range(0, len(pairs), MAPS):
        sources, translations = zip(*pairs[start : start + MAPS], strict=True)
        maps = attention_maps(translator, sources, translations) or []
        yield "".join(f"{one.json() if json else one.pharaoh()}\n" for one in maps)


def _format(number: int, translations: list[Translation], nbest: bool) -> str:
    if not nbest:
        return f"{translations[0].text}\n"
    return "".join(f"{number} ||| {t.text} ||| {t.score:.4f}\n" for t in translations)


def _open_input(name: str | None, stack: ExitStack) -> tuple[Iterator[str], bool]:
    """The lines, and whether they may come slowly."""
    from seq2seq.data.lines import read_lines, read_stream

    if name is None:
        return read_stream(sys.stdin.buffer), not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    path = Path(name).expanduser()
    if not path.exists():
        raise DataError(f"input={name}: no such file")
    return read_lines(path), stat.S_ISFIFO(path.stat().st_mode)


def _open_new(key: str, options: TranslateOptions, stack: ExitStack) -> IO[bytes]:
    """The file that this key names, checked against those before it."""
    path = Path(getattr(options, key)).expanduser()
    is_new = not path.exists()
    others = {"input": os.fstat(sys.stdin.fileno()) if options.input is None else _stat(options.input)}
    if key != "output" and options.output is not None:
        others["output"] = _stat(options.output)
    for what, other in others.items():
        if not is_new and stat.S_ISREG(other.st_mode) and os.path.samestat(other, path.stat()):
            raise ConfigError(Problem(key, f"{path} is the {what}; name another file"))
    try:
        file = stack.enter_context(path.open("ab"))
    except OSError as error:
        raise ConfigError(Problem(key, f"{path}: cannot be written ({error.strerror})")) from error
    if is_new:  # a fault before the first line leaves no empty file
        stack.push(lambda kind, *_: path.unlink() if kind and not path.stat().st_size else None)
    return file


def _stat(name: str) -> os.stat_result:
    return Path(name).expanduser().stat()


def chunks(lines: Iterator[str], size: int, following: bool) -> Iterator[list[str]]:
    """The lines in lists of `size`; where they may come slowly, what has come when nothing more comes for a moment."""
    if not following:
        chunk: list[str] = []
        for line in lines:
            chunk.append(line)
            if len(chunk) == size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
        return
    arrived: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=4 * size)
    threading.Thread(target=_read_all, args=(lines, arrived.put), daemon=True).start()
    ended = False
    while not ended:
        waiting = [arrived.get()]
        while waiting[-1] is not None and not isinstance(waiting[-1], BaseException) and len(waiting) < size:
            try:
                waiting.append(arrived.get(timeout=PATIENCE))
            except queue.Empty:
                break
        ended = waiting[-1] is None or isinstance(waiting[-1], BaseException)
        complete = [line for line in waiting if isinstance(line, str)]
        if complete:
            yield complete
        if isinstance(waiting[-1], BaseException):
            raise waiting[-1]


def _read_all(lines: Iterator[str], put: Callable[[str | BaseException | None], None]) -> None:
    """In a thread: the lines, then None, or the fault that ended them."""
    try:
        for line in lines:
            put(line)
    except BaseException as error:  # told by the thread that translates, after the lines before it
        put(error)
    else:
        put(None)


if __name__ == "__main__":
    main()
