"""Trains small presets for the same CPU time each on one parallel corpus, and prints a Markdown table of them.

    python scripts/multi30k_table.py --minutes 15 --train data/train --validation data/val --test data/test_2016_flickr

Everything but the model, its optimizer, learning rate and dropout, the steps with their warm-up, and the validations is
that of experiment=multi30k. A schedule has to know the number of steps beforehand, so some real steps of each preset
are timed first, by the CPU time of this process, which others at work on the machine change least; validations come on
top. The plan is stored beside the runs: the same command again goes on where it was stopped, and trains nothing twice.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from presets import compose_run

if TYPE_CHECKING:
    from seq2seq.data.encoded import EncodedCorpus
    from seq2seq.text.pair import TokenizerPair

PRESETS = "transformer_tiny,lstm_tiny,gru_tiny,rnn_tiny,conv_tiny,decoder_only_tiny"
VALIDATIONS = 8
WARMUP = 0.1  # of all steps
TIMED_STEPS = 15
UNTIMED_STEPS = 3

# The best that is known for presets whose names begin so; the longest beginning counts.
SETTINGS: dict[str, list[str]] = {
    "transformer": ["model.encoder.dropout=0.1", "model.decoder.dropout=0.1"],
    "lstm": ["optimizer=adamw", "optimizer.lr=4e-3", "model.encoder.dropout=0.3", "model.decoder.dropout=0.3"],
    "gru": ["optimizer=adamw", "optimizer.lr=4e-3", "model.encoder.dropout=0.3", "model.decoder.dropout=0.3"],
    "rnn": ["optimizer=adamw", "optimizer.lr=2e-3", "model.encoder.dropout=0.3", "model.decoder.dropout=0.3"],
    "conv": ["optimizer=adamw", "optimizer.lr=4e-3"],
    # without the experiment's dropout of an encoder, which is not there
    "decoder_only": ["model.decoder.dropout=0.1", "~model.encoder"],
    "transformer_lstm": [
        "optimizer=adamw",
        "optimizer.lr=2e-3",
        "model.encoder.dropout=0.1",
        "model.decoder.dropout=0.1",
    ],
}


@dataclass(frozen=True)
class Plan:
    """What was found before training. The tokens are those of the target, padding not counted."""

    parameters: int
    seconds_per_step: float
    tokens_per_second: float
    max_steps: int


def main() -> None:
    options = parse()
    presets = options.presets.split(",")
    options.output.mkdir(parents=True, exist_ok=True)
    plans = make_plans(presets, options)
    rows, failed = [], []
    for preset in presets:
        run = options.output / preset
        scores = run / "evaluation" / "test" / "scores.json"
        if not scores.exists():
            commands = (
                ["seq2seq.cli.train", *training_arguments(preset, options, plans[preset].max_steps), f"run={run}"],
                ["seq2seq.cli.evaluate", f"run={run}", "split=test", "checkpoint=best", "device=cpu", "backend=torch"],
            )
            if not all(call(command) for command in commands):
                failed.append(preset)
                continue
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        print(f"{preset}: {told(plans[preset], times(metrics))}", file=sys.stderr)
        rows.append(row(preset, plans[preset], json.loads(scores.read_text(encoding="utf-8"))))
    print(table(rows, options.minutes))
    if failed:
        sys.exit(f"failed, see train.log in their runs: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--presets", default=PRESETS, help="names, separated by commas")
    parser.add_argument("--minutes", type=float, default=15, help="CPU time of each preset's updates")
    parser.add_argument("--train", required=True, metavar="PREFIX", help="files PREFIX.en and PREFIX.de")
    parser.add_argument("--validation", required=True, metavar="PREFIX")
    parser.add_argument("--test", required=True, metavar="PREFIX")
    parser.add_argument("--output", type=Path, default=Path("runs/multi30k_table"), help="a folder for the runs")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, as for seq2seq-train, for all presets")
    return parser.parse_args()


def settings(preset: str) -> list[str]:
    """The longest name in SETTINGS that the preset's begins with. Raises SystemExit where there is none."""
    matching = [name for name in SETTINGS if preset.startswith(name)]
    if not matching:
        raise SystemExit(f"{preset}: no learning rate is known; add one to SETTINGS in {Path(__file__).name}")
    return SETTINGS[max(matching, key=len)]


def training_arguments(preset: str, options: argparse.Namespace, max_steps: int) -> list[str]:
    return [
        "experiment=multi30k",
        f"model={preset}",
        *(f"data.{split}={getattr(options, split)}" for split in ("train", "validation", "test")),
        "trainer.device=cpu",
        "trainer.num_threads=1",
        "trainer.validation_examples=200",
        f"trainer.max_steps={max_steps}",
        f"trainer.validate_every={-(-max_steps // VALIDATIONS)}",
        f"schedule.warmup={round(WARMUP * max_steps)}",
        *settings(preset),
        *options.overrides,
    ]


