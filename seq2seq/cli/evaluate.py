"""seq2seq-evaluate: scores of a run's model on a split or on a pair of files."""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import EVALUATE
from seq2seq.errors import ConfigError, Problem, UserError
from seq2seq.registry import PositiveInt

if TYPE_CHECKING:
    from seq2seq.data.corpus import Example, Source
    from seq2seq.pipeline import LoadedRun
    from seq2seq.search.translator import Translator

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
METRICS = (("bleu", "BLEU"), ("chrf", "chrF2"), ("ter", "TER"))


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
    run_command("seq2seq-evaluate", "evaluate", evaluate, EVALUATE, check)


def check(tree: dict[str, Any]) -> EvaluateOptions:
    """Raises ConfigError for what is wrong with the options."""
    from seq2seq.binding import bind
    from seq2seq.metrics.scores import make_scorer

    options = bind(EvaluateOptions, tree)
    if options.tokenize is not None:
        make_scorer("bleu", options.tokenize)
    return options


def evaluate(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.cli.tags import check_tag
    from seq2seq.config import read_data
    from seq2seq.export.choice import choose, torch_precision, use_threads
    from seq2seq.pipeline import load_run
    from seq2seq.training.checkpoint import write_replaced
    from seq2seq.training.console import setup_logging

    options = check(tree)
    setup_logging(None)
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
    choice = None
    if loaded.tokenizers.source is not None:
        if options.tag is not None:
            check_tag(options.tag, read_data(loaded.run, {"plugins": options.plugins}))
        choice = choose(
            loaded, options.max_tokens, backend=options.backend, precision=options.precision, tag=options.tag
        )
    examples = list(_source(loaded, options).read())
    folder = _folder(loaded.run.evaluation, options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    results = _measure(loaded, examples, options)
    if choice is not None:
        if choice.told is not None:
            log.info("%s", choice.told)
        scores, hypotheses = _translate_and_score(loaded, choice.translator, examples, options)
        results |= scores | {"backend": choice.engine, "precision": options.precision}
        write_replaced(folder / "hypotheses.txt", "".join(f"{line}\n" for line in hypotheses))
    write_replaced(folder / "scores.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(_table(results))
    print(f"written to {folder}", file=sys.stderr)


def _folder(evaluation: Path, options: EvaluateOptions) -> Path:
    """A folder for each checkpoint, the best having the plain name, and for each pair of files: numbers tell those of
    one name apart.
    """
    name = options.name if options.checkpoint == "best" else f"{options.name}-{Path(options.checkpoint).name}"
    folders = (evaluation / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in folders if _measured_files(folder) in (None, options.files))


def _measured_files(folder: Path) -> Any:
    """Those whose scores are in the folder; None where there are no scores yet."""
    try:
        return json.loads((folder / "scores.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
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


def _measure(loaded: LoadedRun, examples: list[Example], options: EvaluateOptions) -> dict[str, Any]:
    """What scores.json holds of the model alone, without translating."""
    from seq2seq.data.corpus import ListSource, tagged
    from seq2seq.export.choice import MAX_TOKENS
    from seq2seq.training.evaluator import mean_loss

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
    results: dict[str, Any] = {
        "loss": loss,
        "perplexity": math.exp(loss),
        "sentences": len(examples),
        "name": options.name,
        "files": options.files,
        "tag": options.tag,
        "checkpoint": options.checkpoint,
        "steps": [checkpoint.step for checkpoint in loaded.checkpoints],
    }
    if encoded.sources is None:
        if any((flat == loaded.tokenizers.target.vocab.unk).any() for flat, _ in encoded.targets.parts):
            log.warning("no bits per byte: the text holds what the tokenizer does not know")
            return results
        num_tokens = int(encoded.target_lengths.sum()) + len(encoded)  # eos counts as a token, and as a byte
        num_bytes = sum(len(examples[number].target.encode()) + 1 for number in encoded.numbers)
        return results | {"bits_per_byte": loss * num_tokens / math.log(2) / num_bytes}
    return results


def _translate_and_score(
    loaded: LoadedRun, translator: Translator, examples: list[Example], options: EvaluateOptions
) -> tuple[dict[str, Any], list[str]]:
    from seq2seq.binding import to_plain
    from seq2seq.metrics.scores import corpus_scores
    from seq2seq.training.console import progress_bar

    start = time.monotonic()
    with progress_bar("translating", len(examples)) as advance:
        found = translator.translate([e.source for e in examples], on_done=advance)
    seconds = time.monotonic() - start
    hypotheses = [translations[0].text for translations in found]
    scores = corpus_scores(
        hypotheses,
        [example.target for example in examples],
        target_language=loaded.config.data().target,
        tokenize=options.tokenize,
    )
    results: dict[str, Any] = {name: asdict(score) for name, score in scores.items()}
    results |= {"sentences_per_second": len(examples) / seconds, "search": to_plain(loaded.config.search)}
    return results, hypotheses


def _table(results: dict[str, Any]) -> str:
    steps = ", ".join(f"{step:,}" for step in results["steps"])
    metrics = [(name, label) for name, label in METRICS if name in results]
    lines = [
        f"{results['name']}: {results['sentences']:,} sentences, checkpoint {results['checkpoint']} (step {steps})",
        "",
        f"metric          score{'    95% interval' if metrics else ''}",
    ]
    for name, label in metrics:
        score = results[name]
        lines.append(f"{label:<12}{score['score']:9.2f}    {score['low']:.2f} to {score['high']:.2f}")
    lines += [
        f"{'loss':<12}{results['loss']:9.3f}    nats per token",
        f"{'perplexity':<12}{results['perplexity']:9.2f}    per token",
    ]
    if "bits_per_byte" in results:
        lines.append(f"{'bits':<12}{results['bits_per_byte']:9.3f}    per byte of text, whatever the tokenizer")
    if "sentences_per_second" in results:
        lines.append(f"{'speed':<12}{results['sentences_per_second']:9.1f}    sentences/s with {results['backend']}")
    if metrics:
        lines += ["", *(f"{label}|{results[name]['signature']}" for name, label in metrics)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
