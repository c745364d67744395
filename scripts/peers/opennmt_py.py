"""OpenNMT-py: its model, options, optimizer and Trainer, fed with the batches of the work.

Normalised before each sublayer. It has no AdamW in torch alone: Adam, which does as much. Its only other number format
is fp16 on CUDA.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from onmt.constants import DefaultTokens
from onmt.model_builder import build_model
from onmt.opts import train_opts
from onmt.trainer import build_trainer
from onmt.utils.optimizers import Optimizer
from onmt.utils.parse import ArgumentParser
from peers.measuring import Recorder, Work, lengths_of
from peers.numbered import vocab_of


def options_of(work: Work) -> Namespace:
    sizes = work.sizes
    values = {
        "data": "{}",
        "src_vocab": "none",
        "tgt_vocab": "none",
        "encoder_type": "transformer",
        "decoder_type": "transformer",
        "layers": sizes["num_layers"],
        "hidden_size": sizes["d_model"],
        "word_vec_size": sizes["d_model"],
        "transformer_ff": sizes["d_ff"],
        "heads": sizes["num_heads"],
        "dropout": work.dropout,
        "attention_dropout": work.dropout,
        "label_smoothing": work.label_smoothing,
        "optim": "adam",
        "adam_beta2": 0.98,
        "learning_rate": work.lr,
        "max_grad_norm": work.clip_norm,
        "normalization": "tokens",
        "train_steps": work.num_steps,
        "report_every": 50,
        "seed": work.seed,
    }
    flags = ("share_vocab", "share_embeddings", "share_decoder_embeddings", "position_encoding", "param_init_glorot")
    parser = ArgumentParser(conflict_handler="resolve")
    train_opts(parser)
    given = [part for name, value in values.items() for part in (f"-{name}", str(value))]
    options = parser.parse_args([*given, *(f"-{name}" for name in flags), "-param_init", "0"])
    options.data = {}
    ArgumentParser.update_model_opts(options)
    ArgumentParser.validate_model_opts(options)
    return options


def vocabs_of(size: int) -> dict[str, Any]:
    special = [DefaultTokens.PAD, DefaultTokens.UNK, DefaultTokens.BOS, DefaultTokens.EOS]
    vocab = vocab_of(size, special)
    return {"src": vocab, "tgt": vocab, "data_task": "seq2seq", "decoder_start_token": DefaultTokens.BOS}


def main() -> None:
    work = Work.from_arguments()
    recorder = Recorder(work)
    options = options_of(work)
    vocabs = vocabs_of(work.sizes["vocabulary"])
    model = build_model(options, options, vocabs, None, -1)
    optimizer = Optimizer.from_opt(model, options)
    trainer = build_trainer(options, -1, model, vocabs, optimizer)
    last: dict[str, Any] = {}

    def batches() -> Iterator[tuple[dict[str, Any], int]]:
        for pairs, source, target in recorder.batches():
            last.update(
                src=source[:, :, None],
                srclen=lengths_of(pairs.source_lengths),
                tgt=target[:, :, None],
                tgtlen=lengths_of(pairs.target_lengths) + 1,
            )
            yield dict(last), 0

    losses: list[float] = []
    compute = trainer.train_loss.forward

    def kept(*arguments: Any, **options: Any) -> Any:
        loss, statistics = compute(*arguments, **options)
        losses.append(statistics.loss / statistics.n_words)
        return loss, statistics

    trainer.train_loss.forward = kept
    statistics = trainer.train(batches(), work.num_steps, save_checkpoint_steps=0)
    trainer.train_loss.forward = compute

    def loss_of_a_batch() -> float:
        output, attention = model(last["src"], last["tgt"], last["srclen"])
        return float(trainer.train_loss(last, output, attention)[1].loss)

    recorder.finish(
        model,
        loss_of_a_batch,
        losses=losses,
        label_tokens=statistics.n_words,
        precision=work.precision,
        versions={"OpenNMT-py": version("OpenNMT-py")},
    )


if __name__ == "__main__":
    main()
