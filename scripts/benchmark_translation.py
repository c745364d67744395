"""Speed of beam search in this project beside its peers, on the same batches of sources, as a Markdown table.

    python scripts/benchmark_translation.py
    python scripts/benchmark_translation.py --train data/train --source en --target de --threads 2 --json search.json
    python scripts/benchmark_translation.py --peers ours,transformers --modes fp32 --sentences 64

Each peer is installed into an environment of its own, as for scripts/benchmark_training.py, and searches with its own
beam search and a Transformer of the same sizes. The weights are random: all outputs of a batch are held to one length,
that of its longest real target, so each peer does the same number of steps and none gains by sentences that end early.
The batches are the same for all: sources of like length under a budget of tokens. They run in turn, in processes of
their own, in several rounds; the medians are printed. Loading is not in the speed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmark_training import Entry, ratio, versions_of
from environments import pythons_of
from processes import NotHereError, processor, run
from work import corpus_arguments, encode_corpus, usual_modes

if TYPE_CHECKING:
    from seq2seq.data.encoded import EncodedCorpus

PEERS = ("ours", "opennmt_py", "eole", "transformers", "ctranslate2")
MODES: dict[str, tuple[str, ...]] = {
    "ours": ("fp32", "auto", "int8"),
    "opennmt_py": ("fp32", "int8"),
    "eole": ("fp32", "bf16"),
    "transformers": ("fp32", "bf16"),
    "ctranslate2": ("fp32", "bf16", "int8"),
}


def main() -> None:
    options = parse()
    peers = options.peers.split(",")
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown:
        sys.exit(f"unknown peer {unknown[0]!r}; known are {', '.join(PEERS)}")
    modes = options.modes.split(",") if options.modes else [*usual_modes("cpu"), "int8"]
    entries = [Entry(f"{peer} {mode}", peer, mode) for peer in peers for mode in MODES[peer] if mode in modes]
    pythons, failed = pythons_of(peers, options.environments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = corpus_arguments(options.train, options.source, options.target, options.vocabulary)
        store_sources(encode_corpus(arguments), folder, number=options.sentences, max_tokens=options.tokens)
        rounds, more, left_out = measure_all(entries, pythons, folder, options)
    failed |= more
    results = {name: summary(found) for name, found in rounds.items()}
    if options.json is not None:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        found = {"results": results, "rounds": rounds, "failed": failed, "left_out": left_out}
        kept = {"settings": settings, "processor": processor(), **found}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if results:
        print(table(results))
        print(caption(options))
    for name, reason in {**left_out, **failed}.items():
        print(f"{name}: {reason}")
    sys.exit(bool(failed))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--modes", help="number formats; default: fp32,int8, and bf16,auto where there is bf16")
    parser.add_argument("--train", nargs="+", metavar="PREFIX", help="files PREFIX.<source>; otherwise the demo's text")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--sentences", type=int, default=1024, help="drawn evenly from the files")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces, shared by both sides")
    parser.add_argument("--layers", type=int, default=3, help="of the encoder, and as many of the decoder")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--feed-forward", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048, help="of a batch: sentences x longest side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which a run is given up")
    parser.add_argument("--environments", type=Path, default=Path(".benchmark"), help="a folder for them")
    parser.add_argument("--json", type=Path, help="a file for all numbers, those of each round too")
    return parser.parse_args(arguments)


def store_sources(corpus: EncodedCorpus, folder: Path, *, number: int, max_tokens: int) -> None:
    """sources.jsonl: a line for each batch: [rows of source ids without eos, length of the outputs with eos]."""
    import numpy as np

    from seq2seq.data.loader import ordered_batches

    chosen = part_of(corpus, np.linspace(0, len(corpus) - 1, min(number, len(corpus))).astype(int))
    with (folder / "sources.jsonl").open("w", encoding="utf-8") as file:
        for batch in ordered_batches(chosen, max_tokens):
            rows = [row[real][:-1].tolist() for row, real in zip(batch.source, batch.source_mask, strict=True)]
            file.write(json.dumps([rows, batch.labels.size(1)]) + "\n")


def part_of(corpus: EncodedCorpus, examples: Sequence[int]) -> EncodedCorpus:
    import numpy as np

    from seq2seq.data.encoded import EncodedCorpus, Rows, offsets_of

    def taken(rows: Rows) -> Rows:
        kept = [rows[i] for i in examples]
        return Rows((np.concatenate(kept), offsets_of(np.array([len(row) for row in kept]))))

    assert corpus.sources is not None
    return EncodedCorpus(taken(corpus.sources), taken(corpus.targets), corpus.numbers[examples])


def work_of(folder: Path, options: argparse.Namespace, entry: Entry) -> dict[str, Any]:
    """All of peers.searching.SearchWork but the start and the output."""
    sizes = {"num_layers": options.layers, "d_model": options.width, "d_ff": options.feed_forward}
    return {
        "folder": str(folder),
        "sizes": {**sizes, "num_heads": options.heads, "vocabulary": options.vocabulary},
        "threads": options.threads,
        "seed": 1,
        "precision": entry.mode,
        "overrides": [],
        "beam_size": options.beam,
        "dropout": 0.1,
        "label_smoothing": 0.1,
        "lr": 1e-3,
        "clip_norm": 1.0,
        "max_tokens": options.tokens,
        "untimed": 0,
        "timed": 1,
        "profiled": 0,
        "compile": False,
        "device": "cpu",
    }


def measure_all(
    entries: Sequence[Entry], pythons: Mapping[str, Path], folder: Path, options: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str], dict[str, str]]:
    """What was found in each round, why nothing was, and what cannot be done on this machine."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for turn in range(options.rounds):
        for entry in entries:
            if entry.name in failed or entry.name in left_out or entry.peer not in pythons:
                continue
            print(f"round {turn + 1} of {options.rounds}: {entry.name}", file=sys.stderr, flush=True)
            work = work_of(folder, options, entry)
            try:
                found = run(f"search_{entry.peer}", pythons[entry.peer], work, folder, options.limit)
                rounds.setdefault(entry.name, []).append(found)
            except NotHereError as error:
                left_out[entry.name] = str(error)
            except RuntimeError as error:
                failed[entry.name] = str(error)
                rounds.pop(entry.name, None)
    return rounds, failed, left_out


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The medians of the rounds."""
    return {
        "sentences_per_second": median(found["sentences"] / found["seconds"] for found in rounds),
        "tokens_per_second": median(found["tokens"] / found["seconds"] for found in rounds),
        **{name: median(found[name] for found in rounds) for name in ("memory", "startup")},
        **{name: rounds[0][name] for name in ("precision", "versions")},
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Ratios to the fastest that is not ours; for a row in fp32, to the fastest in fp32."""
    lines = [
        "| | precision | sentences/s | tokens/s | x best peer | memory | start | version |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for name, found in results.items():
        rivals = [
            other["sentences_per_second"]
            for of, other in results.items()
            if not of.startswith("ours ") and (found["precision"] != "fp32" or other["precision"] == "fp32")
        ]
        cells = [
            name,
            found["precision"],
            f"{found['sentences_per_second']:,.1f}",
            f"{found['tokens_per_second']:,.0f}",
            ratio(found["sentences_per_second"], rivals),
            f"{found['memory'] / 1e6:,.0f} MB",
            f"{found['startup']:.1f} s",
            versions_of(found),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def caption(options: argparse.Namespace) -> str:
    return (
        f"\n{time.strftime('%Y-%m-%d')}, {processor()}, {options.threads} threads; beam {options.beam}; "
        f"{options.layers}+{options.layers} layers, width {options.width}, feed-forward {options.feed_forward}, "
        f"{options.heads} heads, {options.vocabulary:,} pieces; {options.sentences:,} sentences of "
        f"{', '.join(options.train) if options.train else 'the demo'} in batches of at most {options.tokens:,} tokens; "
        f"medians of {options.rounds} rounds."
    )


if __name__ == "__main__":
    main()
