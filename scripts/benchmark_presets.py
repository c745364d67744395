"""Training speed, memory and decoding speed of the model presets, side by side.

    python scripts/benchmark_presets.py --tiny --threads 1
    python scripts/benchmark_presets.py --presets transformer_base,lstm_base --device cuda --precision bf16
    python scripts/benchmark_presets.py --presets lstm_base --variant deep model.encoder.num_layers=4

Every preset of configs/model is found by itself; what `--variant` adds is the first preset with other options. All get
the same batches of random ids, and no weight is trained, so decoding is held to a fixed length. Each preset is measured
in a process of its own, in rounds over all of them, and the medians of the rounds are printed, with ratios to the
first preset, or to transformer_base where it is among them. Memory is what the process takes for training beyond what
it held before the model was built; on a GPU, what torch has allocated there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from presets import compose_run, model_presets

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from seq2seq.config import RunConfig
    from seq2seq.data.batch import Batch
    from seq2seq.data.encoded import EncodedCorpus
    from seq2seq.models.base import DecoderState, Model

REFERENCE = "transformer_base"
BEAM = 5
NAME_WIDTH = 21
USUAL_LENGTH = 25  # tokens of a sentence in the middle, eos counted
NO_RECIPE = ("data=text_files", "data.source=en", "data.target=de")  # what suits other data may change a model
LOWERED = 1e4  # taken off eos' logit: any other token is likelier, yet at the limit of a search it can still end one


@dataclass(frozen=True)
class Settings:
    """What every measurement has in common."""

    vocabulary: int
    tokens: int
    length: int | None
    batches: int
    sources: int
    seconds: float
    threads: int
    device: str
    precision: str


def main() -> None:
    options = parse()
    settings = Settings(**{name: getattr(options, name) for name in Settings.__dataclass_fields__})
    if options.measure is not None:
        print(json.dumps(measure(options.measure, settings)))
        return
    chosen = choose(options.presets, options.tiny, options.variant)
    rounds, failed = measure_all(chosen, settings, options.rounds, options.limit)
    results = {name: medians(found) for name, found in rounds.items() if found}
    if options.json is not None:
        kept = {"settings": asdict(settings), "results": results, "rounds": rounds, "failed": failed}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if results:
        print(table(results))
        print(caption(settings, options.rounds, next(iter(rounds.values()))[0]["clock"]))
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    sys.exit(bool(failed))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--presets", help="names, separated by commas; otherwise all")
    parser.add_argument("--tiny", action="store_true", help="of these only the ones that end in _tiny")
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="the first preset with other options, under this name; may be repeated",
    )
    parser.add_argument("--vocabulary", type=int, default=8000, help="tokens in it, shared by both sides")
    parser.add_argument("--tokens", type=int, default=2048, help="of a training batch, as trainer.max_tokens")
    parser.add_argument("--length", type=int, help="tokens of every side, eos counted; otherwise as in news text")
    parser.add_argument("--batches", type=int, default=4, help="different training batches")
    parser.add_argument("--sources", type=int, default=32, help="sentences that are decoded together")
    parser.add_argument("--seconds", type=float, default=5, help="to repeat the same work; it is done once anyway")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a preset is given up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32")
    parser.add_argument("--json", type=Path, help="a file for all numbers, those of each round too")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def choose(presets: str | None, tiny: bool, variants: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Name -> the arguments of seq2seq-train that make the model."""
    names = presets.split(",") if presets else model_presets()
    if tiny:
        names = [name for name in names if name.endswith("_tiny")]
    if not names:
        raise SystemExit("no preset is left")
    chosen = {name: [f"model={name}"] for name in names}
    for name, *overrides in variants:
        chosen[name] = [f"model={names[0]}", *overrides]
    return chosen


