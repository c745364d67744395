"""Training batches of every source: a loader that goes on from anywhere gives what one gives that never stopped."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seq2seq.data import pools, streams, workers
from seq2seq.data.batch import Batch
from seq2seq.data.corpus import Corpus, corpora
from seq2seq.data.encoded import Encoder
from seq2seq.data.filters import Duplicates, Sieve
from seq2seq.data.loader import Loader
from seq2seq.data.mixture import Mixture
from seq2seq.data.pools import Part, PreparedPools
from seq2seq.data.prepared import prepare
from seq2seq.data.reading import Reading
from seq2seq.data.streams import Stream, StreamedPools
from seq2seq.data.variation import make_variation
from seq2seq.plugins import load_components
from seq2seq.registry import Factory
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import WordTokenizer

load_components()

NUMBER = 90
WORDS = [f"w{i}" for i in range(11)]


def pair(number: int) -> tuple[str, str]:
    """Of different lengths; some sides are empty, some come again."""
    generator = np.random.default_rng(number % 80)
    sides = (" ".join(generator.choice(WORDS, size=generator.integers(0, 9))) for _ in range(2))
    return tuple(sides)  # type: ignore[return-value]


PAIRS = [pair(number) for number in range(NUMBER)]
BOTH = {"source": "en", "target": "de"}
Options = Mapping[str, Any]
AS_IT_IS = Reading()


def text_files(folder: Path) -> Options:
    for side, language in enumerate(("en", "de")):
        text = "".join(f"{both[side]}\n" for both in PAIRS)
        (folder / f"a.{language}").write_text(text)
    return {"train": str(folder / "a"), **BOTH}


def tsv(folder: Path) -> Options:
    (folder / "a.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS))
    return {"train": str(folder / "a.tsv"), **BOTH, "source_field": 1, "target_field": 2}


def csv(folder: Path) -> Options:
    (folder / "a.csv").write_text("en,de\n" + "".join(f"{source},{target}\n" for source, target in PAIRS))
    return {"train": str(folder / "a.csv"), **BOTH}


def jsonl(folder: Path) -> Options:
    half = NUMBER // 2
    for name, some in (("a", PAIRS[:half]), ("b", PAIRS[half:])):
        lines = (json.dumps({"en": source, "de": target}) + "\n" for source, target in some)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    return {"train": str(folder / "*.jsonl.gz"), **BOTH}


def table() -> pa.Table:
    return pa.table({"translation": [{"en": source, "de": target} for source, target in PAIRS]})


def parquet(folder: Path) -> Options:
    pq.write_table(table(), folder / "a.parquet", row_group_size=20)
    return {"train": str(folder / "a.parquet"), **BOTH}


def huggingface(folder: Path) -> Options:
    pq.write_table(table(), folder / "train.parquet")
    return {"path": str(folder), "validation": None, "test": None, **BOTH}


def huggingface_streaming(folder: Path) -> Options:
    return {**huggingface(folder), "streaming": True}


def common_crawl(folder: Path) -> Options:
    records = []
    for _, text in PAIRS:
        content = f"{text}\n".encode()
        head = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        records.append(head.encode() + content + b"\r\n\r\n")
    (folder / "a.warc.wet").write_bytes(b"".join(records))
    return {"train": str(folder / "a.warc.wet"), "target": "de", "unit": "line"}


def denoising(folder: Path) -> Options:
    noise = corpora_of_noise("word_noise")
    return {"text": Factory(corpora.components["text_files"], "text_files", text_files(folder)), "noise": noise}


def corpora_of_noise(name: str) -> Factory[Any]:
    from seq2seq.data.noise import noises

    return Factory(noises.components[name], name, {})


def documents(folder: Path) -> Options:
    return {"sentences": Factory(corpora.components["text_files"], "text_files", text_files(folder)), "before": 2}


def dialogue(folder: Path) -> Options:
    lines = "".join(json.dumps({"de": [word for side in both for word in side.split()]}) + "\n" for both in PAIRS)
    (folder / "a.jsonl").write_text(lines)
    turns = {"train": str(folder / "a.jsonl"), "source": None, "target": "de"}
    return {"turns": Factory(corpora.components["jsonl"], "jsonl", turns), "before": 2, "speakers": "w1 w2"}


def mixture(folder: Path, **options: Any) -> Options:
    (folder / "jsonl").mkdir()
    parts = {
        "first": Factory(corpora.components["text_files"], "text_files", text_files(folder)),
        "second": Factory(corpora.components["jsonl"], "jsonl", jsonl(folder / "jsonl")),
        "noisy": Factory(corpora.components["denoising"], "denoising", denoising(folder)),
    }
    return {"parts": parts, "tags": {"second": "<b>", "noisy": "<c>"}, **options}


def weighted_mixture(folder: Path) -> Options:
    return mixture(folder, weights={"first": 5.0, "second": 1.0, "noisy": 2.0})


MADE: dict[str, tuple[str, Callable[[Path], Options]]] = {
    **{make.__name__: (make.__name__, make) for make in (text_files, tsv, csv, jsonl, parquet, huggingface)},
    **{make.__name__: (make.__name__, make) for make in (common_crawl, denoising, dialogue, documents, mixture)},
    "huggingface, streaming": ("huggingface", huggingface_streaming),
    "mixture, weighted": ("mixture", weighted_mixture),
    "demo": ("demo", lambda folder: {"train": NUMBER}),
}


def test_every_source_is_here() -> None:
    built_in = {name for name, component in corpora.components.items() if component.__module__.startswith("seq2seq.")}
    assert {name for name, _ in MADE.values()} == built_in


@pytest.fixture(params=MADE)
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    name, make = MADE[request.param]
    folder = tmp_path / "data"
    folder.mkdir()
    return corpora.components[name](**make(folder))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pools, blocks and processes for few examples."""
    monkeypatch.setattr(pools, "POOL", 50)
    monkeypatch.setattr(pools, "NEIGHBOURS", 4)
    monkeypatch.setattr(streams, "POOL", 40)
    monkeypatch.setattr(workers, "ALONE", 16)
    monkeypatch.setattr(workers, "BLOCK", 8)
    monkeypatch.setattr("seq2seq.data.encoded.CHUNK", 16)


