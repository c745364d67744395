"""The journey of a training run: its data made ready, its trainer made, trained until it stops."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seq2seq.config import RunConfig, completed, read_run, stored_form
from seq2seq.data.corpus import Source, Split, open_splits
from seq2seq.errors import CheckpointError, ConfigError, DataError, Problem, UserError, listed
from seq2seq.pipeline import check, make_trainer, store_of, total_steps_of
from seq2seq.preparation import TrainingData, add_to_report, report_data, run_tokenizers, training_data
from seq2seq.text.pair import TokenizerPair
from seq2seq.training import forecast
from seq2seq.training.checkpoint import (
    Checkpoint,
    load_fitting,
    load_training,
    load_weights,
    open_checkpoint,
)
from seq2seq.training.console import IN_FILE_ONLY, ConsoleReporter, setup_logging
from seq2seq.training.fitting import Parts, find_max_tokens, longest_batch, stored_or_found_max_tokens
from seq2seq.training.loggers import LoggerReporter, Start
from seq2seq.training.parallel import ALONE, Parallel, contact
from seq2seq.training.precision import autocast, resolve_device, resolve_precision
from seq2seq.training.recompute import recompute_layers
from seq2seq.training.reporters import JsonLines, Option, TensorBoard
from seq2seq.training.run_dir import RunDir, flatten
from seq2seq.training.trainer import HOPELESS, Trainer

log = logging.getLogger(__name__)

HELD_OUT: tuple[Split, ...] = ("validation", "test")


Judge = Callable[[int, Mapping[str, float]], bool]


def train(
    config: RunConfig,
    path: Path,
    command: Sequence[str],
    parallel: Parallel = ALONE,
    only_check: bool = False,
    is_hopeless: Judge | None = None,
    wait: float = 0.0,
) -> None:
    """Starts or continues the run in `path`; of several ranks all call this, and the first one writes.

    only_check: prepares the data and tells what is in it, and does not train.  is_hopeless: as the trainer's.
    wait: seconds for another process that is at work in the run.
    """
    parallel.check_devices(config.trainer.devices, config.trainer.device)
    check(config)
    run = RunDir(path)
    if config.init_from is not None and not run.has_checkpoints:
        _initial_checkpoint(config)
    corpus = config.data()
    splits = open_splits(corpus)
    if splits["train"] is None:
        raise ConfigError(Problem(corpus.key("train"), "is missing; it has to be given"))
    if config.trainer.num_threads is not None:
        torch.set_num_threads(config.trainer.num_threads)
    sources = dict.fromkeys(corpus.parts, splits["train"])
    if len(sources) > 1:
        sources = {name: opened for name in corpus.parts if (opened := corpus.split_of(name, "train")) is not None}
    with run.locked(wait) if parallel.first else nullcontext():
        if parallel.first:
            free = [corpus.key("test")] if corpus.test_is_apart else []
            if config.model.options.get("adapter", "none") != "none":  # whose model is known by its weights
                free.append("model.path")
            run.open_for_training(stored_form(config), free, completed)
            setup_logging(run.log)
            run.record_start(command)
        try:
            with contact():
                _prepare_and_train(config, run, splits, sources, parallel, only_check, is_hopeless)
        except Exception as error:  # the command tells it on the screen
            log.error("%s", error, exc_info=not isinstance(error, UserError), extra=IN_FILE_ONLY)
            raise
        if only_check:
            log.info("nothing was trained; without check=true the same command trains")
            return
        log.info("the run is in %s; what to type next:", path)
        plugins = [f"plugins=[{','.join(config.plugins)}]"] if config.plugins else []
        if splits["test"] is not None:
            log.info("  %s", shlex.join(["seq2seq-evaluate", f"run={path}", "split=test", *plugins]))
        tags = [f"tag={corpus.tags[0]}"] if all(part.tags for part in corpus.parts.values()) else []
        log.info("  %s", shlex.join(["seq2seq-translate", f"run={path}", "input=FILE", "output=FILE", *tags, *plugins]))


def _prepare_and_train(
    config: RunConfig,
    run: RunDir,
    splits: Mapping[Split, Source | None],
    sources: Mapping[str, Source],
    parallel: Parallel,
    only_check: bool,
    is_hopeless: Judge | None,
) -> None:
    """sources: the training data of each part."""
    validation = splits["validation"]
    held_out = [part for name in HELD_OUT if (part := config.data().plain_split(name)) is not None]
    assert splits["train"] is not None
    tokenizers = run_tokenizers(config, run, splits["train"], parallel)
    data = training_data(config, run, sources, held_out, tokenizers, parallel.ranks_here)
    if parallel.first:
        report_data(run, data, sources, tokenizers, in_full=only_check)
    if only_check:
        _foretell(config, run, tokenizers, data, parallel)
        return
    if config.trainer.max_tokens == "auto":
        config = _with_max_tokens(config, run, tokenizers, data, parallel)
    trainer = make_trainer(
        config,
        run.checkpoints,
        tokenizers,
        data.pools,
        validation,
        parallel,
        begins=not parallel.share(run.has_checkpoints if parallel.first else None),
    )
    _check_same_data(trainer)
    _announce(config, data, trainer)
    if not _resume(trainer) and config.init_from is not None:
        _begin_with(_initial_checkpoint(config), trainer)
    if is_hopeless is not None:
        trainer.is_hopeless = is_hopeless
    if trainer.done:
        log.info("already done: %s is reached; a larger one continues this run", trainer.reached_limit)
    else:
        _train(config, run, data, trainer)
    end = _end(config, trainer)
    if parallel.first and run.read_end() != end:
        run.store_end(end)
    told = f"trained {end['step']:,} steps"
    if end["pruned"]:
        told = f"ended early, at step {end['step']:,}, since other runs are better"
    if end["metrics"]:
        found = "  ".join(f"{name} {value:.2f}" for name, value in end["metrics"].items() if "/" not in name)
        told += f"; the best validation, at step {end['best_step']:,}: {found}"
    log.info("%s", told)


def _train(config: RunConfig, run: RunDir, data: TrainingData, trainer: Trainer) -> None:
    with ExitStack() as stack:
        if trainer.parallel.first:
            run.ended.unlink(missing_ok=True)
            _report_to_files_and_screen(config, run, data, trainer, stack)
        _compile(trainer, data)
        trainer.train()
        _finish(config, trainer)


def _compile(trainer: Trainer, data: TrainingData) -> None:
    if trainer.compiled is not None:  # half of the budget: the longest on both sides would be the largest batch
        trainer.compile(longest_batch(data.longest, max_tokens=trainer.options.token_budget // 2))


def _foretell(
    config: RunConfig, run: RunDir, tokenizers: TokenizerPair, data: TrainingData, parallel: Parallel
) -> None:
    """What training would take, told and added to the report of the data."""
    log.info("trying a few updates, to tell the time and memory of training")
    try:
        if config.trainer.max_tokens == "auto":
            config = _with_max_tokens(config, run, tokenizers, data, parallel)
        trainer = make_trainer(config, run.checkpoints, tokenizers, data.pools, None, parallel)
        if config.init_from is not None:
            _begin_with(_initial_checkpoint(config), trainer)
        _compile(trainer, data)
        found = forecast.forecast(trainer, total_steps_of(config.trainer, trainer.loader))
    except (UserError, RuntimeError, MemoryError) as error:
        fault = {"failed": str(error)} if isinstance(error, UserError) else forecast.failed(error)
        if fault is None or not parallel.alone:  # other ranks wait for this one
            raise
        found = fault
    if parallel.first:
        add_to_report(run, "training", found)
        for line in forecast.told(found):
            log.info("%s", line)


def _with_max_tokens(
    config: RunConfig, run: RunDir, tokenizers: TokenizerPair, data: TrainingData, parallel: Parallel
) -> RunConfig:
    """A number in the place of trainer.max_tokens=auto."""
    options = config.trainer
    device = resolve_device(options.device)
    precision = partial(autocast, device, resolve_precision(options.precision, device))

    def make_parts() -> Parts:
        model = config.model(*tokenizers.vocabs)
        if options.recompute:
            recompute_layers(model)
        return model.to(device), config.loss(), config.optimizer(model.named_parameters())

    num_examples = sum(map(len, data.encoded.values())) or None
    find = partial(
        find_max_tokens, make_parts, data.longest, options, device, precision, parallel, num_examples=num_examples
    )
    found = stored_or_found_max_tokens(run, find, parallel)
    return replace(config, trainer=replace(options, max_tokens=found))


def _report_to_files_and_screen(
    config: RunConfig, run: RunDir, data: TrainingData, trainer: Trainer, stack: ExitStack
) -> None:
    console = ConsoleReporter(total_steps=total_steps_of(config.trainer, trainer.loader))
    step = trainer.progress.step
    board = TensorBoard(run.tensorboard, resume_step=step)
    for name, encoded in data.encoded.items() if not step else ():
        board.lengths(encoded, name)
    trainer.reporters = [console, JsonLines(run.metrics, resume_step=step), board]
    start = Start(run.path.resolve().name, run.loggers, _hyperparameters(config))
    for key, logger in config.chosen_loggers().items():
        trainer.reporters.append(LoggerReporter(key, logger, start, run.metrics))
    for reporter in trainer.reporters:
        stack.enter_context(closing(reporter))
    trainer.on_step = console.progress


def _check_same_data(trainer: Trainer) -> None:
    """Raises DataError where not all ranks have read the same."""
    states = trainer.parallel.gather(trainer.loader.state_dict())
    differing = [rank for rank, state in enumerate(states) if state != states[0]]
    if differing:
        raise DataError(f"rank {differing[0]} has read other training data than rank 0: is one's copy out of date?")


def _initial_checkpoint(config: RunConfig) -> Checkpoint:
    """The best, by its own metric, of the run that this one begins with. Raises CheckpointError where there is none."""
    other = RunDir(Path(str(config.init_from)).expanduser())
    other.read_config()
    try:
        trained = read_run(other, {"plugins": config.plugins})
    except UserError:  # of another version, or with plugins; the weights may fit all the same
        trained = config
    store = store_of(other.checkpoints, trained)
    return store.choose("best", average=1, average_of="best")[0]


def _begin_with(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Those weights of another run that fit."""
    stayed = load_fitting(trainer.model, checkpoint, strategy=trainer.strategy)
    log.info("weights: those of %s", checkpoint.folder)
    if stayed:
        log.warning("%d of this model's are new: %s", len(stayed), listed(stayed, 3, " and "))


