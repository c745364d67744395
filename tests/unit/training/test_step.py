"""One update. The optimizer is SGD with lr 1, so that the change of the weights is the gradient, negated."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from seq2seq.data.batch import Batch, make_batch
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.step import StepResult, update

Gradient = Callable[..., tuple[Tensor, StepResult]]
SIZE = 11


@pytest.fixture
def batch_of(make_corpus) -> Callable[[Sequence[int]], Batch]:
    corpus = make_corpus(SIZE)
    return lambda examples: make_batch(
        [corpus.sources[i] for i in examples], [corpus.targets[i] for i in examples], examples
    )


@pytest.fixture
def gradient_of(make_model) -> Gradient:
    """The gradient of all weights, in one row."""

    def gradient_of(family: str, micro_batches: Sequence[Batch], clip_norm: float) -> tuple[Tensor, StepResult]:
        model = make_model(family)
        before = torch.cat([p.detach().flatten().double() for p in model.parameters()])
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        result = update(model, CrossEntropy(), optimizer, micro_batches, clip_norm=clip_norm, autocast=nullcontext)
        assert all(p.grad is None for p in model.parameters())
        after = torch.cat([p.detach().flatten().double() for p in model.parameters()])
        return before - after, result

    return gradient_of


@pytest.mark.parametrize("cut", [[[0, 1, 2, 3, 4], [5, 6], [7, 8, 9], [10]], [[i] for i in range(SIZE)]])
def test_micro_batches_of_unequal_lengths_give_the_gradient_of_one_batch(
    family: str, cut: list[list[int]], batch_of, gradient_of: Gradient
) -> None:
    whole, of_whole = gradient_of(family, [batch_of(range(SIZE))], clip_norm=0.0)
    parts, of_parts = gradient_of(family, [batch_of(examples) for examples in cut], clip_norm=0.0)
    assert len({batch_of(examples).num_tokens for examples in cut}) > 1
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(of_parts.loss, of_whole.loss)
    torch.testing.assert_close(of_parts.gradient_norm, of_whole.gradient_norm)
    assert of_parts.num_tokens == of_whole.num_tokens


def test_the_loss_is_summed_over_the_label_tokens(
    family: str, batch_of, gradient_of: Gradient, make_model, make_corpus
) -> None:
    micro_batches = [batch_of([3, 1]), batch_of([8, 2, 5])]
    _, result = gradient_of(family, micro_batches, clip_norm=0.0)
    model, corpus = make_model(family), make_corpus(SIZE)
    expected = 0.0
    for batch in micro_batches:
        log_probabilities = model.head(model.features(batch)).log_softmax(dim=-1)
        for row, example in enumerate(batch.numbers):
            for place, token in enumerate([*corpus.targets[example], 3]):
                expected -= log_probabilities[row, place, token].item()
    assert result.loss.item() == pytest.approx(expected, rel=1e-5)
    assert result.num_tokens == sum(len(corpus.targets[i]) + 1 for i in (3, 1, 8, 2, 5))
    assert not result.loss.requires_grad


def test_clipping_shortens_the_gradient_and_keeps_its_direction(family: str, batch_of, gradient_of: Gradient) -> None:
    batches = [batch_of([0, 4]), batch_of([6])]
    free, result = gradient_of(family, batches, clip_norm=0.0)
    norm = free.norm().item()
    assert result.gradient_norm.item() == pytest.approx(norm, rel=1e-4)
    clipped, of_clipped = gradient_of(family, batches, clip_norm=norm / 3)
    torch.testing.assert_close(clipped, free / 3, rtol=1e-3, atol=1e-6)
    assert of_clipped.gradient_norm.item() == pytest.approx(norm, rel=1e-4)  # what is told is the norm before
    loose, _ = gradient_of(family, batches, clip_norm=norm * 2)
    torch.testing.assert_close(loose, free, rtol=1e-4, atol=1e-6)


class Small(CrossEntropy):
    """Has no room for the logits of more label tokens."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def __call__(self, features: Tensor, head: torch.nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        total, count = super().__call__(features, head, labels)
        if count > self.room:
            total.register_hook(_no_room)  # in backward, where some gradients may be there already
        return total, count


def _no_room(gradient: Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_does_not_fit_is_halved_with_the_same_gradient(family: str, batch_of, make_model) -> None:
    micro_batches = [batch_of([0, 1, 2, 3, 4, 5]), batch_of([6])]
    room = max(batch_of([i]).num_tokens for i in range(SIZE)) + 3
    results = []
    for loss in (CrossEntropy(), Small(room)):
        model = make_model(family)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        result = update(model, loss, optimizer, micro_batches, clip_norm=0.0, autocast=nullcontext)
        results.append((result, [p.detach() for p in model.parameters()]))
    (whole, weights), (parts, same_weights) = results
    assert whole.num_parts == 2
    assert parts.num_parts > 3
    assert parts.num_tokens == whole.num_tokens
    torch.testing.assert_close(parts.loss, whole.loss)
    torch.testing.assert_close(same_weights, weights, rtol=1e-4, atol=1e-6)


def test_one_example_that_does_not_fit_is_a_fault_that_leaves_no_gradient(batch_of, make_model) -> None:
    model = make_model("lstm")
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(torch.OutOfMemoryError):
        update(model, Small(1), optimizer, [batch_of([3, 1, 2])], clip_norm=0.0, autocast=nullcontext)
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close([p.detach() for p in model.parameters()], before, rtol=0, atol=0)