def make_pools(corpus: Corpus, folder: Path, mode: str, reading: Reading = AS_IT_IS) -> pools.Pools:
    tokenizer = WordTokenizer()
    tokenizer.train(WORDS, ["<b>", "<c>", "<sep>", "<mask>"])
    tokenizers = TokenizerPair(tokenizer, tokenizer)
    encoders, sources, variations = [], [], []
    for name, part in corpus.parts.items():
        source = corpus.split_of(name, "train")
        assert source is not None
        sources.append(source)
        alone = part.source is None or part.noise is not None
        sieve = Sieve({"duplicates": Duplicates()})
        encoders.append(Encoder(None if alone else tokenizer, tokenizer, 30, sieve, reading))
        variations.append(make_variation(tokenizers, part.noise, reading))
    if mode.startswith("streaming"):
        made = [Stream(*each) for each in zip(sources, encoders, variations, strict=True)]
        return StreamedPools(made, corpus.shares(None), int(mode[-1]))
    number = int(mode[-1])
    prepared = [
        prepare(source, encode, folder / str(place), workers=number)
        for place, (source, encode) in enumerate(zip(sources, encoders, strict=True))
    ]
    parts = [Part(encoded, vary) for encoded, vary in zip(prepared, variations, strict=True)]
    return PreparedPools(parts, corpus.shares([len(encoded) for encoded in prepared]))


def contents(batch: Batch) -> tuple[Any, ...]:
    return batch.numbers, batch.source.tolist(), batch.labels.tolist()


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("mode", ["prepared 0", "prepared 2", "streaming 0"])
def test_going_on_is_as_never_stopped(corpus: Corpus, mode: str, world_size: int, tmp_path: Path) -> None:
    check_going_on(corpus, mode, world_size, tmp_path)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("corpus", ["text_files"], indirect=True)
