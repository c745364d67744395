"""Training speed of this project beside its peers, on the same batches, as a Markdown table.

    python scripts/benchmark_training.py
    python scripts/benchmark_training.py --train data/train --source en --target de --threads 2 --json training.json
    python scripts/benchmark_training.py --peers control,ours --modes fp32 --profile
    python scripts/benchmark_training.py --peers control,ours --variant "no compile" trainer.compile=never

Each peer is installed from the package index into an environment of its own (--environments, built once) and trains
with its own loop and its own model: a Transformer of the same sizes with tied embeddings, with dropout after the
embeddings, in the attention, in the feed-forward layers and after every sublayer, and label smoothing. All are fed the
very same batches of ids, in their order, that our own loader made under a budget of tokens; so no peer pays for its own
batching, which pads more. They run in turn, in processes of their own, in several rounds; the medians are printed.

tokens/s: target tokens, padding not counted, in the median update after the first ones. memory: the most that the
process held, on a GPU what torch allocated there. start: seconds from starting the process to the end of the first
update. of peak: the operations that the real tokens need (scripts/flops.py) as a share of what one large matrix product
reaches in the same number format with the same threads. best peer: the fastest row that is not ours; for a row in fp32,
the fastest in fp32.

A measurement counts only where the peer's own count of label tokens is right, its loss falls, and dropout is on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from environments import pythons_of
from processes import processor, run
from profiles import profile_table
from work import corpus_arguments, encode_corpus, store_batches, store_corpus, usual_modes

PEERS = ("control", "ours", "opennmt_py", "eole", "transformers", "joeynmt")
# What each can do on a CPU, beside fp32. Ours takes its default for bf16: what the machine is faster in.
MODES: dict[str, tuple[str, ...]] = {
    "control": ("fp32", "bf16", "fp32+compile", "bf16+compile"),
    "ours": ("fp32", "auto"),
    "opennmt_py": ("fp32",),
    "eole": ("fp32", "bf16", "fp32+compile", "bf16+compile"),
    "transformers": ("fp32", "bf16", "fp32+compile", "bf16+compile"),
    "joeynmt": ("fp32",),
}
ON_GPU = ("control", "ours", "transformers")
PROFILED = 4  # updates


@dataclass(frozen=True)
class Entry:
    """A row of the table. overrides: arguments of seq2seq-train, for ours."""

    name: str
    peer: str
    mode: str
    overrides: tuple[str, ...] = ()


def main() -> None:
    options = parse()
    peers = options.peers.split(",")
    if options.device != "cpu" and (not {*peers} <= {*ON_GPU} or options.profile):
        sys.exit(f"on {options.device} only --peers {','.join(ON_GPU)} are measured, without --profile")
    modes = options.modes.split(",") if options.modes else usual_modes(options.device)
    entries = choose(peers, modes, options.variant)
    pythons, failed = pythons_of([entry.peer for entry in entries], options.environments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options)
        rounds, peaks, more = measure_all(entries, pythons, folder, options)
    failed |= more
    results = {entry: summary(found, medians_of(peaks)) for entry, found in rounds.items()}
    if options.json is not None:
        options.json.write_text(json.dumps(kept(options, rounds, peaks, results, failed), indent=1) + "\n", "utf-8")
    if results:
        print(table(entries, results))
        print(caption(options, results, medians_of(peaks)))
    if options.profile:
        print(profile_table({name: found[-1]["events"] for name, found in rounds.items()}))
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    sys.exit(bool(failed))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--modes", help="number formats; +compile for torch.compile; default: fp32, and bf16,auto where there is bf16"
    )
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="ours with other options, as for seq2seq-train; may be repeated",
    )
    parser.add_argument("--train", nargs="+", metavar="PREFIX", help="files PREFIX.<source>; otherwise the demo's text")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces, shared by both sides")
    parser.add_argument("--layers", type=int, default=3, help="of the encoder, and as many of the decoder")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--feed-forward", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=5e-4, help="from the first update on")
    parser.add_argument("--tokens", type=int, default=4096, help="of a batch: sentences x longest side")
    parser.add_argument("--untimed", type=int, default=3, help="updates before the timed ones")
    parser.add_argument("--steps", type=int, default=10, help="timed updates")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help=f"or cuda, for {', '.join(ON_GPU)}")
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which a run is given up")
    parser.add_argument("--environments", type=Path, default=Path(".benchmark"), help="a folder for them")
    parser.add_argument("--profile", action="store_true", help="where the time of an update goes, too")
    parser.add_argument("--json", type=Path, help="a file for all numbers, those of each update too")
    return parser.parse_args(arguments)


def choose(peers: Sequence[str], modes: Sequence[str], variants: Sequence[Sequence[str]]) -> list[Entry]:
    """Raises SystemExit for a peer that is not known."""
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown:
        raise SystemExit(f"unknown peer {unknown[0]!r}; known are {', '.join(PEERS)}")
    entries = [Entry(f"{peer} {mode}", peer, mode) for peer in peers for mode in MODES[peer] if mode in modes]
    entries += [Entry(name, "ours", "auto", tuple(overrides)) for name, *overrides in variants]
    if not entries:
        raise SystemExit(f"no peer does {', '.join(modes)}")
    return entries


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Writes the corpus and the batches."""
    corpus = encode_corpus(corpus_arguments(options.train, options.source, options.target, options.vocabulary))
    store_corpus(corpus, folder)
    number = options.untimed + options.steps + PROFILED
    store_batches(corpus, folder, max_tokens=options.tokens, seed=1, number=number)


