"""JoeyNMT: its model, config, optimizer and TrainManager, fed with the batches of the work.

Normalised before each sublayer. On a CPU it trains in fp32 only. Its special tokens have ids of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.batch import Batch
from joeynmt.config import parse_global_args, set_validation_args
from joeynmt.model import build_model
from joeynmt.training import TrainManager
from joeynmt.vocabulary import Vocabulary
from peers.measuring import EOS, Recorder, Work, lengths_of

UNK, PAD = 0, 1
MAX_UPDATES_BETWEEN = 1_000_000  # validations: none


def config_of(work: Work) -> dict[str, Any]:
    sizes = work.sizes
    part = {
        "type": "transformer",
        "num_layers": sizes["num_layers"],
        "num_heads": sizes["num_heads"],
        "hidden_size": sizes["d_model"],
        "ff_size": sizes["d_ff"],
        "dropout": work.dropout,
        "layer_norm": "pre",
        "embeddings": {"embedding_dim": sizes["d_model"], "scale": True, "dropout": work.dropout},
    }
    return {
        "name": "benchmark",
        "model_dir": str(Path(work.folder) / "joeynmt"),
        "use_cuda": False,
        "random_seed": work.seed,
        "data": {},
        "training": {
            "optimizer": "adamw",
            "adam_betas": [0.9, 0.98],
            "learning_rate": work.lr,
            "scheduling": "exponential",
            "decrease_factor": 1.0,
            "clip_grad_norm": work.clip_norm,
            "normalization": "tokens",
            "label_smoothing": work.label_smoothing,
            "loss": "crossentropy",
            "batch_size": work.max_tokens,
            "batch_type": "token",
            "epochs": 1,
            "updates": work.num_steps,
            "logging_freq": 100,
            "validation_freq": MAX_UPDATES_BETWEEN,
        },
        "testing": {},
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": part,
            "decoder": part,
        },
    }


class Batches:
    """In the place of JoeyNMT's data set and of what iterates over it."""

    seed = 0

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.batch_sampler = SimpleNamespace(set_seed=lambda seed: None, get_state=lambda: None)
        self.last: tuple[Any, ...] = ()

    def make_iter(self, **options: Any) -> Batches:
        return self

    def __iter__(self) -> Iterator[Batch]:
        for pairs, source, target in self.recorder.batches(pad=PAD, unk=UNK):
            indices = torch.arange(len(source))
            self.last = (source, lengths_of(pairs.source_lengths), None, target, None, indices)
            yield self.batch()

    def batch(self) -> Batch:
        """The last one, as JoeyNMT makes it of tensors; it changes it."""
        return Batch(*self.last, device=torch.device("cpu"), pad_index=PAD, eos_index=EOS)


def main() -> None:
    work = Work.from_arguments()
    recorder = Recorder(work)
    config = config_of(work)
    Path(config["model_dir"]).mkdir(exist_ok=True)
    options = parse_global_args(config)
    words = [f"t{number}" for number in range(4, work.sizes["vocabulary"])]
    vocabulary = Vocabulary(words, options.data["special_symbols"])
    assert len(vocabulary) == work.sizes["vocabulary"]
    model = build_model(options.model, vocabulary, vocabulary)
    model.loss_function = (options.train.loss, options.train.label_smoothing)
    trainer = TrainManager(
        rank=0,
        model=model,
        model_dir=options.model_dir,
        device=options.device,
        autocast=options.autocast,
        seed=options.seed,
        train_args=options.train,
        dev_args=set_validation_args(options.test),
    )
    losses: list[float] = []
    step = trainer._train_step

    def kept(batch: Batch) -> tuple[float, int]:
        loss, correct = step(batch)
        losses.append(loss)
        return loss, correct

    trainer._train_step = kept
    batches = Batches(recorder)
    trainer.train_and_validate(batches, batches)

    def loss_of_a_batch() -> float:
        batch = batches.batch()
        return float(model(return_type="loss", **vars(batch))[0])

    recorder.finish(
        model,
        loss_of_a_batch,
        losses=losses,
        label_tokens=trainer.stats.total_tokens,
        precision=work.precision,
        versions={"JoeyNMT": version("joeynmt")},
    )


if __name__ == "__main__":
    main()