def test_going_on_with_processes_that_stream(corpus: Corpus, world_size: int, tmp_path: Path) -> None:
    check_going_on(corpus, "streaming 2", world_size, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("corpus", sorted(MADE.keys() - {"text_files"}), indirect=True)
def test_going_on_with_processes_that_stream_from_any(corpus: Corpus, world_size: int, tmp_path: Path) -> None:
    check_going_on(corpus, "streaming 2", world_size, tmp_path)


@pytest.mark.parametrize("mode", ["prepared 2", "streaming 0"])
@pytest.mark.parametrize("corpus", ["text_files", "mixture"], indirect=True)
def test_going_on_with_what_is_shortened(corpus: Corpus, mode: str, tmp_path: Path) -> None:
    reading = Reading("w1 {source} w2", "left", 5, 3, corpus.tags)
    check_going_on(corpus, mode, 1, tmp_path, reading)
    loader = Loader(make_pools(corpus, tmp_path / "prepared", mode, reading), max_tokens=40, seed=3)
    tokenizer = WordTokenizer()
    tokenizer.train(WORDS, ["<b>", "<c>", "<sep>", "<mask>"])
    first, last = tokenizer.encode("w1 w2")
    while loader.epoch == 0:
        batch = loader.next_batch()
        for row, mask in zip(batch.source.tolist(), batch.source_mask.tolist(), strict=True):
            ids = [token for token, real in zip(row, mask, strict=True) if real][:-1]
            assert len(ids) <= 5
            assert (ids[0], ids[-1]) == (first, last)
        assert batch.labels.shape[1] <= 3 + 1


def check_going_on(corpus: Corpus, mode: str, world_size: int, tmp_path: Path, reading: Reading = AS_IT_IS) -> None:
    def loaders() -> list[Loader]:
        found = make_pools(corpus, tmp_path / "prepared", mode, reading)
        return [Loader(found, max_tokens=40, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)]

    whole = loaders()
    expected: list[list[Any]] = []
    states = []
    while whole[0].epoch < 2:
        states.append([json.dumps(loader.state_dict()) for loader in whole])
        assert len(set(states[-1])) == 1
        expected.append([contents(loader.next_batch()) for loader in whole])
    first = len([state for state in states if json.loads(state[0])["epoch"] == 0])
    assert first > 5
    places = (first // 2,) if mode == "streaming 2" else (0, 1, first // 2, first - 1, first, first + 3)
    for taken in places:
        resumed = loaders()
        for loader in resumed:
            loader.load_state_dict(json.loads(states[taken][0]))
        assert [json.dumps(loader.state_dict()) for loader in resumed] == states[taken]
        for turn in expected[taken : taken + 12]:
            assert [contents(loader.next_batch()) for loader in resumed] == turn


@pytest.mark.parametrize("mode", ["prepared 0", "streaming 0"])
def test_ranks_share_every_example(corpus: Corpus, mode: str, tmp_path: Path) -> None:
    """Together they have what one alone has in an epoch, and at most one batch more."""
    found = make_pools(corpus, tmp_path / "prepared", mode)

    def epoch_of(world_size: int) -> list[Any]:
        ranks = [Loader(found, max_tokens=40, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)]
        batches = []
        while ranks[0].epoch == 0:
            batches += [contents(loader.next_batch()) for loader in ranks]
        return batches

    alone, together = epoch_of(1), epoch_of(2)
    assert together[: len(alone)] == alone
    assert len(together) - len(alone) <= 1
    if not isinstance(corpus, Mixture) or not corpus.shares([1, 1, 1]):
        seen = Counter(number for numbers, _, _ in alone for number in numbers)
        assert set(seen.values()) == {1}


@pytest.mark.parametrize("mode", ["prepared 0", "streaming 0"])
def test_the_first_epoch_holds_every_usable_example(mode: str, tmp_path: Path) -> None:
    corpus = corpora.components["text_files"](**text_files(tmp_path))
    loader = Loader(make_pools(corpus, tmp_path / "prepared", mode), max_tokens=40, seed=3)
    found: list[int] = []
    while loader.epoch == 0:
        found += loader.next_batch().numbers
    usable = [number for number, (source, target) in enumerate(PAIRS) if source and target]
    if mode.startswith("prepared"):  # a stream looks for duplicates within a pool only
        usable = [number for number in usable if number < 80]
    assert sorted(found) == usable
