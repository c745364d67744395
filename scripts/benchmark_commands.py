"""The whole of `seq2seq-translate backend=ctranslate2` beside a bare CTranslate2 script, on the same model and lines.

    python scripts/benchmark_commands.py --run runs/mine --input corpus/test.en
    python scripts/benchmark_commands.py --run runs/mine --input corpus/test.en --precisions int8 --lines 5000

The run is exported once by `seq2seq-export`. Then both translate the same lines, those of the input again and again
until they are as many as asked for, in turn, in several rounds. What is timed is the whole process, from its start to
its end. The script is tried with several settings, of which the fastest counts: batches of --tokens, and the threads
as workers or within one. Printed are the medians, the ratio, and how many lines of the two outputs are the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from environments import pythons_of
from processes import processor, run
from work import usual_modes

COMPUTE_TYPES = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
OURS = "seq2seq-translate"


def main() -> None:
    options = parse()
    pythons, failed = pythons_of(["ctranslate2"], options.environments)
    if failed:
        sys.exit(f"ctranslate2: {failed['ctranslate2']}")
    usual = [mode for mode in (*usual_modes("cpu"), "int8") if mode in COMPUTE_TYPES]
    precisions = options.precisions.split(",") if options.precisions else usual
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_lines = repeat(options.input, folder / "lines", options.lines)
        for precision in precisions:
            seconds = measure(precision, pythons["ctranslate2"], folder, options)
            same = same_lines(folder / "ours.txt", folder / "bare.txt")
            rows.append(row(precision, num_lines, seconds, same))
    print(table(rows))
    print(
        f"\n{time.strftime('%Y-%m-%d')}, {processor()}, {options.threads} threads; beam {options.beam}; "
        f"{num_lines:,} lines; medians of {options.rounds} rounds."
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--run", type=Path, required=True, help="a run whose tokenizer is sentencepiece")
    parser.add_argument("--input", type=Path, required=True, help="a file of lines")
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--precisions", help=f"of {', '.join(COMPUTE_TYPES)}; default: all, bf16 where the CPU has it")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--tokens", default="1024,2048,4096", help="of the script's batches: all are tried")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which a run is given up")
    parser.add_argument("--environments", type=Path, default=Path(".benchmark"), help="a folder for them")
    return parser.parse_args(arguments)


def repeat(file: Path, copy: Path, number: int) -> int:
    """Writes the lines of the file, and again from the first, until they are so many."""
    lines = file.read_text(encoding="utf-8").splitlines()
    copy.write_text("".join(f"{line}\n" for line in islice(cycle(lines), number)), encoding="utf-8")
    return number


def measure(precision: str, python: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """The median seconds of our command and of each setting of the script."""
    model = folder / precision
    quantization = COMPUTE_TYPES[precision]
    timed_command("export", options, "to=ctranslate2", f"output={model}", f"quantization={quantization}")
    threads = (
        {"inter_threads": options.threads, "intra_threads": 1},
        {"inter_threads": 1, "intra_threads": options.threads},
    )
    settings = {
        f"{tokens} tokens, {split['inter_threads']} x {split['intra_threads']}": {**split, "max_tokens": int(tokens)}
        for tokens in options.tokens.split(",")
        for split in threads
    }
    found: dict[str, list[float]] = {name: [] for name in (OURS, *settings)}
    for turn in range(options.rounds):
        for name in found:
            print(f"{precision}, round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            if name == OURS:
                seconds = timed_command(
                    "translate",
                    options,
                    "backend=ctranslate2",
                    f"precision={precision}",
                    f"input={folder / 'lines'}",
                    f"output={folder / 'ours.txt'}",
                    f"threads={options.threads}",
                    f"search.beam_size={options.beam}",
                )
            else:
                work = {**bare_work(model, folder, options), **settings[name], "compute_type": quantization}
                start = time.perf_counter()
                run("bare_ctranslate2", python, work, folder, options.limit)
                seconds = time.perf_counter() - start
            found[name].append(seconds)
    return {name: median(of_name) for name, of_name in found.items()}


def timed_command(name: str, options: argparse.Namespace, *arguments: str) -> float:
    """Runs a command of the project on the run; seconds. Raises SystemExit with its last line where it fails."""
    command = [sys.executable, "-m", f"seq2seq.cli.{name}", f"run={options.run}", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return time.perf_counter() - start


def bare_work(model: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All that the script has to know but its settings."""
    return {
        "model": str(model),
        **{f"{side}_pieces": str(pieces(model / "tokenizer", side)) for side in ("source", "target")},
        "lines": str(folder / "lines"),
        "translations": str(folder / "bare.txt"),
        "beam_size": options.beam,
        "threads": options.threads,
    }


def pieces(folder: Path, side: str) -> Path:
    """The sentencepiece model of a side. Raises SystemExit where the tokenizer is another one."""
    part = folder / "shared" if (folder / "shared").is_dir() else folder / side
    file = part / "tokenizer.model"
    if not file.exists():
        raise SystemExit("the tokenizer of the run is not sentencepiece, which alone the script knows")
    return file


def same_lines(first: Path, second: Path) -> float:
    """The share of lines that are the same. Raises SystemExit where they are not as many."""
    ours, theirs = (file.read_text(encoding="utf-8").split("\n")[:-1] for file in (first, second))
    if len(ours) != len(theirs):
        raise SystemExit(f"{len(ours):,} lines by {OURS}, {len(theirs):,} by the script")
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


def row(precision: str, num_lines: int, seconds: Mapping[str, float], same: float) -> str:
    """ratio: our speed to that of the fastest script."""
    scripts = {name: of_name for name, of_name in seconds.items() if name != OURS}
    best = min(scripts, key=scripts.__getitem__)
    cells = [
        precision,
        f"{num_lines / seconds[OURS]:,.0f}",
        f"{num_lines / scripts[best]:,.0f}",
        best,
        f"{scripts[best] / seconds[OURS]:.2f}",
        f"{same:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def table(rows: Sequence[str]) -> str:
    head = f"| precision | {OURS}: lines/s | script: lines/s | its settings | ratio | same lines |"
    return "\n".join([head, "|---|--:|--:|---|--:|--:|", *rows])


if __name__ == "__main__":
    main()
