"""One update of the weights."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.models.base import Model
from seq2seq.training.loss import Loss


@dataclass(frozen=True)
class StepResult:
    """loss: summed over the label tokens of all micro-batches, in nats. Tensors, so that reading them can wait."""

    loss: Tensor
    num_tokens: int
    gradient_norm: Tensor


def update(
    model: Model,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    *,
    clip_norm: float,
    autocast: Callable[[], AbstractContextManager[object]],
) -> StepResult:
    """The gradient is that of the mean over the label tokens of all micro-batches, however they are cut."""
    labels = [model.labels(batch) for batch in micro_batches]
    num_tokens = sum(count for _, count in labels)
    total = torch.zeros((), device=micro_batches[0].source.device)
    for batch, (batch_labels, _) in zip(micro_batches, labels, strict=True):
        with autocast():
            loss_sum, _ = loss(model.features(batch), model.head, batch_labels)
        (loss_sum / num_tokens).backward()  # type: ignore[no-untyped-call]
        total += loss_sum.detach()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm or float("inf"))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(total, num_tokens, norm)
