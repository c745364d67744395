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
    Tensors, so that reading them can wait. num_parts: micro-batches, after those that did not fit in memory were cut.
    """

    loss: Tensor
    own_loss: Tensor
    num_tokens: int
    gradient_norm: Tensor
    num_parts: int


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
    """The gradient is that of the mean over the label tokens of all micro-batches and ranks, however they are cut.

    Where memory does not suffice the micro-batches are cut in two, again and again, and their gradients made anew. Of
    several ranks none can do that alone: they, and one example that is too large, raise torch's OutOfMemoryError.
    """
    num_tokens = strategy.parallel.total(sum(model.labels(batch)[1] for batch in micro_batches))
    own_loss = None
    while own_loss is None:
        try:
            own_loss = _add_gradients(model, loss, micro_batches, num_tokens, autocast, strategy)
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
            if not strategy.parallel.alone or all(len(batch.numbers) == 1 for batch in micro_batches):
                raise
        if own_loss is None:  # here, where the fault no longer holds the tensors of its frames
            micro_batches = [part for batch in micro_batches for part in batch.halves()]
    strategy.finish()
    norm = strategy.whole(nn.utils.clip_grad_norm_(model.parameters(), clip_norm or float("inf")))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(strategy.parallel.sum(own_loss), own_loss, num_tokens, norm, len(micro_batches))


def _add_gradients(
    model: Model,
    loss: Loss,
    micro_batches: Sequence[Batch],
    num_tokens: int,
    autocast: Callable[[], AbstractContextManager[object]],
    strategy: Strategy,
) -> Tensor:
    """To those of the parameters; the loss, summed over the label tokens of the micro-batches."""
    total = torch.zeros((), device=micro_batches[0].source.device)
    for number, batch in enumerate(micro_batches, 1):
        with autocast():
            loss_sum, _ = loss(model.features(batch), model.head, model.labels(batch)[0])
        strategy.before_backward(last=number == len(micro_batches))
        (loss_sum / num_tokens).backward()  # type: ignore[no-untyped-call]
        total += loss_sum.detach()
    return total
