"""Time to a BLEU from a cold start: this project beside eole, a model of the same size, as a Markdown table.

    python scripts/benchmark_quality.py --train data/train --validation data/val --test data/test_2016_flickr
    python scripts/benchmark_quality.py ... --goal 36 --steps 900 --threads 1 model.encoder.dropout=0.1

Ours is experiment=multi30k, cut to --steps updates: the whole command is timed, with its tokenizer, preparation and
validation. eole trains the same sizes on batches that our loader made of the same pieces, by the recipe of Wu et al.
2021 (arXiv:2105.14462): Adam, the rate rising to --peer-lr in --peer-warmup updates and falling with the square root,
dropout --peer-dropout, the mean of the last snapshots. Only its start and its updates are timed: its test BLEU is found
every --score-every updates while the clock stands still, until the goal is reached, or --patience times our time is
over. Both translate with their own beam search; BLEU is sacrebleu's on plain text. With --threads 1 the time is the CPU
time of the processes, which others at work on the machine change least.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from environments import pythons_of
from processes import processor, run
from work import store_batches

from seq2seq import __version__

OURS = ("model.encoder.dropout=0", "model.decoder.dropout=0")  # so short a training does not overfit
SIZES = {"num_layers": 4, "d_model": 128, "d_ff": 256, "num_heads": 4}  # of model=transformer_tiny
LABEL_SMOOTHING = 0.1
SEARCH_TOKENS = 2048
MAX_LENGTH = 256


def main() -> None:
    options = parse()
    check(options)
    pythons, failed = pythons_of(["eole"], options.environments)
    if failed:
        sys.exit(f"eole: {failed['eole']}")
    seconds, bleu = ours(options)
    print(f"ours: {bleu:.1f} BLEU after {seconds:,.0f} s", file=sys.stderr, flush=True)
    work = prepare(options, limit=options.patience * seconds)
    try:
        found = run("quality_eole", pythons["eole"], work, options.output, limit=None)
    except RuntimeError as error:  # ours is kept
        print(table(options, seconds, bleu, None))
        sys.exit(f"eole: {error}")
    print(table(options, seconds, bleu, found))
    print(caption(options))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--train", required=True, metavar="PREFIX", help="files PREFIX.<source> and PREFIX.<target>")
    parser.add_argument("--validation", required=True, metavar="PREFIX")
    parser.add_argument("--test", required=True, metavar="PREFIX")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--goal", type=float, default=34, help="BLEU on the test files")
    parser.add_argument("--steps", type=int, default=450, help="updates of ours, a tenth of them warm-up")
    parser.add_argument("--peer-steps", type=int, default=5000, help="updates, at most")
    parser.add_argument("--peer-lr", type=float, default=5e-3)
    parser.add_argument("--peer-warmup", type=int, default=2000)
    parser.add_argument("--peer-dropout", type=float, default=0.3)
    parser.add_argument("--patience", type=float, default=6, help="times our time, after which the peer is given up")
    parser.add_argument("--score-every", type=int, default=250, help="updates of the peer")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_quality"), help="a new folder")
    parser.add_argument("--environments", type=Path, default=Path(".benchmark"), help="a folder for them")
    parser.add_argument("overrides", nargs="*", help=f"KEY=VALUE of ours instead of {' '.join(OURS)}")
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> None:
    """Raises SystemExit before anything is installed or trained."""
    prefixes, languages = (options.train, options.validation, options.test), (options.source, options.target)
    missing = [
        name for prefix in prefixes for language in languages if not Path(name := f"{prefix}.{language}").is_file()
    ]
    if missing:
        sys.exit(f"no such file: {', '.join(missing)}")
    if options.output.exists():
        told = "exists: --output names a new folder, since a run that is there would only be continued"
        sys.exit(f"{options.output} {told}")


def ours(options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the whole training, and the BLEU."""
    home = options.output / "ours"
    command = [
        "experiment=multi30k",
        *(f"data.{split}={getattr(options, split)}" for split in ("train", "validation", "test")),
        f"data.source={options.source}",
        f"data.target={options.target}",
        "trainer.device=cpu",
        f"trainer.num_threads={options.threads}",
        f"trainer.max_steps={options.steps}",
        f"trainer.validate_every={options.steps}",
        f"schedule.warmup={options.steps // 10}",
        *(options.overrides or OURS),
    ]
    start = now(options.threads)
    call("train", home, *command)
    seconds = now(options.threads) - start
    call("evaluate", home, "split=test", "device=cpu", "backend=torch", f"search.beam_size={options.beam}")
    scores = json.loads((home / "evaluation" / "test" / "scores.json").read_text(encoding="utf-8"))
    return seconds, float(scores["bleu"]["score"])


