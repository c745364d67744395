"""The data of a run made ready: its tokenizers, the encoded training data, and the report of what is in it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from seq2seq.binding import options_of, to_plain
from seq2seq.config import RunConfig
from seq2seq.data.corpus import Corpus, Example, Source, corpora
from seq2seq.data.encoded import EncodedCorpus, Encoder, encode_source
from seq2seq.data.filters import Surroundings
from seq2seq.data.pools import Part, Pools, PreparedPools
from seq2seq.data.prepared import content_of, key_of, locked, prepare
from seq2seq.data.reading import Reading
from seq2seq.data.report import data_report, told
from seq2seq.data.streams import Stream, StreamedPools
from seq2seq.data.variation import make_variation
from seq2seq.data.workers import usual_workers
from seq2seq.errors import CheckpointError, ConfigError, DataError, Problem, UserError, listed
from seq2seq.text.pair import TokenizerPair, load_pair, train_pair
from seq2seq.training.checkpoint import write_replaced
from seq2seq.training.console import progress_bar
from seq2seq.training.parallel import Parallel
from seq2seq.training.run_dir import RunDir

log = logging.getLogger(__name__)

STREAM_SAMPLE = 500_000  # examples of a stream that the tokenizer is trained on at most


def run_tokenizers(config: RunConfig, run: RunDir, source: Source, parallel: Parallel) -> TokenizerPair:
    """Those of the run, trained on the training data by the first rank where there are none yet."""
    made = None
    if parallel.first and not run.tokenizer.is_dir():
        made = _known_or_trained_tokenizers(config, source) if config.init_from is None else _initial_tokenizers(config)
        made.save(run.tokenizer)
        sizes = dict.fromkeys(len(vocab) for vocab in made.vocabs)
        log.info("tokenizer: %s tokens", " and ".join(f"{size:,}" for size in sizes))
    parallel.wait()
    return made or load_pair(config.tokenizer.component, run.tokenizer, config.has_source)


def _initial_tokenizers(config: RunConfig) -> TokenizerPair:
    """Raises ConfigError where they are of another kind than the config says."""
    other = RunDir(Path(str(config.init_from)).expanduser())
    stored, given = other.read_config().get("tokenizer", {}), to_plain(config.tokenizer)
    if stored.get("name") != config.tokenizer.name:
        told = f"is {config.tokenizer.name}, but that of {other.path} is {stored.get('name')}"
        raise ConfigError(Problem("tokenizer", told))
    usual = {name: option.default for name, option in options_of(config.tokenizer.component).items()}
    tokenizers = load_pair(config.tokenizer.component, other.tokenizer, config.has_source)
    for tokenizer in filter(None, {tokenizers.source, tokenizers.target}):
        tokenizer.use_as(config.tokenizer())
    for name, value in given.items():
        if stored.get(name, value) != value != usual.get(name) and name not in tokenizers.target.of_use:
            told = "tokenizer.%s stays %s, as in %s; %s has no effect"
            log.warning(told, name, json.dumps(stored[name]), other.path, json.dumps(value))
    known = {token for vocab in tokenizers.vocabs for token in vocab.tokens}
    if new := [symbol for symbol in config.data().symbols if symbol not in known]:
        log.warning("not known to the tokenizer of %s, and so cut in parts: %s", other.path, listed(new, 3))
    return tokenizers


def _known_or_trained_tokenizers(config: RunConfig, source: Source) -> TokenizerPair:
    """Those that another run has trained on the same data with the same options."""
    if not config.tokenizer.component.learns:
        return _train_tokenizers(config, source)
    identity = source.identity()
    if identity is None:
        return _train_tokenizers(config, source)
    made_by = [identity, to_plain(config.tokenizer), config.has_source, config.data().symbols, config.streaming]
    made_by += [config.template] if config.template is not None else []
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
    told = "training the tokenizer (%s)" if config.tokenizer.component.learns else "reading the tokenizer (%s)"
    log.info(told, config.tokenizer.name)

    noisy = any(part.noise is not None for part in config.data().parts.values())

    def examples() -> Iterator[Example]:
        return islice(source.read(), STREAM_SAMPLE if config.streaming else None)

    def sources() -> Iterator[str]:  # noise makes sources of targets
        found = (example.source or example.target if noisy else example.source for example in examples())
        return map(config.reading.text, found)

    def targets() -> Iterator[str]:
        return (example.target for example in examples())

    return train_pair(config.tokenizer, sources if config.has_source else None, targets, config.data().symbols)


@dataclass(frozen=True)
class TrainingData:
    """encoded: each part by its name; empty where it is read as a stream.  plain: makes of a part's examples what its
    filters see.

    longest: tokens of the longest source and target, None for the source of text alone.
    """

    pools: Pools
    encoded: Mapping[str, EncodedCorpus]
    plain: Mapping[str, Callable[[Example], Example]]
    longest: tuple[int | None, int]


def add_to_report(run: RunDir, name: str, found: Mapping[str, Any]) -> None:
    """A part of data_report.json, which is there."""
    report = json.loads(run.data_report.read_text(encoding="utf-8")) | {name: found}
    _write_report(run, report)


def _write_report(run: RunDir, report: Mapping[str, Any]) -> None:
    write_replaced(run.data_report, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def training_data(
    config: RunConfig,
    run: RunDir,
    sources: Mapping[str, Source],
    held_out: Sequence[Source],
    tokenizers: TokenizerPair,
    ranks_here: int = 1,
) -> TrainingData:
    """sources: the training data of each part of the corpus, by its name.  ranks_here: that share this machine, each
    with processes of its own where data is streamed.
    """
    corpus, max_length = config.data(), config.trainer.max_length
    reading = config.reading
    of_source, of_target = reading.limits(max_length)
    assert of_target is not None
    encoders = {name: _encoder(config, corpus.parts[name], held_out, tokenizers) for name in sources}
    plain = {name: encoder.sieve.plain for name, encoder in encoders.items()}
    variations = [make_variation(tokenizers, corpus.parts[name].noise, reading) for name in sources]
    if config.streaming:
        shares = corpus.shares(None)
        streams = [
            Stream(source, encoders[name], vary, name)
            for (name, source), vary in zip(sources.items(), variations, strict=True)
        ]
        workers = -(-usual_workers() // ranks_here) if config.workers is None else config.workers
        longest = (of_source if config.has_source else None, of_target)
        return TrainingData(StreamedPools(streams, shares, workers), {}, plain, longest)
    encoded = {}
    for name, source in sources.items():
        try:
            encoded[name] = _prepared(config, run, name, source, held_out, encoders[name])
        except DataError as error:
            if name and not str(error).startswith(f"{corpora.group}."):
                raise DataError(f"{corpora.group}.parts.{name}: {error}") from error
            raise
    parts = [Part(part, vary) for part, vary in zip(encoded.values(), variations, strict=True)]
    pools = PreparedPools(parts, corpus.shares([len(part) for part in encoded.values()]))
    of_source, of_target = (max(side) for side in zip(*(part.longest() for part in encoded.values()), strict=True))
    if any(corpus.parts[name].noise is not None for name in sources):
        of_source = max(of_source, of_target)
    return TrainingData(pools, encoded, plain, (of_source if config.has_source else None, of_target))


def _encoder(config: RunConfig, part: Corpus, held_out: Sequence[Source], tokenizers: TokenizerPair) -> Encoder:
    alone = part.noise is not None or part.source is None

    mixed = config.data().is_mixed

    def seen() -> Iterator[Example]:
        for example in chain.from_iterable(source.read() for source in held_out):
            yield replace(example, source="") if alone else example
            if mixed:  # other parts may have it in the other direction
                yield replace(example, source="" if alone else example.target, target=example.source)

    sieve = config.sieve(part)
    surroundings = Surroundings(None if alone else part.source, part.target, seen)
    for one in sieve.filters.values():
        one.learn(surroundings)
    source_tokenizer = None if alone else tokenizers.source
    return Encoder(source_tokenizer, tokenizers.target, config.trainer.max_length, sieve, config.reading)


def _prepared(
    config: RunConfig, run: RunDir, name: str, source: Source, held_out: Sequence[Source], encoder: Encoder
) -> EncodedCorpus:
    """In the cache, where other runs find it too; in memory where nobody can tell whether the data changes."""
    title = f"encoding {name or 'the training data'}"
    corpus = config.data().parts[name]
    identities = [part.identity() for part in (source, *held_out)]
    if None in identities:
        with progress_bar(title, source.about_how_many()) as advance:
            return encode_source(
                source,
                encoder.source_tokenizer,
                encoder.target_tokenizer,
                max_length=encoder.max_length,
                progress=advance,
                sieve=encoder.sieve,
                reading=encoder.reading,
            )
    languages = [corpus.source, corpus.target]
    made_by = [identities, languages, to_plain(config.filters), content_of(run.tokenizer), encoder.max_length]
    reading = replace(encoder.reading, tags=())  # tags are in the texts
    made_by += [str(reading)] if reading != Reading() else []
    folder = _cache(config) / "prepared" / key_of(*made_by)
    try:
        with progress_bar(title, source.about_how_many()) as advance:
            return prepare(source, encoder, folder, workers=config.workers, progress=advance)
    except OSError as error:
        raise _unwritable_cache(folder, error) from error


def report_data(
    run: RunDir, data: TrainingData, sources: Mapping[str, Source], tokenizers: TokenizerPair, in_full: bool
) -> None:
    """data_report.json, made once; on the screen all of it or how much there is to look at. Of streams it is about what
    is read first.
    """
    if not in_full and not data.encoded and run.data_report.exists():
        return
    encoded = data.encoded or _first_read(data.pools, sources)
    if not encoded:
        raise DataError("the training data holds no examples that can be used")
    if in_full or not run.data_report.exists():
        reports = {
            name: data_report(part, sources[name], tokenizers, data.plain[name]) for name, part in encoded.items()
        }
        whole = {"parts": reports} if len(reports) > 1 else next(iter(reports.values()))
        _write_report(run, whole)
        for name, report in reports.items() if in_full else ():
            if name:
                log.info("%s", name)
            for line in told(report):
                log.info("%s", line)
    for name, part in encoded.items():
        faults = [f"{found.count:,} {fault}" for fault, found in part.findings.items() if found.count]
        if faults and not in_full:
            log.info("found in %s, see data_report.json:\n  %s", name or "the training data", "\n  ".join(faults))


def _first_read(pools: Pools, sources: Mapping[str, Source]) -> dict[str, EncodedCorpus]:
    with closing(pools.read(0, 0)) as found:
        pool = next(found, None)
    return {} if pool is None else {name: part.corpus for name, part in zip(sources, pool.parts, strict=True)}


def _cache(config: RunConfig) -> Path:
    if config.cache is not None:
        return Path(config.cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seq2seq"


def encode(source: Source, tokenizers: TokenizerPair, title: str, reading: Reading) -> EncodedCorpus:
    """All of it, whatever its lengths."""
    with progress_bar(title, source.about_how_many()) as advance:
        return encode_source(
            source, tokenizers.source, tokenizers.target, max_length=None, progress=advance, reading=reading
        )
