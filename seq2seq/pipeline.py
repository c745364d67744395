"""From a config to all that it names, put together: a trainer, and a stored run made ready for use."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from seq2seq.config import RunConfig, read_run
from seq2seq.data.batch import batch_as_text
from seq2seq.data.corpus import Corpus, Example, ListSource, Source, corpora
from seq2seq.data.encoded import EncodedCorpus
from seq2seq.data.loader import Loader
from seq2seq.data.pools import Pools
from seq2seq.errors import ConfigError, Problem
from seq2seq.models.base import Model
from seq2seq.preparation import encode
from seq2seq.registry import Factory
from seq2seq.search.base import Search
from seq2seq.search.beam import Beam
from seq2seq.search.translator import Translator
from seq2seq.text.pair import TokenizerPair, load_pair
from seq2seq.text.vocab import Vocab
from seq2seq.training.checkpoint import (
    Checkpoint,
    CheckpointStore,
    load_weights,
)
from seq2seq.training.compiled import CompiledLayers, compile_layers
from seq2seq.training.evaluator import ValidationPart, Validator, text_size
from seq2seq.training.generators import seed_generators
from seq2seq.training.options import TrainerOptions
from seq2seq.training.parallel import ALONE, Parallel
from seq2seq.training.precision import Precision, autocast, resolve_device, resolve_precision
from seq2seq.training.recompute import recompute_layers
from seq2seq.training.run_dir import RunDir
from seq2seq.training.strategies import Strategy, make_strategy
from seq2seq.training.trainer import Trainer

log = logging.getLogger(__name__)

Made = TypeVar("Made")


def check(config: RunConfig) -> None:
    """Builds everything once, small and without data, so that a combination that cannot work is told before any work.

    Raises ConfigError with every refusal.
    """
    options = config.trainer
    problems: list[Problem] = []

    def tried(build: Callable[[], Made]) -> Made | None:
        try:
            return build()
        except ConfigError as error:
            problems.extend(error.problems)
            return None

    corpus = tried(config.data)
    has_source = corpus is None or corpus.source is not None
    toy = Vocab((*Vocab.special, "a", "b"))
    tokenizer = tried(config.tokenizer)
    one_vocab = tokenizer is None or tokenizer.shared or not has_source
    problems += _other_tokenizer(config)
    with torch.device("meta"):
        model = tried(lambda: config.model(toy, toy if one_vocab else Vocab((*Vocab.special, "c"))))
    if not has_source:
        problems += _without_a_source(config, model)
    if corpus is not None:
        problems += config.reading.problems(has_source)
        if model is not None:
            problems += _too_long(model, options.max_length, config.reading.limits(options.max_length))
        problems += _without_end(config, corpus)
    if options.strategy == "fsdp" and getattr(config.optimizer.component, "needs_whole_weights", False):
        told = f"fsdp cuts weights in parts, but optimizer={config.optimizer.name} needs whole ones: set ddp"
        problems.append(Problem("trainer.strategy", told))
    for build in _others(config, model):
        tried(build)
    if problems:
        raise ConfigError(*dict.fromkeys(problems))


def _others(config: RunConfig, model: Model | None) -> list[Callable[[], object]]:
    """What makes all but the data, the tokenizer and the model."""
    options = config.trainer
    builders: list[Callable[[], object]] = [
        config.sieve,
        config.measures,
        config.chosen_loggers,
        lambda: config.watched,
        config.loss,
        config.search,
        partial(config.optimizer, [("weight", torch.nn.Parameter(torch.zeros(2, 3)))]),
        partial(config.schedule, options.max_steps or (None if config.streaming else 1_000_000_000)),
        lambda: resolve_precision(options.precision, resolve_device(options.device)),
    ]
    if options.recompute and model is not None:
        builders.append(partial(recompute_layers, model))
    if options.compile == "always" and model is not None:
        builders.append(partial(CompiledLayers, model))
    return builders


def _other_tokenizer(config: RunConfig) -> Iterator[Problem]:
    """A part that comes with a tokenizer, beside another one."""
    for part in (config.model, *(option for option in config.model.options.values() if isinstance(option, Factory))):
        needed = getattr(part.component, "own_tokenizer", None)
        if needed is not None and config.tokenizer.name != needed:
            told = f"{part.path}={part.name} knows the tokens of its own tokenizer alone: leave tokenizer out"
            yield Problem("tokenizer", told)


def _without_end(config: RunConfig, corpus: Corpus) -> Iterator[Problem]:
    """Data that cannot be read while training."""
    if config.streaming:
        try:
            corpus.shares(None)
        except ValueError as error:
            yield Problem(corpora.group, str(error))


def _too_long(model: Model, max_length: int, limits: tuple[int | None, int | None]) -> Iterator[Problem]:
    """Lengths that a part has no places for. limits: of source and target, where they are shortened."""
    source, target = (limit or max_length for limit in limits)
    parts: list[Any] = [part for part in model.modules() if hasattr(part, "too_long")]
    for part in parts:
        if wrong := part.too_long(source, target):
            what = f"texts of {max_length}" if source == target == max_length else f"{source} and {target}"
            key = "trainer.max_length" if what.startswith("texts") else "data.max_source_tokens"
            yield Problem(key, f"{what} tokens {wrong}: set a smaller one")


def _without_a_source(config: RunConfig, model: Model | None) -> Iterator[Problem]:
    """What does not fit text alone."""
    name = config.model.name
    if config.model.component.needs_source:
        told = f"is null: model={name} needs a source; model=decoder_only learns from text alone"
        yield Problem("data.source", told)
    if model is not None and model.learns_source:
        yield Problem("model.loss_on", "text without a source has nothing but the target: set target")


def make_trainer(
    config: RunConfig,
    checkpoints: Path,
    tokenizers: TokenizerPair,
    data: EncodedCorpus | Pools,
    validation: Source | None,
    parallel: Parallel = ALONE,
    *,
    begins: bool = True,
) -> Trainer:
    """At its first step, and without reporters. begins: there is no checkpoint of it yet."""
    options = config.trainer
    device = resolve_device(options.device)
    precision = partial(autocast, device, resolve_precision(options.precision, device))
    loader = Loader(
        data,
        max_tokens=options.token_budget,
        seed=options.seed,
        rank=parallel.rank,
        world_size=parallel.world_size,
    )
    seed_generators(options.seed)
    model = config.model(*tokenizers.vocabs)
    if model.keeps_outside_weights or begins:
        model.load_outside_weights()
    total_steps = total_steps_of(options, loader)
    compiled = compile_layers(options.compile, model, device, total_steps)
    if options.recompute:
        recompute_layers(model)
    strategy = make_strategy(options.strategy, model, parallel, device)
    if not parallel.first:
        seed_generators(options.seed, parallel.rank)
    return Trainer(
        model=model,
        loss=config.loss(),
        optimizer=config.optimizer(model.named_parameters()),
        schedule=config.schedule(total_steps),
        loader=loader,
        validator=_validator(config, validation, model, tokenizers, device, precision, strategy),
        checkpoints=store_of(checkpoints, config),
        reporters=[],
        options=options,
        device=device,
        autocast=precision,
        describe=partial(batch_as_text, tokenizers, config.data().place_of),
        strategy=strategy,
        compiled=compiled,
    )


def total_steps_of(options: TrainerOptions, loader: Loader) -> int | None:
    """The first of the limits that are known beforehand."""
    limits = [options.max_steps]
    if options.max_epochs is not None and loader.batches_per_epoch is not None:
        limits.append(math.ceil(options.max_epochs * loader.batches_per_epoch / options.accumulate))
    return min((limit for limit in limits if limit is not None), default=None)


def store_of(folder: Path, config: RunConfig) -> CheckpointStore:
    """config: that of training, whose metrics tell the best checkpoint."""
    options, watched = config.trainer, config.watched
    return CheckpointStore(
        folder,
        metric=watched.name,
        lower_is_better=watched.lower_is_better,
        keep_last=options.keep_last,
        keep_best=options.keep_best,
    )


def _validator(
    config: RunConfig,
    source: Source | None,
    model: Model,
    tokenizers: TokenizerPair,
    device: torch.device,
    precision: Callable[[], Any],
    strategy: Strategy,
) -> Validator | None:
    if source is None:
        return None
    options, corpus, reading = config.trainer, config.data(), config.reading
    by_part: dict[str, list[Example]] = {}
    for example in islice(source.read(), options.validation_examples):
        by_part.setdefault(corpus.place_of(example.number)[0], []).append(example)
    parts = {}
    for name, examples in sorted(by_part.items(), key=lambda item: [*corpus.parts].index(item[0])):
        title = f"encoding the validation data{f' {name}' if name else ''}"
        encoded = encode(ListSource(examples), tokenizers, title, reading)
        if encoded.counts.shortened:
            what = title.removeprefix("encoding ")
            log.info("%s: %s shortened to %s", what, f"{encoded.counts.shortened:,}", reading.told)
        size = None
        if tokenizers.source is None:
            size = text_size(encoded, examples, tokenizers.target.vocab.unk)
            examples = [replace(e, source=_prompt(e.target)) for e in examples[: options.samples]]
        part = corpus.parts[name]
        parts[name] = ValidationPart(encoded, examples, part.target, part.context, size)
    longest = reading.max_target_tokens if tokenizers.source is not None else None  # that of text counts the prompt
    search = Beam(beam_size=options.validation_beam_size, max_length=longest)
    return Validator(
        model=model,
        parts=parts,
        translator=_translator(config, model, tokenizers, search, options.token_budget, device, precision),
        max_tokens=options.token_budget,
        device=device,
        autocast=precision,
        metrics={key: metric for key, metric in config.measures().items() if metric.while_training},
        strategy=strategy,
    )


def _prompt(text: str) -> str:
    """The first three words of a line; of a shorter one, or of a script without spaces, the first third."""
    words = text.split()
    return " ".join(words[:3]) if len(words) > 3 else text[: len(text) // 3]


def _translator(
    config: RunConfig,
    model: Model,
    tokenizers: TokenizerPair,
    search: Search,
    max_tokens: int,
    device: torch.device,
    precision: Callable[[], Any],
    tag: str | None = None,
) -> Translator:
    return Translator(
        model,
        tokenizers.source,
        tokenizers.target,
        search,
        max_tokens=max_tokens,
        max_length=config.trainer.max_length,
        device=device,
        precision_context=precision,
        tag=tag,
        reading=config.reading,
    )


@dataclass(frozen=True)
class LoadedRun:
    """A stored run, its model filled with the chosen weights, ready to translate and to be measured."""

    config: RunConfig
    run: RunDir
    model: Model
    tokenizers: TokenizerPair
    checkpoints: list[Checkpoint]
    device: torch.device
    precision: Callable[[], Any]

    def translator(self, max_tokens: int, tag: str | None = None) -> Translator:
        search = self.config.search()
        return _translator(
            self.config, self.model, self.tokenizers, search, max_tokens, self.device, self.precision, tag
        )

    def encode(self, source: Source) -> EncodedCorpus:
        return encode(source, self.tokenizers, "encoding", self.config.reading)


def choose_checkpoints(run: RunDir, config: RunConfig, checkpoint: str, changes: Mapping[str, Any]) -> list[Checkpoint]:
    """Those whose weights are used; none of a pretrained model as it is. Raises CheckpointError where there is none."""
    if run.untrained.exists():
        return []
    options = config.trainer
    trained = read_run(run, {"plugins": config.plugins}) if "metrics" in changes else config
    store = store_of(run.checkpoints, trained)
    return store.choose(checkpoint, average=options.average, average_of=options.average_of)


def load_run(
    path: Path,
    checkpoint: str,
    changes: Mapping[str, Any],
    *,
    device: str,
    precision: Precision,
    chosen: list[Checkpoint] | None = None,
) -> LoadedRun:
    """Everything that is needed lies in the run directory. chosen: the checkpoints, if they are chosen already.

    Raises CheckpointError, ConfigError for wrong changes.
    """
    run = RunDir(path)
    config = read_run(run, changes)
    used_device = resolve_device(device)
    used_precision = resolve_precision(precision, used_device)
    tokenizers = load_pair(config.tokenizer.component, run.tokenizer, config.has_source)
    model = config.model(*tokenizers.vocabs)
    _check_moved(changes.get("model") or {}, model)
    if model.keeps_outside_weights:
        model.load_outside_weights()
    if chosen is None:
        chosen = choose_checkpoints(run, config, checkpoint, changes)
    if chosen:
        load_weights(model, *chosen)
    else:
        model.load_outside_weights()
    model.to(used_device).eval()
    return LoadedRun(
        config, run, model, tokenizers, chosen, used_device, partial(autocast, used_device, used_precision)
    )


def _check_moved(changes: Mapping[str, Any], model: Model) -> None:
    """Raises ConfigError where more of the model is changed than the place of what a run does not hold."""
    problems = [Problem(f"model.{key}", "stays as in the run's training") for key in changes if key != "path"]
    if changes and not problems and not model.keeps_outside_weights:
        problems = [Problem("model.path", "has no effect: the run holds all of its weights")]
    if problems:
        raise ConfigError(*problems)
