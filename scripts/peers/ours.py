"""This project: its own trainer, loader and config; with nothing else said, by its default settings.

The loader makes the batches anew from the corpus of the work: they are the ones that the peers were given, as they are
made by the same loader, and that is checked unless the overrides ask for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from peers.measuring import Recorder, Work
from presets import compose_run

import seq2seq

if TYPE_CHECKING:
    from seq2seq.config import RunConfig
    from seq2seq.data.batch import Batch
    from seq2seq.text.pair import TokenizerPair

REPORTS = 8  # of the loss, by the trainer


def arguments(work: Work) -> list[str]:
    """Of seq2seq-train, for the model and the training that the peers do too."""
    sizes = {name: work.sizes[name] for name in ("d_model", "d_ff", "num_layers", "num_heads")}
    rates = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), work.dropout)
    options = {"norm": "pre", **sizes, **rates}
    return [
        "model=encoder_decoder",
        "model/encoder=transformer",
        "model/decoder=transformer",
        *(f"model.{side}.{name}={value}" for side in ("encoder", "decoder") for name, value in options.items()),
        "model.tie_embeddings=all",
        "data=text_files",
        "data.source=a",
        "data.target=b",
        f"loss.label_smoothing={work.label_smoothing}",
        "schedule=constant",
        "schedule.warmup=0",
        f"optimizer.lr={work.lr}",
        f"trainer.clip_norm={work.clip_norm}",
        f"trainer.max_tokens={work.max_tokens}",
        f"trainer.max_steps={work.num_steps}",
        f"trainer.num_threads={work.threads}",
        f"trainer.seed={work.seed}",
        f"trainer.precision={work.precision}",
        f"trainer.device={work.device}",
        f"trainer.log_every={max(1, work.num_steps // REPORTS)}",
        *work.overrides,
    ]


def tokenizers_of(size: int) -> TokenizerPair:
    """As good as the work's own, as far as training is concerned: a vocabulary of its size."""
    from seq2seq.text.pair import TokenizerPair
    from seq2seq.text.plain import WordTokenizer
    from seq2seq.text.vocab import Vocab

    words = WordTokenizer()
    words.vocab = Vocab((*Vocab.special, *(f"t{number}" for number in range(size - len(Vocab.special)))))
    return TokenizerPair(words, words)


def main() -> None:
    from work import load_corpus

    from seq2seq.pipeline import make_trainer
    from seq2seq.training.precision import resolve_precision

    work = Work.from_arguments()
    config: RunConfig = compose_run(*arguments(work))
    recorder = Recorder(work, per_step=config.trainer.accumulate)
    tokenizers = tokenizers_of(work.sizes["vocabulary"])
    trainer = make_trainer(config, Path(work.folder) / "checkpoints", tokenizers, load_corpus(Path(work.folder)), None)
    taken: list[Batch] = []
    next_batch = trainer.loader.next_batch

    def counted() -> Batch:
        batch = next_batch()
        source_lengths, target_lengths = (mask.sum(1).tolist() for mask in (batch.source_mask, batch.target_mask))
        recorder.count(source_lengths, target_lengths, batch.source.numel() + batch.labels.numel())
        taken[:] = [batch]
        return batch

    trainer.loader.next_batch = counted  # type: ignore[method-assign]
    losses: list[float] = []

    def keep_loss(step: int, values: Mapping[str, float]) -> None:
        losses.extend(value for name, value in values.items() if name == "train/loss")

    trainer.on_step = keep_loss
    trainer.train()
    if not work.overrides:
        fed = [sum(pairs.target_lengths) for pairs in work.batches()]
        assert recorder.tokens[: len(fed)] == fed, "the loader's batches are not those of the peers"

    def loss_of_a_batch() -> float:
        batch = taken[0].to(trainer.device)
        with trainer.autocast():
            total, number = trainer.loss(trainer.model.features(batch), trainer.model.head, batch.labels)
        return float(total / number)

    recorder.finish(
        trainer.model,
        loss_of_a_batch,
        losses=losses,
        label_tokens=sum(recorder.tokens[: work.num_steps * config.trainer.accumulate]),
        precision=resolve_precision(config.trainer.precision, trainer.device),
        versions={"seq2seq": seq2seq.__version__},
    )


if __name__ == "__main__":
    main()
