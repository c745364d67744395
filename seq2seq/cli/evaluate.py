"""seq2seq-evaluate: scores of a run's model on a split or on a pair of files."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import EVALUATE
from seq2seq.cli.untrained import made_run, with_run
from seq2seq.errors import ConfigError, Problem, UserError
from seq2seq.registry import PositiveInt

if TYPE_CHECKING:
    from seq2seq.config import RunConfig
    from seq2seq.data.corpus import Context, Example, Source
    from seq2seq.export.choice import Choice
    from seq2seq.metrics.base import Metric, Score
    from seq2seq.pipeline import LoadedRun
    from seq2seq.training.checkpoint import Checkpoint
    from seq2seq.training.run_dir import RunDir

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
Read: TypeAlias = "Callable[[RunConfig, Source], list[Example]]"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What the command takes; `search`, `metrics` and `data` are laid over what the run stored."""

    run: str | list[str]
    split: Split = "test"
    source: str | None = None
    target: str | None = None
    tag: str | None = None
    checkpoint: str = "best"
    max_tokens: PositiveInt | None = None
    backend: Literal["auto", "torch", "ctranslate2"] = "auto"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "fp32"
    threads: PositiveInt | None = None
    search: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    plugins: str | list[str] = field(default_factory=list)
    baseline: str | None = None
    table: str | list[str] | None = None
    report: str | None = None
    again: bool = False

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
    run_command("seq2seq-evaluate", "evaluate", evaluate, EVALUATE, check)


def check(tree: dict[str, Any]) -> EvaluateOptions:
    """Raises ConfigError for what is wrong with the options."""
    from seq2seq.binding import bind
    from seq2seq.cli.comparing import of_several, problems_of_several

    several = of_several(tree.get("run"))
    if several and tree.get("model"):
        raise ConfigError(Problem("model", "is measured by itself: name the run that was made for it among the others"))
    options = bind(EvaluateOptions, with_run(tree))
    if problems := problems_of_several(options, several):
        raise ConfigError(*problems)
    return options