def measure_all(
    chosen: Mapping[str, list[str]], settings: Settings, num_rounds: int, limit: float
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """What was found in each round, and why nothing was."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    failed: dict[str, str] = {}
    for turn in range(num_rounds):
        for name, overrides in chosen.items():
            if name in failed:
                continue
            print(f"round {turn + 1} of {num_rounds}: {name}", file=sys.stderr)
            try:
                rounds[name].append(in_a_process(overrides, settings, limit))
            except RuntimeError as error:
                failed[name] = str(error)
    return {name: found for name, found in rounds.items() if found}, failed


def in_a_process(overrides: Sequence[str], settings: Settings, limit: float) -> dict[str, Any]:
    """What `measure` returns. Raises RuntimeError with the reason where it does not."""
    given = [f"--{name}={value}" for name, value in asdict(settings).items() if value is not None]
    command = [sys.executable, __file__, *given, "--measure", *overrides]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done in {limit:g} s; --limit sets it") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(overrides: Sequence[str], settings: Settings) -> dict[str, Any]:
    """One preset, once."""
    import torch
    from stopwatch import Stopwatch

    from seq2seq.search.beam import Beam
    from seq2seq.search.greedy import Greedy
    from seq2seq.text.vocab import Vocab
    from seq2seq.training.precision import autocast, resolve_device, resolve_precision

    torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    context = partial(autocast, device, resolve_precision(settings.precision, device))  # type: ignore[arg-type]
    stopwatch = Stopwatch(device)
    config = compose_run(*NO_RECIPE, *overrides)
    vocab = Vocab((*Vocab.special, *(f"t{i}" for i in range(settings.vocabulary - len(Vocab.special)))))
    corpus = random_corpus(settings)
    batches = [batch.to(device) for batch in training_batches(corpus, settings)]
    source, mask = (tensor.to(device) for tensor in decoding_batch(corpus, settings.sources))
    load_what_torch_loads_late(config, device)
    before = peak_memory(device)
    torch.manual_seed(1)
    model = config.model(vocab, vocab).to(device)
    found: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    found["training"] = training_speed(config, model, batches, context, stopwatch, settings.seconds)
    found["memory"] = peak_memory(device) - before
    length = settings.length or USUAL_LENGTH
    held = Unending(model.eval())
    with torch.no_grad(), context():
        for name, make in (("beam", partial(Beam, beam_size=BEAM)), ("greedy", Greedy)):
            make(max_length=2)(held, source, mask)  # type: ignore[arg-type]
            search = partial(make(max_length=length - 1), held, source, mask)  # type: ignore[arg-type]
            outputs = search()
            assert all(len(hypotheses[0].tokens) == length - 1 for hypotheses in outputs)
            seconds = repeated([search], stopwatch, settings.seconds)[0]
            found[f"{name}_tokens"] = len(source) * length / seconds
            found[f"{name}_sentences"] = len(source) / seconds
    return found | {"clock": stopwatch.name}


def training_speed(
    config: RunConfig,
    model: Model,
    batches: Sequence[Batch],
    context: Callable[[], AbstractContextManager[object]],
    stopwatch: Callable[[Callable[[], object]], float],
    seconds: float,
) -> float:
    """Target tokens a second, padding not counted."""
    from seq2seq.training.step import update

    optimizer = config.optimizer(model.named_parameters())
    step = partial(update, model.train(), config.loss(), optimizer, clip_norm=1.0, autocast=context)
    step([batches[0]])
    found = repeated([partial(step, [batch]) for batch in batches], stopwatch, seconds)
    return sum(batch.num_tokens for batch in batches) / sum(found)


def repeated(
    works: Sequence[Callable[[], object]], stopwatch: Callable[[Callable[[], object]], float], seconds: float
) -> list[float]:
    """The median time of each. All are done once, and again until the time is over."""
    times: list[list[float]] = []
    while not times or sum(map(sum, times)) < seconds:
        times.append([stopwatch(work) for work in works])
    return [median(of_work) for of_work in zip(*times, strict=True)]


class Unending:
    """A model whose outputs end at the limit of a search, and not before: eos is the least likely of all tokens."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> DecoderState:
        return self.model.start(source, mask, max_length)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        from seq2seq.text.vocab import Vocab

        logits, state = self.model.step(tokens, state)
        logits[:, Vocab.eos] -= LOWERED
        return logits, state


def random_corpus(settings: Settings) -> EncodedCorpus:
    """The same for every preset: as many examples as four times the batches need."""
    from seq2seq.data.encoded import EncodedCorpus, Rows, offsets_of
    from seq2seq.text.vocab import Vocab

    generator = np.random.default_rng(1)
    size = 1000 + 4 * settings.batches * settings.tokens // USUAL_LENGTH

    def rows(lengths: np.ndarray) -> Rows:
        lengths = np.full(size, settings.length - 1) if settings.length else lengths.clip(2, 120).astype(np.int64)
        ids = generator.integers(len(Vocab.special), settings.vocabulary, int(lengths.sum())).astype(np.int32)
        return Rows((ids, offsets_of(lengths)))

    lengths = (USUAL_LENGTH - 1) * generator.lognormal(0, 0.5, size)
    others = lengths * generator.lognormal(0, 0.2, size)
    return EncodedCorpus(rows(lengths), rows(others), np.arange(size))


def training_batches(corpus: EncodedCorpus, settings: Settings) -> list[Batch]:
    """As the loader makes them; evenly from short sentences to long ones."""
    from seq2seq.data.loader import ordered_batches

    found = list(ordered_batches(corpus, settings.tokens))
    return [found[(2 * i + 1) * len(found) // (2 * settings.batches)] for i in range(settings.batches)]


def decoding_batch(corpus: EncodedCorpus, num_sources: int) -> tuple[Tensor, Tensor]:
    """Sources of middling length and their mask."""
    from seq2seq.data.batch import pad
    from seq2seq.text.vocab import Vocab

    first = (len(corpus) - num_sources) // 2
    assert corpus.sources is not None
    middle = np.argsort(corpus.source_lengths, kind="stable")[first : first + num_sources]
    return pad([[*corpus.sources[i].tolist(), Vocab.eos] for i in middle])


def load_what_torch_loads_late(config: RunConfig, device: torch.device) -> None:
    """A step of next to nothing: its libraries are no part of a model's memory."""
    import torch

    layer = torch.nn.Linear(2, 3, device=device)
    optimizer = config.optimizer(layer.named_parameters())
    torch.nn.functional.cross_entropy(
        layer(torch.ones(1, 2, device=device)), torch.tensor([0], device=device)
    ).backward()
    torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
    optimizer.step()


def peak_memory(device: torch.device) -> int:
    """The most bytes so far: of a GPU those that torch allocated, else all of the process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of each number."""
    return {name: median(found[name] for found in rounds) for name in rounds[0] if name != "clock"}


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """At most 100 columns wide."""
    reference = results.get(REFERENCE) or next(iter(results.values()))
    lines = [
        f"{'':{NAME_WIDTH}} {'':>6}  {'training':>13}  {'memory':>11}  {f'beam {BEAM}':>20}  {'greedy':>20}",
        f"{'preset':{NAME_WIDTH}} {'params':>6}  {'token/s':>7} {'ratio':>5}  {'MB':>5} {'ratio':>5}"
        + f"  {'token/s':>7} {'sent/s':>6} {'ratio':>5}" * 2,
    ]
    for name, found in results.items():
        cells = f"{name[:NAME_WIDTH]:{NAME_WIDTH}} {found['parameters'] / 1e6:5.1f}M"
        cells += f"  {found['training']:7,.0f} {found['training'] / reference['training']:5.2f}"
        cells += f"  {found['memory'] / 1e6:5.0f} {found['memory'] / reference['memory']:5.2f}"
        for search in ("beam", "greedy"):
            tokens, sentences = found[f"{search}_tokens"], found[f"{search}_sentences"]
            cells += f"  {tokens:7,.0f} {sentences:6,.{1 if sentences < 100 else 0}f}"
            cells += f" {tokens / reference[f'{search}_tokens']:5.2f}"
        lines.append(cells)
    return "\n".join(lines)


def caption(settings: Settings, num_rounds: int, clock: str) -> str:
    threads = "1 thread" if settings.threads == 1 else f"{settings.threads} threads"
    where = f"{settings.device}, {threads}" if settings.device == "cpu" else settings.device
    return (
        f"\n{where}, {settings.precision}; vocabulary {settings.vocabulary:,}; batches of at most "
        f"{settings.tokens:,} tokens; {settings.sources} sources\n"
        f"decoded together to {settings.length or USUAL_LENGTH} tokens; medians of {num_rounds} rounds; {clock}"
    )


if __name__ == "__main__":
    main()