def now(threads: int) -> float:
    """Seconds: the CPU time of the commands that have ended where one thread works, else the time on the wall."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime if threads == 1 else time.perf_counter()


def call(name: str, home: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"seq2seq.cli.{name}", f"run={home}", *arguments], stdout=subprocess.DEVNULL
    )
    if done.returncode:
        sys.exit(f"seq2seq-{name} ended with status {done.returncode}")


def prepare(options: argparse.Namespace, limit: float) -> dict[str, Any]:
    """All of peers.quality_eole.QualityWork but the start and the output; writes the files that it reads."""
    from seq2seq.data.encoded import encode_source
    from seq2seq.data.text_files import TextFiles
    from seq2seq.text.pair import load_pair
    from seq2seq.text.sentencepiece import SentencePieceTokenizer

    folder = options.output
    tokenizers = load_pair(SentencePieceTokenizer, folder / "ours" / "tokenizer")
    text = TextFiles(train=options.train, source=options.source, target=options.target).split("train")
    assert tokenizers.source is not None
    assert text is not None
    corpus = encode_source(text, tokenizers.source, tokenizers.target, max_length=MAX_LENGTH)
    store_batches(corpus, folder, max_tokens=4096, seed=1, number=options.peer_steps)
    sources, references = (
        Path(f"{options.test}.{language}").read_text(encoding="utf-8").splitlines()
        for language in (options.source, options.target)
    )
    store_sources(tokenizers.source.encode_batch(sources), folder)
    (folder / "references.txt").write_text("".join(f"{line}\n" for line in references), encoding="utf-8")
    pieces = list(tokenizers.target.vocab.tokens)
    (folder / "pieces.json").write_text(json.dumps(pieces), encoding="utf-8")
    return {
        "folder": str(folder),
        "sizes": {**SIZES, "vocabulary": len(pieces)},
        "dropout": options.peer_dropout,
        "label_smoothing": LABEL_SMOOTHING,
        "lr": options.peer_lr,
        "warmup": options.peer_warmup,
        "score_every": options.score_every,
        "averaged": 5,
        "goal": options.goal,
        "limit": limit,
        "beam_size": options.beam,
        "clip_norm": 0.0,
        "max_tokens": 4096,
        "seed": 1,
        "threads": options.threads,
        "untimed": 0,
        "timed": options.peer_steps,
        "profiled": 0,
        "precision": "fp32",
        "compile": False,
        "device": "cpu",
        "overrides": [],
    }


def store_sources(rows: Sequence[Sequence[int]], folder: Path) -> None:
    """sources.jsonl: a line for each batch of sources of like length: [rows of ids, numbers of their lines]."""
    batches: list[list[int]] = [[]]
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number])):
        if batches[-1] and (len(batches[-1]) + 1) * (len(rows[number]) + 1) > SEARCH_TOKENS:
            batches.append([])
        batches[-1].append(number)
    with (folder / "sources.jsonl").open("w", encoding="utf-8") as file:
        for batch in batches:
            file.write(json.dumps([[list(rows[number]) for number in batch], batch]) + "\n")


def best_score(score: Mapping[str, float]) -> float:
    return max(score["bleu"], score.get("bleu_of_mean", 0.0))


def table(options: argparse.Namespace, seconds: float, bleu: float, found: Mapping[str, Any] | None) -> str:
    """The row of the peer is of the first score that reached the goal, or of the last one; without what it found there
    is none.
    """
    rows = [("seq2seq", options.steps, seconds, bleu, f"seq2seq {__version__}")]
    if found is not None:
        scores = found["scores"]
        last = next((score for score in scores if best_score(score) >= options.goal), scores[-1])
        versions = ", ".join(f"{of} {version}" for of, version in found["versions"].items())
        rows.append(("eole", last["step"], last["seconds"], best_score(last), versions))
    minutes = "CPU minutes" if options.threads == 1 else "minutes"
    lines = [f"| | updates | {minutes} | test BLEU | goal reached | version |", "|---|--:|--:|--:|---|---|"]
    for name, steps, taken, score, version in rows:
        reached = "yes" if score >= options.goal else "no"
        lines.append(f"| {name} | {steps:,} | {taken / 60:.1f} | {score:.1f} | {reached} | {version} |")
    return "\n".join(lines)


def caption(options: argparse.Namespace) -> str:
    return (
        f"\n{time.strftime('%Y-%m-%d')}, {processor()}, threads: {options.threads}, fp32; goal {options.goal:g} BLEU; "
        f"ours: {' '.join(options.overrides or OURS)}; eole: rate {options.peer_lr:g}, {options.peer_warmup:,} updates "
        f"of warm-up, dropout {options.peer_dropout:g}."
    )


if __name__ == "__main__":
    main()
