"""seq2seq-translate: one line out for each line in, in order; files, pipes, or a person typing."""

from __future__ import annotations

import logging
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import TRANSLATE
from seq2seq.cli.untrained import made_run, with_run
from seq2seq.errors import ConfigError, DataError, Problem, UserError
from seq2seq.registry import PositiveInt

if TYPE_CHECKING:
    from seq2seq.cli.lines_in import Input, Line
    from seq2seq.cli.lines_out import OutputFile
    from seq2seq.data.corpus import Context
    from seq2seq.export.choice import Choice
    from seq2seq.pipeline import LoadedRun
    from seq2seq.search.translator import Block, Translation, Translator

log = logging.getLogger(__name__)

MAPS = 512  # translations whose attention is in memory together
ENCODED = 2  # blocks that wait to be searched
JSON_LINES = (".json", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class TranslateOptions:
    """What the command takes; `search`, `data` and the place of a moved `model` are laid over what the run
    stored.
    """

    run: str
    input: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    output: str | None = None
    copy: str | None = None
    attention: str | None = None
    tag: str | None = None
    resume: bool = False
    checkpoint: str = "best"
    max_tokens: PositiveInt | None = None
    backend: Literal["auto", "torch", "ctranslate2"] = "auto"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "fp32"
    threads: PositiveInt | None = None
    search: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    plugins: str | list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.input is not None and self.split is not None:
            raise ValueError("input=FILE and split=NAME both say what is translated: give one of them")
        if self.data and self.split is None:
            raise ValueError("data has no effect without split=NAME, which says that examples of it are translated")
        if self.resume and self.output is None:
            raise ValueError("resume=true needs output=FILE, what an earlier start wrote")


class Stopped(UserError):
    """By a signal. exit_status: 128 + the signal's number, as shells count."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


def main() -> None:
    """The entry point."""
    run_command("seq2seq-translate", "translate", translate, TRANSLATE, lambda tree: check(with_run(tree)))


def check(tree: dict[str, Any]) -> TranslateOptions:
    """The options. Raises ConfigError."""
    from seq2seq.binding import bind

    return bind(TranslateOptions, tree)


def translate(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.cli.tags import asked_for
    from seq2seq.training.console import progress_bar, setup_logging

    given_tree, tree = tree, with_run(tree)
    options = check(tree)
    setup_logging(None)
    with ExitStack() as stack:
        with made_run(given_tree, Path(options.run).expanduser()):
            given = _open(options, tree)  # before the model is loaded: a pipe fills meanwhile
            outputs = Outputs(options, given, stack)
            loaded, choice = _load(options, tree)
        translator, outputs.context = choice.translator, asked_for(options.tag, loaded.config.data()).context
        outputs.nbest = loaded.config.search.options.get("nbest", 1) > 1
        if options.resume:
            outputs.continue_earlier()
        # A bar would be drawn between the translations, or between what a person types.
        typing = options.input is None and options.split is None and sys.stdin.isatty()
        quiet = typing or (options.output is None and sys.stdout.isatty())
        advance = None if quiet else stack.enter_context(progress_bar("translating", None))
        stack.enter_context(_stopping(outputs))
        stack.callback(outputs.tell_shortened, translator.reading.max_source_tokens)
        lines = given.with_context(outputs.context)
        for block, plain in _searched(translator, lines, given.following, outputs.done, advance, choice.told):
            outputs.write(translator, block, plain)
        outputs.end()


def _open(options: TranslateOptions, tree: dict[str, Any]) -> Input:
    from seq2seq.cli.lines_in import open_input, open_split

    if options.split is None:
        return open_input(options.input)
    return open_split(options.run, options.split, _typed(tree, "data", "plugins"), options.tag)


def _typed(tree: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tree[key] for key in keys if tree.get(key)}


def _load(options: TranslateOptions, tree: dict[str, Any]) -> tuple[LoadedRun, Choice]:
    from seq2seq.cli.tags import check_tag
    from seq2seq.export.choice import choose, torch_precision, use_threads
    from seq2seq.pipeline import load_run
    from seq2seq.search.alignment import attends

    use_threads(options.threads)
    loaded = load_run(
        Path(options.run).expanduser(),
        options.checkpoint,
        _typed(tree, "search", "model", "plugins"),
        device=options.device,
        precision=torch_precision(options.precision),
    )
    check_tag(options.tag, loaded.config.data(), reads_lines=options.split is None)
    choice = choose(loaded, options.max_tokens, backend=options.backend, precision=options.precision, tag=options.tag)
    if options.attention is not None and not attends(choice.translator):
        told = "decoder does not attend to the source" if choice.translator.source_tokenizer else "model has no source"
        raise ConfigError(Problem("attention", f"the run's {told}: nothing to write"))
    return loaded, choice


def _searched(
    translator: Translator,
    lines: Iterator[Line],
    following: bool,
    done: int,
    advance: Callable[[int], None] | None,
    told: Sequence[str],
) -> Iterator[tuple[Block, list[str]]]:
    """The lines in blocks, with their hypotheses, and as they were before anything was added to them; without the
    blocks whose lines are done.

    A file is divided alike whatever is done, and so translated to the same bits. Its lines are read and encoded in a
    thread while others are searched.
    """
    from seq2seq.cli.lines_in import chunks, chunks_as_they_come
    from seq2seq.data.ahead import ahead
    from seq2seq.search.translator import BLOCK

    start = done if following else done // BLOCK * BLOCK
    for number in range(start):
        if next(lines, None) is None:
            raise _too_short(done, number)
    encoder = _Encoder(translator, start, told)
    if following:  # each is answered before the next one is waited for
        for block in encoder.blocks(chunks_as_they_come(lines, BLOCK)):
            yield from ((found, encoder.plain.popleft()) for found in translator.find([block], on_done=advance))
    else:
        blocks = ahead(encoder.blocks(chunks(lines, BLOCK)), ENCODED)
        yield from ((found, encoder.plain.popleft()) for found in translator.find(blocks, on_done=advance))
    if encoder.fault is not None:  # told after the lines before it
        raise encoder.fault
    if encoder.num_lines < done:
        raise _too_short(done, encoder.num_lines)


class _Encoder:
    """Lines become blocks. num_lines: how many have, with those before the first. plain: of blocks that are not written
    yet the lines as they were. fault: of the data, which was the end.

    told: lines that are to be said once there is something to translate.
    """

    def __init__(self, translator: Translator, num_lines: int, told: Sequence[str]) -> None:
        self.translator = translator
        self.num_lines = num_lines
        self.told = told
        self.plain: deque[list[str]] = deque()
        self.fault: DataError | None = None

    def blocks(self, chunks: Iterator[list[Line]]) -> Iterator[Block]:
        try:
            for chunk in chunks:
                for line in self.told:
                    log.info("%s", line)
                self.told = ()
                self.plain.append([line.plain for line in chunk])
                yield self.translator.encode([line.read for line in chunk], self.num_lines + 1)
                self.num_lines += len(chunk)
        except DataError as error:
            self.fault = error


def _too_short(done: int, number: int) -> DataError:
    return DataError(f"the output is of {done:,} lines already, but the input has {number:,}: it is of another input")


class Outputs:
    """What is written, and how far it is. done: the input lines whose output is whole.

    nbest: whether several translations of a line are written. context: what only the model writes with each.
    """

    def __init__(self, options: TranslateOptions, given: Input, stack: ExitStack) -> None:
        from seq2seq.cli.lines_out import OutputFile, open_new

        others = [("input", status) for status in given.files]
        self.done = self.shortened = 0
        self.nbest = False
        self.context: Context | None = None
        self.json = options.attention is not None and Path(options.attention).suffix in JSON_LINES
        opened: dict[str, OutputFile] = {}
        for key, name in (("output", options.output), ("copy", options.copy), ("attention", options.attention)):
            if name is not None:
                opened[key] = open_new(key, name, others, stack)
                others.append((key, Path(name).expanduser().stat()))
        self.translations = opened.get("output", OutputFile("standard output", sys.stdout.buffer))
        self.resumable = self.translations.start is not None
        self.settings = _settings(options)
        self.has_begun = False
        self.copy, self.attention = opened.get("copy"), opened.get("attention")
        self.files = [file for file in (self.translations, self.copy, self.attention) if file is not None]

    def continue_earlier(self) -> None:
        from seq2seq.cli.lines_out import check_settings, continue_after

        for file in self.files:
            if file.start is None:
                raise ConfigError(Problem("resume", f"{file.name} is no file that could be continued"))
        check_settings(self.translations, self.settings)
        self.done = continue_after(self.translations, self.attention, self.copy, self.nbest)
        if self.done:
            log.info("continuing after %s lines", f"{self.done:,}")

    def write(self, translator: Translator, block: Block, plain: Sequence[str]) -> None:
        """Of a block with all its hypotheses, what is not there yet. plain: its lines, as they are copied."""
        skip = max(self.done - (block.first_line - 1), 0)
        lines, found = block.lines[skip:], translator.decode(block)[skip:]
        self.shortened += block.num_shortened
        if not lines:
            return
        self.begin()
        if not self.nbest:
            found = [best_first[:1] for best_first in found]
        if self.copy is not None:
            self.copy.write("".join(f"{line}\n" for line in plain[skip:]), self.done)
        text = "".join(self._format(number, best_first) for number, best_first in enumerate(found, self.done))
        self.translations.write(text, self.done)
        if self.attention is not None:
            for text in _alignments(translator, lines, found, self.json, self.context):
                self.attention.write(text, self.done)
        self.done += len(lines)

    def tell_shortened(self, limit: int | None) -> None:
        if self.shortened:
            log.warning("lines shortened to data.max_source_tokens=%s: %s", limit, f"{self.shortened:,}")

    def begin(self) -> None:
        """Takes away what is written anew, in all files before the first line goes to one of them."""
        from seq2seq.cli.lines_out import keep_settings

        if self.resumable and not self.has_begun:
            keep_settings(self.translations, self.settings)
        self.has_begun = True
        for file in self.files:
            file.cut()

    def end(self) -> None:
        from seq2seq.cli.lines_out import forget_settings

        self.begin()  # also where there was nothing to write
        if self.resumable:
            forget_settings(self.translations)

    @property
    def advice(self) -> str:
        """How it goes on after a stop. What another job wrote is there until the first line, and is not continued."""
        if not self.resumable:
            return ""
        of_another = not self.done and self.translations.start is not None and self.translations.size > 0
        return "; the same command begins again" if of_another else "; the same command with resume=true continues"

    def _format(self, number: int, translations: list[Translation]) -> str:
        if self.context is not None:
            translations = [replace(t, text=self.context.last_sentence(t.text)) for t in translations]
        if not self.nbest:
            return f"{translations[0].text}\n"
        return "".join(f"{number} ||| {t.text} ||| {t.score:.4f}\n" for t in translations)


def _settings(options: TranslateOptions) -> dict[str, Any]:
    """What the lines of an output depend on, and so has to stay when it is continued."""
    from seq2seq.training.run_dir import flatten

    changed = flatten({"search": options.search or {}, "data": options.data or {}})
    told = {key: getattr(options, key) for key in ("split", "tag", "checkpoint", "precision")}
    return {"run": str(Path(options.run).expanduser().resolve()), **told, **changed}


@contextmanager
def _stopping(outputs: Outputs) -> Iterator[None]:
    """Tells at Ctrl-C and SIGTERM how far it is and how to go on. Raises Stopped."""
    received = signal.SIGINT

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped after {outputs.done:,} lines{outputs.advice}", received) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _alignments(
    translator: Translator,
    lines: Sequence[str],
    found: Sequence[Sequence[Translation]],
    json: bool,
    context: Context | None,
) -> Iterator[str]:
    """One line for each translation, some lines at a time. Links are of the line's own words, JSON is of all that the
    model read and wrote.
    """
    from seq2seq.data.corpus import tagged
    from seq2seq.search.alignment import attention_maps

    def words_before(text: str) -> int:
        return 0 if context is None else len(text.split()) - len(context.last_sentence(text).split())

    pairs = [(line, translation) for line, best_first in zip(lines, found, strict=True) for translation in best_first]
    for start in range(0, len(pairs), MAPS):
        sources, translations = zip(*pairs[start : start + MAPS], strict=True)
        maps = attention_maps(translator, sources, translations) or []
        if json:
            yield "".join(f"{one.json()}\n" for one in maps)
        else:
            texts = (
                (tagged(translator.tag, line), found.text) for line, found in zip(sources, translations, strict=True)
            )
            own = [(words_before(source), words_before(target)) for source, target in texts]
            yield "".join(f"{one.pharaoh(first)}\n" for one, first in zip(maps, own, strict=False))


if __name__ == "__main__":
    main()
