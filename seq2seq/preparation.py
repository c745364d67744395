"""The data of a run made ready: its tokenizers, the encoded training data, and the report of what is in it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq.binding import to_plain
from seq2seq.config import RunConfig
from seq2seq.data.corpus import Source
from seq2seq.data.encoded import EncodedCorpus, Encoder, encode_source
from seq2seq.data.filters import Sieve, Surroundings
from seq2seq.data.prepared import content_of, key_of, locked, prepare
from seq2seq.data.report import data_report, told
from seq2seq.errors import CheckpointError, UserError
from seq2seq.text.pair import TokenizerPair, load_pair, train_pair
from seq2seq.training.checkpoint import write_replaced
from seq2seq.training.console import progress_bar
from seq2seq.training.parallel import Parallel
from seq2seq.training.run_dir import RunDir

log = logging.getLogger(__name__)


def run_tokenizers(config: RunConfig, run: RunDir, source: Source, parallel: Parallel) -> TokenizerPair:
    """Those of the run, trained on the training data by the first rank where there are none yet."""
    made = None
    if parallel.first and not run.tokenizer.is_dir():
        made = _known_or_trained_tokenizers(config, source)
        made.save(run.tokenizer)
        sizes = dict.fromkeys(len(vocab) for vocab in made.vocabs)
        log.info("tokenizer: %s tokens", " and ".join(f"{size:,}" for size in sizes))
    parallel.wait()
    return made or load_pair(config.tokenizer.component, run.tokenizer, config.has_source)


def _known_or_trained_tokenizers(config: RunConfig, source: Source) -> TokenizerPair:
    """Those that another run has trained on the same data with the same options."""
    identity = source.identity()
    if identity is None:
        return _train_tokenizers(config, source)
    made_by = [identity, to_plain(config.tokenizer), config.has_source, config.data().symbols]
    folder = _cache(config) / "tokenizers" / key_of(*made_by)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if folder.is_dir():
                try:
                    return load_pair(config.tokenizer.component, folder, config.has_source)
                except CheckpointError as error:
                    log.warning("%s; the tokenizer is trained again", error)
                    shutil.rmtree(folder)
            trained = _train_tokenizers(config, source)
            trained.save(folder)
            return trained
    except OSError as error:
        raise _unwritable_cache(folder, error) from error


def _unwritable_cache(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder.parent}: {error.strerror}; cache=FOLDER chooses another place")


def _train_tokenizers(config: RunConfig, source: Source) -> TokenizerPair:
    log.info("training the tokenizer (%s)", config.tokenizer.name)

    def sources() -> Iterator[str]:
        return (example.source for example in source.read())

    def targets() -> Iterator[str]:
        return (example.target for example in source.read())

    return train_pair(config.tokenizer, sources if config.has_source else None, targets, config.data().symbols)


def report_data(run: RunDir, encoded: EncodedCorpus, source: Source, tokenizers: TokenizerPair, in_full: bool) -> None:
    """data_report.json, made once; on the screen all of it or how much there is to look at."""
    if in_full or not run.data_report.exists():
        report = data_report(encoded, source, tokenizers)
        _write_report(run, report)
        if in_full:
            for line in told(report):
                log.info("%s", line)
    faults = [f"{found.count:,} {name}" for name, found in encoded.findings.items() if found.count]
    if faults:
        log.info("found in the training data: %s; see %s", ", ".join(faults), run.data_report)


def add_to_report(run: RunDir, name: str, found: Mapping[str, Any]) -> None:
    """A part of data_report.json, which is there."""
    report = json.loads(run.data_report.read_text(encoding="utf-8")) | {name: found}
    _write_report(run, report)


def _write_report(run: RunDir, report: Mapping[str, Any]) -> None:
    write_replaced(run.data_report, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def training_data(
    config: RunConfig, run: RunDir, source: Source, held_out: Sequence[Source], tokenizers: TokenizerPair
) -> EncodedCorpus:
    """Prepared in the cache, where other runs find it too; in memory where nobody can tell whether the data changes."""
    title, max_length = "encoding the training data", config.trainer.max_length
    sieve = config.sieve()
    corpus = config.data()
    surroundings = Surroundings(corpus.source, corpus.target, lambda: (e for part in held_out for e in part.read()))
    for one in sieve.filters.values():
        one.learn(surroundings)
    identities = [part.identity() for part in (source, *held_out)]
    if None in identities:
        return encode(source, tokenizers, title, max_length, sieve)
    languages = [corpus.source, corpus.target]
    made_by = [identities, languages, to_plain(config.filters), content_of(run.tokenizer), max_length]
    folder = _cache(config) / "prepared" / key_of(*made_by)
    encoder = Encoder(tokenizers.source, tokenizers.target, max_length, sieve)
    try:
        with progress_bar(title, None) as advance:
            return prepare(source, encoder, folder, progress=advance)
    except OSError as error:
        raise _unwritable_cache(folder, error) from error


def _cache(config: RunConfig) -> Path:
    if config.cache is not None:
        return Path(config.cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seq2seq"


def encode(
    source: Source, tokenizers: TokenizerPair, title: str, max_length: int | None, sieve: Sieve | None = None
) -> EncodedCorpus:
    with progress_bar(title, None) as advance:
        return encode_source(
            source, tokenizers.source, tokenizers.target, max_length=max_length, progress=advance, sieve=sieve
        )
