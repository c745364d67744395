"""Preparing and loading a large corpus: speed and memory, as a Markdown table.

    python scripts/benchmark_data.py
    python scripts/benchmark_data.py --pairs 1000000,5000000 --text data/train --source en --target de --filters none

The corpus is a text's lines again and again, each with words of its own, so that no two are the same. Preparation
(reading, filters, encoding by all cores, writing) is set against sentencepiece's own threaded encode of the same text,
which has it in memory already. Reopening is what a second run does: map what was prepared, plan the first epoch, make
a batch.
The loader's rate is set against the tokens/s of training (--training, for example from train.log). Padding is the share
of a batch's places that hold none of its tokens. Memory is the sum over all processes of what each has for itself
alone (RssAnon), the most of all moments; files that are mapped do not count.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from presets import compose_run
from processes import processor

VOCABULARY = 8000
BATCHES = 2000
CHUNK = 100_000


def main() -> None:
    options = parse()
    print(
        "| pairs | encode alone | preparation | share | memory | reopening | loader | x training | padding | memory |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, languages = Path(name), (options.source, options.target)
        for pairs in map(int, options.pairs.split(",")):
            write_corpus(folder, pairs, options)
            if not (folder / "tokenizer").exists():
                apart(train_tokenizer, folder)
            alone, _ = apart(encode_alone, folder)
            prepared, memory = apart(prepare_corpus, folder / str(pairs), folder, options.filters, languages)
            reopened, _ = apart(prepare_corpus, folder / str(pairs), folder, options.filters, languages)
            loaded, loader_memory = apart(load, folder / str(pairs))
            cells = [
                f"{pairs:,}",
                f"{pairs / alone:,.0f}/s",
                f"{pairs / prepared:,.0f}/s",
                f"{alone / prepared:.0%}",
                f"{memory / 1e6:,.0f} MB",
                f"{reopened + loaded['first']:.1f} s",
                f"{loaded['rate']:,.0f} tokens/s",
                f"{loaded['rate'] / options.training:,.0f}",
                f"{loaded['padding']:.1%}",
                f"{loader_memory / 1e6:,.0f} MB",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)
    print(
        f"\n{time.strftime('%Y-%m-%d')}, {processor()}; {VOCABULARY:,} pieces, batches of {options.tokens:,} tokens; "
        f"filters: {options.filters}."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--pairs", default="1000000,5000000", help="sizes, separated by commas")
    parser.add_argument("--text", metavar="PREFIX", help="files PREFIX.<source>; otherwise the demo's text")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--filters", default="usual", help="a choice of data/filters")
    parser.add_argument("--tokens", type=int, default=4096, help="of a batch")
    parser.add_argument("--training", type=float, default=4000, help="target tokens/s that training consumes")
    parser.add_argument("--folder", type=Path, help="where some GB may be written")
    return parser.parse_args()


def write_corpus(folder: Path, pairs: int, options: argparse.Namespace) -> None:
    from seq2seq.data.demo import Demo
    from seq2seq.data.text_files import TextFiles

    if options.text is None:
        corpus: Any = Demo(source="en", target="de", validation=1, test=1)
    else:
        corpus = TextFiles(train=options.text, source=options.source, target=options.target)
    examples = list(corpus.split("train").read())
    words = [word for example in examples[:2000] for word in example.source.split()]
    generator = random.Random(1)
    paths = [folder / f"corpus.{side}" for side in ("en", "de")]
    with paths[0].open("w", encoding="utf-8") as source, paths[1].open("w", encoding="utf-8") as target:
        for example in islice(cycle(examples), pairs):
            more = " ".join(generator.sample(words, 2))
            source.write(f"{example.source} {more}\n")
            target.write(f"{example.target} {more}\n")


def apart(job: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """What the job returns in a process of its own, and the most memory that it and its children had."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(theirs, job, arguments))
    process.start()
    theirs.close()
    assert process.pid is not None
    peak = [0]
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, peak, done))
    watcher.start()
    try:
        return ours.recv(), peak[0]
    finally:
        done.set()
        watcher.join()
        process.join()


def answer(connection: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    connection.send(job(*arguments))


def watch(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.1):
        peak[0] = max(peak[0], sum(map(anonymous, family(pid))))


def family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))
    except OSError:  # it has ended
        return


def anonymous(pid: int) -> int:
    """Bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def corpus_source(folder: Path) -> Any:
    from seq2seq.data.text_files import TextFiles

    return TextFiles(train=str(folder / "corpus"), source="en", target="de").split("train")


def train_tokenizer(folder: Path) -> None:
    from seq2seq.text.sentencepiece import SentencePieceTokenizer

    tokenizer = SentencePieceTokenizer(vocab_size=VOCABULARY)
    tokenizer.train(
        text for example in islice(corpus_source(folder).read(), 50_000) for text in (example.source, example.target)
    )
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")


def encode_alone(folder: Path) -> float:
    """Seconds in the library."""
    from sentencepiece import SentencePieceProcessor

    from seq2seq.data.workers import available_cores

    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer" / "tokenizer.model"))
    seconds = 0.0
    for side in ("en", "de"):
        with (folder / f"corpus.{side}").open(encoding="utf-8") as lines:
            while chunk := [line.rstrip("\n") for line in islice(lines, CHUNK)]:
                start = time.perf_counter()
                processor.encode(chunk, num_threads=available_cores())
                seconds += time.perf_counter() - start
    return seconds


def prepare_corpus(prepared: Path, folder: Path, filters: str, languages: tuple[str, str]) -> float:
    """Seconds."""
    from seq2seq.data.encoded import Encoder
    from seq2seq.data.filters import Surroundings
    from seq2seq.data.prepared import prepare
    from seq2seq.text.sentencepiece import SentencePieceTokenizer

    sieve = compose_run(f"data/filters={filters}").sieve()
    for one in sieve.filters.values():
        one.learn(Surroundings(*languages, list))
    tokenizer = SentencePieceTokenizer.load(folder / "tokenizer")
    start = time.perf_counter()
    prepare(corpus_source(folder), Encoder(tokenizer, tokenizer, 1024, sieve), prepared)
    return time.perf_counter() - start


def load(prepared: Path, tokens: int = 4096) -> dict[str, float]:
    from seq2seq.data.loader import Loader
    from seq2seq.data.prepared import open_prepared

    start = time.perf_counter()
    loader = Loader(open_prepared(prepared), max_tokens=tokens, seed=1)
    loader.next_batch()
    first = time.perf_counter() - start
    real = places = labels = 0
    start = time.perf_counter()
    for _ in range(BATCHES):
        batch = loader.next_batch()
        labels += int(batch.target_mask.sum())
        for mask in (batch.source_mask, batch.target_mask):
            real, places = real + int(mask.sum()), places + mask.numel()
    seconds = time.perf_counter() - start
    return {"first": first, "rate": labels / seconds, "padding": 1 - real / places}


if __name__ == "__main__":
    main()