def work_of(folder: Path, options: argparse.Namespace, entry: Entry) -> dict[str, Any]:
    """All of peers.measuring.Work but the start and the output."""
    precision, _, compiled = entry.mode.partition("+")
    return {
        "folder": str(folder),
        "sizes": {
            "num_layers": options.layers,
            "d_model": options.width,
            "d_ff": options.feed_forward,
            "num_heads": options.heads,
            "vocabulary": options.vocabulary,
        },
        "dropout": options.dropout,
        "label_smoothing": options.label_smoothing,
        "lr": options.lr,
        "clip_norm": 1.0,
        "max_tokens": options.tokens,
        "seed": 1,
        "threads": options.threads,
        "untimed": options.untimed,
        "timed": options.steps,
        "profiled": PROFILED if options.profile else 0,
        "precision": precision,
        "compile": bool(compiled),
        "device": options.device,
        "overrides": list(entry.overrides),
    }


def measure_all(
    entries: Sequence[Entry], pythons: Mapping[str, Path], folder: Path, options: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, float]], dict[str, str]]:
    """What was found in each round; the matrix peaks of each round; why nothing was found."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    peaks = []
    for turn in range(options.rounds):
        peaks.append(
            run(
                "peak",
                Path(sys.executable),
                {"threads": options.threads, "device": options.device},
                folder,
                options.limit,
            )
        )
        for entry in entries:
            if entry.name in failed or entry.peer not in pythons:
                continue
            print(f"round {turn + 1} of {options.rounds}: {entry.name}", file=sys.stderr, flush=True)
            try:
                found = run(entry.peer, pythons[entry.peer], work_of(folder, options, entry), folder, options.limit)
                rounds.setdefault(entry.name, []).append(found)
            except RuntimeError as error:
                failed[entry.name] = str(error)
                rounds.pop(entry.name, None)
    return rounds, peaks, failed


def medians_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(found[name] for found in rounds) for name in rounds[0]}


def summary(rounds: Sequence[Mapping[str, Any]], peaks: Mapping[str, float]) -> dict[str, Any]:
    """The medians of the rounds, each of them the median of its updates."""

    def rates(found: Mapping[str, Any], what: str) -> float:
        return median(amount / seconds for amount, seconds in zip(found[what], found["seconds"], strict=True))

    first = rounds[0]
    return {
        "tokens_per_second": median(rates(found, "tokens") for found in rounds),
        "mean_tokens_per_second": median(sum(found["tokens"]) / sum(found["seconds"]) for found in rounds),
        "of_peak": median(rates(found, "flops") for found in rounds) / peaks[first["precision"]],
        "loss": median(sum(found["losses"][-5:]) / len(found["losses"][-5:]) for found in rounds),
        **{name: median(found[name] for found in rounds) for name in ("padding", "memory", "startup")},
        **{name: first[name] for name in ("parameters", "precision", "versions")},
    }


def table(entries: Sequence[Entry], results: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| | precision | tokens/s | x control | x best peer | of peak | padding | memory | start | version |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    peers = {entry.name: entry.peer for entry in entries}
    others = {name: found for name, found in results.items() if peers[name] != "ours"}
    control = results.get("control fp32")
    for name, found in results.items():
        rivals = [
            other["tokens_per_second"]
            for other in others.values()
            if found["precision"] != "fp32" or other["precision"] == "fp32"
        ]
        cells = [
            name,
            found["precision"],
            f"{found['tokens_per_second']:,.0f}",
            ratio(found["tokens_per_second"], [control["tokens_per_second"]] if control else []),
            ratio(found["tokens_per_second"], rivals),
            f"{found['of_peak']:.0%}",
            f"{found['padding']:.1%}",
            f"{found['memory'] / 1e6:,.0f} MB",
            f"{found['startup']:.1f} s",
            versions_of(found),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(value: float, others: Sequence[float]) -> str:
    return f"{value / max(others):.2f}" if others else ""


def versions_of(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{of} {version}" for of, version in found["versions"].items() if of != "python")


def caption(options: argparse.Namespace, results: Mapping[str, Mapping[str, Any]], peaks: Mapping[str, float]) -> str:
    parameters = next(iter(results.values()))["parameters"]
    rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in peaks.items())
    return (
        f"\n{time.strftime('%Y-%m-%d')}, {processor()}, {options.threads} threads, {options.device}; "
        f"matrix peak in GFLOP/s: {rates}; "
        f"{options.layers}+{options.layers} layers, width {options.width}, feed-forward {options.feed_forward}, "
        f"{options.heads} heads, {options.vocabulary:,} pieces, {parameters / 1e6:.1f} M parameters; dropout "
        f"{options.dropout:g}, label smoothing {options.label_smoothing:g}; batches of at most {options.tokens:,} "
        f"tokens of {', '.join(options.train) if options.train else 'the demo'}; medians of {options.rounds} rounds of "
        f"{options.steps} updates after {options.untimed}."
    )


def kept(
    options: argparse.Namespace,
    rounds: Mapping[str, Any],
    peaks: Sequence[Mapping[str, float]],
    results: Mapping[str, Any],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """What the JSON file holds."""
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processor": processor(),
        "settings": settings,
        "results": results,
        "peaks": peaks,
        "rounds": rounds,
        "failed": failed,
    }


if __name__ == "__main__":
    main()