def evaluate(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.cli.comparing import compare_runs, of_several
    from seq2seq.cli.score_table import table
    from seq2seq.training.console import setup_logging

    options = check(tree)
    setup_logging(None)
    if of_several(options.run):
        compare_runs(options, with_run(tree))
        return
    assert isinstance(options.run, str)
    path = Path(options.run).expanduser()
    with made_run(tree, path):
        plan = make_plan(path, options, with_run(tree))
        loaded, choice = load(plan)
    print(table(measure(plan, loaded, choice)))
    print(f"written to {plan.folder}", file=sys.stderr)


@dataclass(frozen=True)
class Plan:
    """How a run is measured, known before its model is loaded. config: with what was changed for this use.

    folder: where the scores go. examples: of all parts, in their order.
    """

    run: RunDir
    options: EvaluateOptions
    changes: Mapping[str, Any]
    config: RunConfig
    checkpoints: list[Checkpoint]
    parts: Mapping[str, Part]
    folder: Path

    @property
    def examples(self) -> list[Example]:
        return sorted((e for part in self.parts.values() for e in part.examples), key=lambda e: e.number)

    @property
    def plain_sources(self) -> list[str]:
        """In the order of the examples."""
        found = [
            (example.number, source)
            for part in self.parts.values()
            for example, source in zip(part.examples, part.plain_sources, strict=True)
        ]
        return [source for _, source in sorted(found)]


def make_plan(
    path: Path, options: EvaluateOptions, tree: Mapping[str, Any], read: Read = lambda config, source: [*source.read()]
) -> Plan:
    """read: the examples of a source, which is that of the config's data or of files.

    Raises UserError for what cannot be measured.
    """
    from seq2seq.cli.comparing import refuse_folder_of_runs
    from seq2seq.cli.tags import check_tag
    from seq2seq.config import read_data, read_run
    from seq2seq.pipeline import choose_checkpoints
    from seq2seq.training.run_dir import RunDir

    refuse_folder_of_runs(path)
    run = RunDir(path)
    changes = {key: tree[key] for key in ("search", "metrics", "data", "model", "plugins") if tree.get(key)}
    _check_trust(run, changes)
    config = read_run(run, changes)
    checkpoints = choose_checkpoints(run, config, options.checkpoint, changes)
    if config.has_source:
        trained_on = read_data(run, {"plugins": options.plugins})
        check_tag(options.tag, trained_on, reads_lines=options.source is not None)
        config.measures()
    else:
        useless = [key for key in ("search", "metrics", "backend") if tree.get(key)]
        useless += ["precision"] if options.precision == "int8" else []
        if useless:
            raise ConfigError(*(Problem(key, "a language model is measured without translating") for key in useless))
    parts = _parts(run, config, read(config, _source(config, options)), options)
    return Plan(run, options, changes, config, checkpoints, parts, _folder(run.evaluation, options))


def measure(plan: Plan, loaded: LoadedRun, choice: Choice | None) -> dict[str, Any]:
    """What scores.json holds then. loaded, choice: what `load` gives. Raises UserError for what cannot be measured."""
    from seq2seq.cli.known import facts
    from seq2seq.cli.score_table import plain, whole
    from seq2seq.reports.runs import digest
    from seq2seq.training.checkpoint import write_replaced

    options, folder, parts = plan.options, plan.folder, plan.parts
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    of_model = {name: _measure(loaded, part, options) for name, part in parts.items()}
    if missing := [f"{name}: {why}" if name else why for name, (_, why) in of_model.items() if why]:
        log.warning("no perplexity of words and bytes: %s", "; ".join(missing))
    measured = {name: results for name, (results, _) in of_model.items()}
    about = facts(plan, choice.engine if choice is not None else None)
    if choice is not None:
        start = time.monotonic()
        hypotheses = _translate(choice, parts.values())
        text = "".join(f"{line}\n" for line in hypotheses.values())
        about |= {
            "sentences_per_second": len(hypotheses) / (time.monotonic() - start),
            "hypotheses": digest([*hypotheses.values()]),
        }
        metrics = loaded.config.measures()
        for name, part in parts.items():
            measured[name] |= _scores(part, hypotheses, metrics)
        write_replaced(folder / "hypotheses.txt", text)
    results = plain(whole([*measured.values()])) | about
    if len(parts) > 1:
        results["parts"] = {name: plain(of_part) for name, of_part in measured.items()}
    write_replaced(folder / "scores.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return results


def load(plan: Plan) -> tuple[LoadedRun, Choice | None]:
    """The run, and what translates; None for a language model."""
    from seq2seq.export.choice import choose, torch_precision, use_threads
    from seq2seq.pipeline import load_run

    options = plan.options
    use_threads(options.threads)
    loaded = load_run(
        plan.run.path,
        options.checkpoint,
        plan.changes,
        device=options.device,
        precision=torch_precision(options.precision),
        chosen=plan.checkpoints,
    )
    if loaded.tokenizers.source is None:
        return loaded, None
    return loaded, choose(
        loaded, options.max_tokens, backend=options.backend, precision=options.precision, tag=options.tag
    )


def _check_trust(run: RunDir, changes: Mapping[str, Any]) -> None:
    """Raises ConfigError where a metric would read a file that can run code, and only the run, which may come from a
    stranger, names it.
    """
    from seq2seq.config import read_run

    for key, factory in read_run(run, changes).metrics.items():
        option = factory.component.runs_code if factory is not None else None
        typed = (changes.get("metrics") or {}).get(key)
        if factory is None or option is None or (isinstance(typed, Mapping) and option in typed):
            continue
        file = factory.options[option]
        told = f"the run uses {file}, which can run code when it is loaded; allow it: metrics.{key}.{option}={file}"
        raise ConfigError(Problem(f"metrics.{key}", f"{told}, or metrics.{key}=null"))


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


def _source(config: RunConfig, options: EvaluateOptions) -> Source:
    from seq2seq.data.line_files import TextFileSource
    from seq2seq.data.lines import resolve

    if options.target is not None:
        if (options.source is not None) != config.has_source:
            told = "the run has no source" if options.source else "the run translates: target=FILE needs source=FILE"
            raise ConfigError(Problem("source", told))
        file = resolve(Path(options.source).expanduser()) if options.source else None
        return TextFileSource([(file, resolve(Path(options.target).expanduser()))])
    source = config.data().split(options.split)
    if source is None:
        raise ConfigError(
            Problem(f"data.{options.split}", "the run has no such split; name files with target= and source=")
        )
    return source


@dataclass(frozen=True)
class Part:
    """What is scored by itself. examples: their sources as the model reads them, but for a tag.

    language: of the target. context: what the model writes with each translation, and is not scored. tags: what the
    sources may begin with.
    """

    examples: list[Example]
    language: str
    context: Context | None
    tags: tuple[str, ...]

    @property
    def plain_sources(self) -> list[str]:
        """Without tags and context."""
        from seq2seq.data.corpus import last_sentence

        found = [last_sentence(self.context, example.source) for example in self.examples]
        for tag in self.tags:
            found = [source.removeprefix(f"{tag} ") for source in found]
        return found


def _parts(run: RunDir, config: RunConfig, examples: list[Example], options: EvaluateOptions) -> dict[str, Part]:
    from seq2seq.cli.tags import asked_for
    from seq2seq.config import read_data

    corpus = config.data()
    own = asked_for(options.tag, read_data(run, {"plugins": options.plugins}))
    if options.files or len(corpus.parts) == 1:
        language, context = (own.target, None) if options.files else (corpus.target, corpus.context)
        if context is None and own.context is not None:  # other data gets the run's context
            context = own.context
            sources = context.with_context(example.source for example in examples)
            examples = [replace(e, source=source) for e, source in zip(examples, sources, strict=True)]
        return {"": Part(examples, language, context, () if options.files else corpus.tags)}
    parts: dict[str, Part] = {}
    for name, part in corpus.parts.items():
        of_part = [example for example in examples if corpus.place_of(example.number)[0] == name]
        if of_part:
            parts[name] = Part(of_part, part.target, part.context, part.tags)
    return parts


def _measure(loaded: LoadedRun, part: Part, options: EvaluateOptions) -> tuple[dict[str, Any], str | None]:
    """What scores.json holds of the model alone, without translating; and why that is not all, if it is not."""
    from seq2seq.data.corpus import ListSource, tagged
    from seq2seq.export.choice import MAX_TOKENS
    from seq2seq.metrics.base import perplexity
    from seq2seq.training.evaluator import teacher_forced, text_size

    examples = part.examples
    encoded = loaded.encode(ListSource([replace(e, source=tagged(options.tag, e.source)) for e in examples]))
    if encoded.counts.empty:
        log.warning("%d examples with an empty side are not part of the loss", encoded.counts.empty)
    if encoded.counts.shortened:
        told = "examples shortened to %s, as in training: %s; translations are compared with whole targets"
        log.warning(told, loaded.config.reading.told, f"{encoded.counts.shortened:,}")
    forced = teacher_forced(
        loaded.model,
        encoded,
        max_tokens=options.max_tokens or MAX_TOKENS,
        device=loaded.device,
        autocast=loaded.precision,
    )
    results: dict[str, Any] = {
        "loss": forced.loss,
        "perplexity": perplexity(forced.loss),
        "token_accuracy": forced.token_accuracy,
        "sentences": len(examples),
    }
    size = text_size(encoded, examples, loaded.tokenizers.target.vocab.unk)
    why = "texts are shortened" if encoded.counts.shortened else "the text holds what the tokenizer does not know"
    return results | forced.per_text(size), why if size is None else None


def _translate(choice: Choice, parts: Iterable[Part]) -> dict[int, str]:
    """What the model writes for each example, without context, by numbers in their order."""
    from seq2seq.data.corpus import last_sentence
    from seq2seq.training.console import progress_bar

    for line in choice.told:
        log.info("%s", line)
    examples = [(example, part.context) for part in parts for example in part.examples]
    examples.sort(key=lambda item: item[0].number)
    with progress_bar("translating", len(examples)) as advance:
        found = choice.translator.translate([example.source for example, _ in examples], on_done=advance)
    return {
        example.number: last_sentence(context, translations[0].text)
        for (example, context), translations in zip(examples, found, strict=True)
    }


def _scores(part: Part, hypotheses: Mapping[int, str], metrics: Mapping[str, Metric]) -> dict[str, Score]:
    from seq2seq.metrics.base import Texts
    from seq2seq.metrics.scores import corpus_scores

    texts = Texts(
        [hypotheses[example.number] for example in part.examples],
        [example.target for example in part.examples],
        part.language,
        part.plain_sources,
    )
    return corpus_scores(metrics, texts, confidence=True)


if __name__ == "__main__":
    main()
