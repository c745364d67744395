"""One update of the weights."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.models.base import Model
from seq2seq.training.loss import Loss
from seq2seq.training.strategies import ONE_PROCESS, Strategy


@dataclass(frozen=True)
class StepResult:
    """loss: summed over the label tokens of all micro-batches and ranks, in nats; own_loss: of those of this rank.
    Tensors, so that reading them can wait.
    """

    loss: Tensor
    own_loss: Tensor
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
    strategy: Strategy = ONE_PROCESS,
) -> StepResult:
    """The gradient is that of the mean over the label tokens of all micro-batches and ranks, however they are cut."""
    labels = [model.labels(batch) for batch in micro_batches]
    num_tokens = strategy.parallel.total(sum(count for _, count in labels))
    total = torch.zeros((), device=micro_batches[0].source.device)
    for number, (batch, (batch_labels, _)) in enumerate(zip(micro_batches, labels, strict=True), 1):
        with autocast():
            loss_sum, _ = loss(model.features(batch), model.head, batch_labels)
        strategy.before_backward(last=number == len(micro_batches))
        (loss_sum / num_tokens).backward()  # type: ignore[no-untyped-call]
        total += loss_sum.detach()
    strategy.finish()
    norm = strategy.whole(nn.utils.clip_grad_norm_(model.parameters(), clip_norm or float("inf")))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(strategy.parallel.sum(total), total, num_tokens, norm)
