"""Whether a pretrained model does here what it does in its own library, where some families have ways of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seq2seq.data.batch import make_batch
from seq2seq.errors import ConfigError, Problem
from seq2seq.text.vocab import Vocab

NEAR = 1e-2  # log-probabilities, in nats; the sums of large models are made in other orders


def check_agreement(model: Any, other: Any, path: str) -> None:
    """Scores a few tokens in three ways: by the library, by teacher forcing here and step by step here.

    model: a Pretrained with the weights of other.  Raises ConfigError where they differ, or one fails.
    """
    was_training = model.training
    try:
        with torch.no_grad():
            ours, stepped, theirs = _scores(model.eval(), other.eval())
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise _refused(other, path, str(error).splitlines()[0]) from error
    finally:
        model.train(was_training)
    difference = max((ours - theirs).abs().max().item(), (stepped - theirs).abs().max().item())
    if not difference < NEAR:
        raise _refused(other, path, f"what they score differs by {difference:.2g}")


def _refused(other: Any, path: str, why: str) -> ConfigError:
    told = f"{path}: models of the type {other.config.model_type} do not work here as in their library ({why})"
    return ConfigError(Problem("model.path", told))


def _scores(model: Any, other: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (T,) of the same target, each made in its way."""
    size = other.get_output_embeddings().out_features
    known = [i for i, row in enumerate(model.numbers.rows) if i >= len(Vocab.special) and 0 <= row < size]
    tokens = (known * 6)[:6]
    batch = make_batch([tokens[:4]], [tokens[3:6]], [0])
    labels = batch.labels[0]
    rows = [model.numbers.rows[number] for number in known]  # what both can say
    places = torch.tensor([known.index(label) if label in known else len(known) for label in labels.tolist()])
    known, rows = [*known, Vocab.eos], [*rows, model.numbers.rows[Vocab.eos]]
    ours = _of_labels(model.head(model.features(batch))[0, :, known], places)
    state = model.start(batch.source, batch.source_mask, len(labels))
    stepped = []
    for token in batch.target[0].tolist():
        logits, state = model.step(torch.tensor([token]), state)
        stepped.append(logits[0, known])
    theirs = _of_labels(_their_logits(model, other, batch)[:, rows], places)
    return ours, _of_labels(torch.stack(stepped), places), theirs


def _of_labels(logits: Tensor, places: Tensor) -> Tensor:
    """logits (T,K), places (T,) of the labels among them -> their log-probabilities (T,)."""
    return logits.log_softmax(-1).gather(1, places[:, None])[:, 0]


def _their_logits(model: Any, other: Any, batch: Any) -> Tensor:
    """(T, their rows)"""
    read, mask = model.framed(batch.source, batch.source_mask)
    told = model.numbers.to_theirs[batch.labels[0, :-1]].tolist()
    if model.has_encoder:
        target = torch.tensor([[*model.first, *told]])
        logits = other(input_ids=read, attention_mask=mask.long(), decoder_input_ids=target).logits[0]
        start = len(model.first) - 1
    else:
        logits = other(input_ids=torch.tensor([[*read[0].tolist(), *told]])).logits[0]
        start = read.size(1) - 1
    found: Tensor = logits[start:]
    return found