def _resume(trainer: Trainer) -> bool:
    """From the newest checkpoint that is whole, if there is one. The first rank looks for it, since broken ones are put
    aside.
    """
    newest = trainer.checkpoints.newest(log.warning) if trainer.parallel.first else None
    folder = trainer.parallel.share(newest[0].folder if newest else None)
    if folder is not None:
        if newest is None:
            checkpoint = open_checkpoint(folder)
            newest = checkpoint, load_training(checkpoint)
        checkpoint, state = newest
        load_weights(trainer.model, checkpoint, strategy=trainer.strategy)
        try:
            trainer.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{checkpoint.folder}: its training state does not fit this version ({error})"
            ) from error
        log.info("continuing at step %s", f"{checkpoint.step:,}")
    return folder is not None


def _finish(config: RunConfig, trainer: Trainer) -> None:
    """The final scores, with the hyperparameters that led to them."""
    best = trainer.checkpoints.best(1)
    metrics = best[0].metrics if best else {}
    for reporter in trainer.reporters:
        reporter.finish(_hyperparameters(config), {f"best/{name}": value for name, value in metrics.items()})


def _hyperparameters(config: RunConfig) -> dict[str, Option]:
    """The config, flat, but for where its numbers go."""
    return {
        key: value if isinstance(value, str | int | float | bool) else str(value)
        for key, value in flatten(stored_form(config)).items()
        if not key.startswith("loggers.")
    }


