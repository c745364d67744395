"""Where the time goes in a run's training and decoding, as ratios within one process.

    python scripts/benchmark_basics.py runs/multi30k

Prints the loader's share of a step, training in bf16 against fp32, and what a decoding step costs at position 100
against position 5, attention's own reading of the past included.
"""

import argparse
from functools import partial
from pathlib import Path
from statistics import median

import torch
from stopwatch import Stopwatch

from seq2seq.data.batch import Batch
from seq2seq.data.loader import Loader
from seq2seq.pipeline import LoadedRun, load_run
from seq2seq.training.precision import autocast, cpu_has_bf16
from seq2seq.training.step import update

STEPS = 12
SOURCES, BEAM = 16, 4  # of a decoding batch


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    loaded = load_run(parser.parse_args().run, "last", {}, device="cpu", precision="fp32")
    source = loaded.config.data().split("train")
    if source is None:
        raise SystemExit("the run has no training data")
    options = loaded.config.trainer
    loader = Loader(loaded.encode(source), max_tokens=options.max_tokens, seed=1)
    loader.next_batch()  # the plan of the epoch
    batches = [loader.next_batch() for _ in range(STEPS)]
    stopwatch = Stopwatch(loaded.device)
    loading = median(stopwatch(loader.next_batch) for _ in range(STEPS))
    fp32 = step_seconds(loaded, batches, "fp32")
    tokens = median(batch.num_tokens for batch in batches)
    print(f"step in fp32     {fp32 * 1e3:8.1f} ms   {tokens / fp32:,.0f} target tokens/s")
    print(f"loader           {loading * 1e3:8.2f} ms   {loading / fp32:.2%} of a step")
    if cpu_has_bf16():
        bf16 = step_seconds(loaded, batches, "bf16")
        print(f"step in bf16     {bf16 * 1e3:8.1f} ms   {fp32 / bf16:.2f} x as fast as fp32")
    early, late = decoding_seconds(loaded, batches[0])
    print(f"decoding step    {early * 1e3:8.2f} ms at position 5, {late / early:.2f} x that at position 100")


def step_seconds(loaded: LoadedRun, batches: list[Batch], precision: str) -> float:
    model = loaded.config.model(*loaded.tokenizers.vocabs).train()
    optimizer = loaded.config.optimizer(model.named_parameters())
    context = partial(autocast, loaded.device, precision)  # type: ignore[arg-type]
    step = partial(update, model, loaded.config.loss(), optimizer, clip_norm=1.0, autocast=context)
    stopwatch = Stopwatch(loaded.device)
    seconds = [stopwatch(partial(step, [batch])) for batch in batches]
    return median(seconds[2:])


@torch.inference_mode()
def decoding_seconds(loaded: LoadedRun, batch: Batch) -> tuple[float, float]:
    """Of a step of all hypotheses around positions 5 and 100, reordered after each step as a beam does."""
    model = loaded.model.eval()
    source, mask = batch.source[:SOURCES], batch.source_mask[:SOURCES]
    hypotheses = torch.arange(len(source) * BEAM)
    state = model.start(source, mask, 120).reorder(hypotheses // BEAM)
    tokens = torch.full((len(hypotheses),), 2)
    swap = hypotheses.view(-1, BEAM).roll(1, dims=1).flatten()
    stopwatch = Stopwatch(loaded.device)
    seconds = []
    for _ in range(110):
        start = stopwatch.now()
        logits, state = model.step(tokens, state)
        state = state.reorder(swap)
        tokens = logits.argmax(dim=1)
        seconds.append(stopwatch.now() - start)
    return median(seconds[3:10]), median(seconds[97:104])


if __name__ == "__main__":
    main()