def make_plans(presets: Sequence[str], options: argparse.Namespace) -> dict[str, Plan]:
    """Those in plan.json, and where there is none for a preset, a new one, stored at once.

    Raises SystemExit where the stored ones are for other options.
    """
    path = options.output / "plan.json"
    asked = {
        "minutes": options.minutes,
        **{split: str(Path(getattr(options, split)).resolve()) for split in ("train", "validation", "test")},
        "overrides": options.overrides,
    }
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"options": asked, "presets": {}}
    differing = [name for name, value in asked.items() if stored["options"][name] != value]
    if differing:
        raise SystemExit(f"{path} is for other options: {', '.join(differing)}; name another folder with --output")
    missing = [preset for preset in presets if preset not in stored["presets"]]
    corpus = prepare(missing[0], options) if missing else None
    for preset in missing:
        assert corpus is not None
        plan = make_plan(preset, options, *corpus)
        stored["presets"][preset] = asdict(plan)
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        print(f"{preset}: {plan.max_steps:,} steps, {plan.seconds_per_step:.3f} s of CPU time each", file=sys.stderr)
    return {preset: Plan(**stored["presets"][preset]) for preset in presets}


def prepare(preset: str, options: argparse.Namespace) -> tuple[TokenizerPair, EncodedCorpus]:
    """The tokenizer, which is the same for all presets, and the training data."""
    from seq2seq.data.encoded import encode_source
    from seq2seq.text.pair import train_pair

    config = compose_run(*training_arguments(preset, options, 1))
    source = config.data().split("train")
    assert source is not None
    tokenizers = train_pair(
        config.tokenizer, lambda: (e.source for e in source.read()), lambda: (e.target for e in source.read())
    )
    length = config.trainer.max_length
    return tokenizers, encode_source(source, tokenizers.source, tokenizers.target, max_length=length)


def make_plan(preset: str, options: argparse.Namespace, tokenizers: TokenizerPair, corpus: EncodedCorpus) -> Plan:
    """Times some steps of the preset, from its first one on, and sees how many fill the minutes."""
    import torch
    from stopwatch import Stopwatch

    from seq2seq.pipeline import make_trainer
    from seq2seq.training.step import update

    config = compose_run(*training_arguments(preset, options, 1))
    torch.set_num_threads(1)
    trainer = make_trainer(config, options.output / preset / "checkpoints", tokenizers, corpus, None)
    stopwatch = Stopwatch(trainer.device)
    tokens = 0

    def step() -> None:
        nonlocal tokens
        batch = trainer.loader.next_batch()
        result = update(
            trainer.model.train(),
            trainer.loss,
            trainer.optimizer,
            [batch],
            clip_norm=trainer.options.clip_norm,
            autocast=trainer.autocast,
        )
        tokens += result.num_tokens

    for _ in range(UNTIMED_STEPS):
        step()
    tokens = 0
    seconds = sum(stopwatch(step) for _ in range(TIMED_STEPS))
    return Plan(
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        seconds_per_step=seconds / TIMED_STEPS,
        tokens_per_second=tokens / seconds,
        max_steps=steps_for(options.minutes, seconds / TIMED_STEPS),
    )


def steps_for(minutes: float, seconds_per_step: float) -> int:
    """At least one for each validation."""
    return max(VALIDATIONS, round(60 * minutes / seconds_per_step))


def call(command: Sequence[str]) -> bool:
    """Runs a command of the project; its output goes to stderr. Whether it succeeded.

    A signal is passed on, and the command, which saves first, is waited for; then this program ends too.
    """
    print(f"python -m {' '.join(command)}", file=sys.stderr, flush=True)
    received: list[int] = []
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=sys.stderr,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C reaches it through us, and so only once
    )

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        sys.exit(128 + received[0])
    return status == 0


def times(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Tokens a second of the updates; and the seconds of updates, with checkpoints, and of validations.

    A validation is reported after the training before it, so it lasts from that report to its own.
    """
    speeds = [line["train/tokens_per_second"] for line in lines if "train/tokens_per_second" in line]
    validation, before = 0.0, 0.0
    for line in lines:
        if "validation/loss" in line:
            validation += line["seconds"] - before
        before = line["seconds"]
    return {"tokens_per_second": median(speeds), "validation": validation, "updates": before - validation}


def told(plan: Plan, found: Mapping[str, float]) -> str:
    return (
        f"on the wall {plan.max_steps:,} steps in {found['updates'] / 60:.1f} minutes, validations in "
        f"{found['validation'] / 60:.1f}, {found['tokens_per_second']:,.0f} tokens/s"
    )


def row(preset: str, plan: Plan, scores: Mapping[str, Any]) -> str:
    cells = [
        f"`{preset}`",
        f"{plan.parameters / 1e6:.1f} M",
        f"{plan.max_steps:,}",
        f"{plan.tokens_per_second:,.0f}",
        f"{scores['bleu']['score']:.1f}",
        f"{scores['sentences_per_second']:,.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(rows: Sequence[str], minutes: float) -> str:
    return "\n".join(
        [
            f"| preset | parameters | steps in {minutes:g} min | training tokens/s | test BLEU | sentences/s |",
            "|---|--:|--:|--:|--:|--:|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
