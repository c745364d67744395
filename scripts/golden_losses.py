"""Writes tests/golden/losses.json: the losses of the first training steps of a Transformer and of an LSTM.

python scripts/golden_losses.py

tests/golden/test_losses.py compares with them. A change that is only to make training faster or its code plainer must
leave them as they are. Write them anew only with a change that is meant to change the numbers, and say so there.
"""

import json
import tempfile
from pathlib import Path

import torch

from seq2seq.config import bind_run
from seq2seq.data.encoded import encode_source
from seq2seq.pipeline import make_trainer
from seq2seq.text.pair import train_pair
from seq2seq.training.reporters import JsonLines

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "losses.json"
STEPS = 10
TRANSFORMER = {"name": "transformer", "d_model": 48, "num_layers": 2, "num_heads": 4, "d_ff": 96}
LSTM = {"name": "lstm", "d_model": 48, "num_layers": 2}
FAMILIES = {"transformer": TRANSFORMER, "lstm": LSTM}


def losses(family: str) -> list[float]:
    """The mean loss of a token at each of the first steps: float32, one thread, no dropout, a character vocabulary."""
    config = bind_run(
        {
            "model": {"name": "encoder_decoder", "encoder": FAMILIES[family], "decoder": FAMILIES[family]},
            "data": {"name": "demo", "train": 200, "validation": 1, "test": 1},
            "tokenizer": "characters",
            "optimizer": {"name": "adamw", "lr": 0.002},
            "schedule": {"name": "inverse_sqrt", "warmup": 4},
            "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
            "search": "greedy",
            "trainer": {"max_steps": STEPS, "max_tokens": 600, "accumulate": 2, "log_every": 1, "precision": "fp32"}
            | {"device": "cpu", "seed": 1},
        }
    )
    source = config.data().split("train")
    assert source is not None
    tokenizers = train_pair(
        config.tokenizer, lambda: (e.source for e in source.read()), lambda: (e.target for e in source.read())
    )
    encoded = encode_source(source, tokenizers.source, tokenizers.target, max_length=None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            metrics = Path(folder) / "metrics.jsonl"
            trainer = make_trainer(config, Path(folder), tokenizers, encoded, None)
            trainer.reporters = [JsonLines(metrics, resume_step=0)]
            trainer.train()
            return [json.loads(line)["train/loss"] for line in metrics.read_text().splitlines()]
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    found = {family: losses(family) for family in FAMILIES}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"written to {GOLDEN}")


if __name__ == "__main__":
    main()