def _end(config: RunConfig, trainer: Trainer) -> dict[str, Any]:
    """What the run came to."""
    best = trainer.checkpoints.best(1)
    return {
        "limit": trainer.reached_limit,
        "pruned": trainer.reached_limit == HOPELESS,
        "step": trainer.progress.step,
        "seconds": trainer.progress.seconds,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "metric": config.watched.name,
        "best_step": best[0].step if best else None,
        "metrics": dict(best[0].metrics) if best else {},
    }


def _announce(config: RunConfig, data: TrainingData, trainer: Trainer) -> None:
    options, parallel = config.trainer, trainer.parallel
    number = sum(parameter.numel() for parameter in trainer.model.parameters())
    used = resolve_precision(options.precision, trainer.device)
    if not data.encoded:
        told = f"; longer ones are shortened to {config.reading.told}" if config.reading.told else ""
        log.info("data: read and encoded while training%s", told)
    for name, encoded in data.encoded.items():
        left_out = {
            "an empty side": encoded.counts.empty,
            f"more than trainer.max_length={options.max_length} tokens": encoded.counts.long,
        }
        told = "; ".join(f"{count:,} with {why} left out" for why, count in left_out.items() if count)
        if encoded.counts.shortened:
            told += f"{'; ' if told else ''}{encoded.counts.shortened:,} shortened to {config.reading.told}"
        unit = "lines of text" if encoded.sources is None else "training pairs"
        log.info("%s: %s %s%s", name or "data", f"{len(encoded):,}", unit, f" ({told})" if told else "")
    shares = config.data().shares([len(encoded) for encoded in data.encoded.values()] or None)
    if shares is not None:
        named = zip(config.data().parts, shares, strict=True)
        log.info("of the examples in an epoch: %s", ", ".join(f"{share:.0%} {name}" for name, share in named))
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    size = f"{number:,} parameters" if trained == number else f"{number:,} parameters, {trained:,} of them trained"
    log.info("model: %s, %s, %s on %s", config.model.name, size, used, trainer.device)
    in_epoch = trainer.loader.batches_per_epoch
    told = "" if in_epoch is None else f"{in_epoch:,} in an epoch, "
    log.info("batches: %sof at most %s tokens", told, f"{options.token_budget:,}")
    if not parallel.alone:
        log.info("%d ranks (%s): an update takes a batch of each", parallel.world_size, options.strategy)
    elif options.strategy != "ddp":
        log.warning("trainer.strategy=%s has no effect on one process", options.strategy)
    if trainer.validator is None:
        told = "no validation data: no scores, no best checkpoint"
        log.warning("%s%s", told, ", and trainer.patience has no effect" if options.patience else "")
