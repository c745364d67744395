"""eole: its model, config, optimizer and Trainer, fed with the batches of the work.

Normalised before each sublayer, with the biases that the others have too. In bf16 it trains under autocast.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch
from eole.config.run import TrainConfig
from eole.constants import DefaultTokens
from eole.models.model import get_model_class
from eole.trainer import build_trainer
from eole.utils.optimizers import Optimizer
from peers.measuring import Recorder, Work, lengths_of
from peers.numbered import vocab_of


def config_of(work: Work, **training: Any) -> TrainConfig:
    """training: options that are set otherwise."""
    sizes = work.sizes
    width = sizes["d_model"]
    return TrainConfig(
        data={},
        src_vocab="none",
        tgt_vocab="none",
        share_vocab=True,
        seed=work.seed,
        report_every=50,
        model={
            "architecture": "transformer",
            "layers": sizes["num_layers"],
            "hidden_size": width,
            "heads": sizes["num_heads"],
            "transformer_ff": sizes["d_ff"],
            "embeddings": {"word_vec_size": width, "position_encoding": True},
            "add_qkvbias": True,
            "add_final_linear_bias": True,
            "add_ffnbias": True,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
        },
        training={
            "dropout": [work.dropout],
            "attention_dropout": [work.dropout],
            "label_smoothing": work.label_smoothing,
            "optim": "adamw",
            "adam_beta2": 0.98,
            "learning_rate": work.lr,
            "decay_method": "none",
            "learning_rate_decay": 1.0,
            "max_grad_norm": work.clip_norm,
            "normalization": "tokens",
            "param_init_method": "xavier_uniform",
            "train_steps": work.num_steps,
            "compute_dtype": work.precision,
            "torch_compile": work.compile,
            **training,
        },
    )


def vocabs_of(size: int) -> dict[str, Any]:
    special = [DefaultTokens.PAD, DefaultTokens.UNK, DefaultTokens.BOS, DefaultTokens.EOS]
    vocab = vocab_of(size, special)
    names = ("pad_token", "unk_token", "bos_token", "eos_token")
    specials = dict(zip(names, special, strict=True))
    return {"src": vocab, "tgt": vocab, "specials": specials, "decoder_start_token": DefaultTokens.BOS}


def main() -> None:
    work = Work.from_arguments()
    recorder = Recorder(work)
    config = config_of(work)
    vocabs = vocabs_of(work.sizes["vocabulary"])
    model = get_model_class(config.model).for_training(config.model, vocabs, config.training, device_id=-1)
    called = torch.compile(model, dynamic=True) if work.compile else model  # as its train_single does
    optimizer = Optimizer.from_config(called, config)
    trainer = build_trainer(config, -1, called, vocabs, optimizer)
    last: dict[str, Any] = {}

    def batches() -> Iterator[tuple[dict[str, Any], int]]:
        for pairs, source, target in recorder.batches():
            last.update(
                src=source,
                srclen=lengths_of(pairs.source_lengths),
                tgt=target,
                tgtlen=lengths_of(pairs.target_lengths) + 1,
                prefix_len=None,
                images=None,
                cid=["work"] * len(source),
                cid_line_number=list(range(len(source))),
            )
            yield dict(last), 0

    losses: list[float] = []
    compute = trainer.train_loss.forward

    def kept(*arguments: Any, **options: Any) -> Any:
        result = compute(*arguments, **options)
        losses.append(result[1].loss / result[1].n_tokens)
        return result

    trainer.train_loss.forward = kept
    statistics = trainer.train(batches(), work.num_steps, save_checkpoint_steps=0)
    trainer.train_loss.forward = compute

    def loss_of_a_batch() -> float:
        output, attention, _ = model(last["src"], last["tgt"], last["srclen"])
        return float(trainer.train_loss(last, output, attention)[1].loss)

    recorder.finish(
        model,
        loss_of_a_batch,
        losses=losses,
        label_tokens=statistics.n_tokens,
        precision=work.precision,
        versions={"eole": version("eole")},
    )


if __name__ == "__main__":
    main()
