"""seq2seq-evaluate: scores of a run's model on a split or on a pair of files."""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import EVALUATE
from seq2seq.cli.untrained import with_run
from seq2seq.errors import ConfigError, Problem, UserError
from seq2seq.registry import PositiveInt

if TYPE_CHECKING:
    from seq2seq.data.corpus import Context, Example, Source
    from seq2seq.export.choice import Choice
    from seq2seq.metrics.scores import Score
    from seq2seq.pipeline import LoadedRun

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What the command takes; `search` and `data` are laid over what the run stored."""

    run: str
    split: Split = "test"
    source: str | None = None
    target: str | None = None
    tag: str | None = None
    checkpoint: str = "best"
    tokenize: str | None = None
    max_tokens: PositiveInt | None = None
    backend: Literal["auto", "torch", "ctranslate2"] = "auto"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "fp32"
    threads: PositiveInt | None = None
    search: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    plugins: str | list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.source is not None and self.target is None:
            raise ValueError("source=FILE needs target=FILE, what its lines are compared with")
        if self.tag is not None and self.source is None:
            raise ValueError("the sources of a split have their tags already: tag=TAG needs source=FILE")

    @property
    def files(self) -> list[str]:
        """What is measured in the place of a split."""
        return [str(Path(file).expanduser().absolute()) for file in (self.source, self.target) if file is not None]

    @property
    def name(self) -> str:
        """The split, or the names of the two files."""
        name = "-".join(Path(file).name.removesuffix(".gz") for file in self.files) or self.split
        return f"{name}-file" if self.files and name in get_args(Split) else name


def main() -> None:
    """The entry point."""
    run_command("seq2seq-evaluate", "evaluate", evaluate, EVALUATE, lambda tree: check(with_run(tree)))


def check(tree: dict[str, Any]) -> EvaluateOptions:
    """Raises ConfigError for what is wrong with the options."""
    from seq2seq.binding import bind
    from seq2seq.metrics.scores import make_scorer

    options = bind(EvaluateOptions, tree)
    if options.tokenize is not None:
        make_scorer("bleu", options.tokenize)
    return options


def evaluate(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.binding import to_plain
    from seq2seq.cli.score_table import plain, table, whole
    from seq2seq.training.checkpoint import write_replaced
    from seq2seq.training.console import setup_logging

    tree = with_run(tree)
    options = check(tree)
    setup_logging(None)
    loaded, choice = _load(options, tree)
    examples = list(_source(loaded, options).read())
    parts = _parts(loaded, examples, options)
    folder = _folder(loaded.run.evaluation, options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    measured = {name: _measure(loaded, part, options) for name, part in parts.items()}
    about: dict[str, Any] = {
        "name": options.name,
        "files": options.files,
        "tag": options.tag,
        "checkpoint": _told(options.checkpoint, loaded),
        "steps": [checkpoint.step for checkpoint in loaded.checkpoints],
    }
    if choice is not None:
        start = time.monotonic()
        hypotheses = _translate(choice, parts.values())
        about |= {
            "sentences_per_second": len(examples) / (time.monotonic() - start),
            "search": to_plain(loaded.config.search),
            "backend": choice.engine,
            "precision": options.precision,
        }
        for name, part in parts.items():
            measured[name] |= _scores(part, hypotheses, options)
        write_replaced(folder / "hypotheses.txt", "".join(f"{line}\n" for line in hypotheses.values()))
    results = plain(whole([*measured.values()])) | about
    if len(parts) > 1:
        results["parts"] = {name: plain(of_part) for name, of_part in measured.items()}
    write_replaced(folder / "scores.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(table(results))
    print(f"written to {folder}", file=sys.stderr)


def _told(checkpoint: str, loaded: LoadedRun) -> str:
    """What `best` is where nothing was validated, or nothing trained."""
    if checkpoint != "best" or any(found.metrics for found in loaded.checkpoints):
        return checkpoint
    return "last" if loaded.checkpoints else "untrained"


def _load(options: EvaluateOptions, tree: dict[str, Any]) -> tuple[LoadedRun, Choice | None]:
    """The run, and what translates; None for a language model."""
    from seq2seq.cli.tags import check_tag
    from seq2seq.config import read_data
    from seq2seq.export.choice import choose, torch_precision, use_threads
    from seq2seq.pipeline import load_run

    use_threads(options.threads)
    changes = {key: tree[key] for key in ("search", "data", "plugins") if tree.get(key)}
    loaded = load_run(
        Path(options.run).expanduser(),
        options.checkpoint,
        changes,
        device=options.device,
        precision=torch_precision(options.precision),
    )
    if loaded.tokenizers.source is None:
        useless = [key for key in ("search", "tokenize", "backend") if tree.get(key)]
        useless += ["precision"] if options.precision == "int8" else []
        if useless:
            raise ConfigError(*(Problem(key, "a language model is measured without translating") for key in useless))
        return loaded, None
    trained_on = read_data(loaded.run, {"plugins": options.plugins})
    check_tag(options.tag, trained_on, reads_lines=options.source is not None)
    return loaded, choose(
        loaded, options.max_tokens, backend=options.backend, precision=options.precision, tag=options.tag
    )


def _folder(evaluation: Path, options: EvaluateOptions) -> Path:
    """A folder for each checkpoint, the best having the plain name, and for each pair of files and tag: numbers tell
    those of one name apart.
    """
    name = options.name if options.checkpoint == "best" else f"{options.name}-{Path(options.checkpoint).name}"
    folders = (evaluation / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in folders if _measured(folder) in (None, (options.files, options.tag)))


def _measured(folder: Path) -> Any:
    """The files and the tag whose scores are in the folder; None where there are no scores yet."""
    try:
        scores = json.loads((folder / "scores.json").read_bytes())
        return scores["files"], scores.get("tag")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _source(loaded: LoadedRun, options: EvaluateOptions) -> Source:
    from seq2seq.data.lines import resolve
    from seq2seq.data.text_files import TextFileSource

    if options.target is not None:
        if (options.source is None) != (loaded.tokenizers.source is None):
            told = "the run has no source" if options.source else "the run translates: target=FILE needs source=FILE"
            raise ConfigError(Problem("source", told))
        file = resolve(Path(options.source).expanduser()) if options.source else None
        return TextFileSource([(file, resolve(Path(options.target).expanduser()))])
    source = loaded.config.data().split(options.split)
    if source is None:
        raise ConfigError(
            Problem(f"data.{options.split}", "the run has no such split; name files with target= and source=")
        )
    return source


@dataclass(frozen=True)
class Part:
    """What is scored by itself. examples: their sources as the model reads them, but for a tag.

    language: of the target. context: what the model writes with each translation, and is not scored.
    """

    examples: list[Example]
    language: str
    context: Context | None


def _parts(loaded: LoadedRun, examples: list[Example], options: EvaluateOptions) -> dict[str, Part]:
    from seq2seq.cli.tags import asked_for
    from seq2seq.config import read_data

    corpus = loaded.config.data()
    own = asked_for(options.tag, read_data(loaded.run, {"plugins": options.plugins}))
    if options.files or len(corpus.parts) == 1:
        language, context = (own.target, None) if options.files else (corpus.target, corpus.context)
        if context is None and own.context is not None:  # other data gets the run's context
            context = own.context
            sources = context.with_context(example.source for example in examples)
            examples = [replace(e, source=source) for e, source in zip(examples, sources, strict=True)]
        return {"": Part(examples, language, context)}
    parts: dict[str, Part] = {}
    for name, part in corpus.parts.items():
        of_part = [example for example in examples if corpus.place_of(example.number)[0] == name]
        if of_part:
            parts[name] = Part(of_part, part.target, part.context)
    return parts


def _measure(loaded: LoadedRun, part: Part, options: EvaluateOptions) -> dict[str, Any]:
    """What scores.json holds of the model alone, without translating."""
    from seq2seq.data.corpus import ListSource, tagged
    from seq2seq.export.choice import MAX_TOKENS
    from seq2seq.training.evaluator import mean_loss

    examples = part.examples
    encoded = loaded.encode(ListSource([replace(e, source=tagged(options.tag, e.source)) for e in examples]))
    if encoded.counts.empty:
        log.warning("%d examples with an empty side are not part of the loss", encoded.counts.empty)
    loss = mean_loss(
        loaded.model,
        encoded,
        max_tokens=options.max_tokens or MAX_TOKENS,
        device=loaded.device,
        autocast=loaded.precision,
    )
    results: dict[str, Any] = {"loss": loss, "perplexity": math.exp(loss), "sentences": len(examples)}
    if encoded.sources is None:
        if any((flat == loaded.tokenizers.target.vocab.unk).any() for flat, _ in encoded.targets.parts):
            log.warning("no bits per byte: the text holds what the tokenizer does not know")
            return results
        num_tokens = int(encoded.target_lengths.sum()) + len(encoded)  # eos counts as a token, and as a byte
        targets = {example.number: example.target for example in examples}
        num_bytes = sum(len(targets[number].encode()) + 1 for number in map(int, encoded.numbers))
        return results | {"bits_per_byte": loss * num_tokens / math.log(2) / num_bytes}
    return results


def _translate(choice: Choice, parts: Iterable[Part]) -> dict[int, str]:
    """What the model writes for each example, without context, by numbers in their order."""
    from seq2seq.data.corpus import last_sentence
    from seq2seq.training.console import progress_bar

    if choice.told is not None:
        log.info("%s", choice.told)
    examples = [(example, part.context) for part in parts for example in part.examples]
    examples.sort(key=lambda item: item[0].number)
    with progress_bar("translating", len(examples)) as advance:
        found = choice.translator.translate([example.source for example, _ in examples], on_done=advance)
    return {
        example.number: last_sentence(context, translations[0].text)
        for (example, context), translations in zip(examples, found, strict=True)
    }


def _scores(part: Part, hypotheses: Mapping[int, str], options: EvaluateOptions) -> dict[str, Score]:
    from seq2seq.metrics.scores import corpus_scores

    return corpus_scores(
        [hypotheses[example.number] for example in part.examples],
        [example.target for example in part.examples],
        target_language=part.language,
        tokenize=options.tokenize,
    )


if __name__ == "__main__":
    main()
