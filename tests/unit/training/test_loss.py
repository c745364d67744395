"""B=2 examples, T=7 target length, D=12 width, V=19 vocabulary."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seq2seq.text.vocab import Vocab
from seq2seq.training import loss as loss_module
from seq2seq.training.loss import CrossEntropy, losses, measured

LENGTHS = (7, 4)
NUM_TOKENS = 11


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 7, 12, generator=generator, dtype=dtype).requires_grad_()
    head = nn.Linear(12, 19, dtype=dtype)
    labels = torch.randint(1, 19, (2, 7), generator=generator)
    labels[1, LENGTHS[1] :] = Vocab.pad
    return features, head, labels


def plain_formula(features: Tensor, head: nn.Linear, labels: Tensor, smoothing: float) -> Tensor:
    """Token by token, with the smoothed distribution written out."""
    total = features.new_zeros(())
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            log_probabilities = torch.log_softmax(head.weight @ features[b, t] + head.bias, dim=0)
            wanted = torch.full_like(log_probabilities, smoothing / 19)
            wanted[labels[b, t]] += 1.0 - smoothing
            total = total - (wanted * log_probabilities).sum()
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sum_and_gradients_equal_the_formula(smoothing: float) -> None:
    features, head, labels = example()
    total, num_tokens = CrossEntropy(label_smoothing=smoothing)(features, head, labels)
    tensors = [features, head.weight, head.bias]
    gradients = torch.autograd.grad(total, tensors)
    expected = plain_formula(features, head, labels, smoothing)
    expected_gradients = torch.autograd.grad(expected, tensors)

    assert total.dtype == torch.float32
    assert num_tokens.item() == NUM_TOKENS
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
    for ours, formula in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-4, atol=1e-6)


def test_padding_contributes_nothing() -> None:
    features, head, labels = example()
    loss = CrossEntropy(label_smoothing=0.1)
    total, num_tokens = loss(features, head, labels)
    features_gradient = torch.autograd.grad(total, features)[0]
    other = features.detach().clone()
    other[1, LENGTHS[1] :] = float("nan")
    total_with_other_padding, _ = loss(other, head, labels)
    apart = [loss(features[b : b + 1, :length], head, labels[b : b + 1, :length]) for b, length in enumerate(LENGTHS)]

    assert total_with_other_padding.item() == total.item()
    assert features_gradient[1, LENGTHS[1] :].abs().max() == 0.0
    assert sum(part.item() for part, _ in apart) == pytest.approx(total.item(), rel=1e-5)
    assert sum(number.item() for _, number in apart) == num_tokens.item()


@pytest.mark.parametrize("chunk", [1, 4, 512])
def test_what_is_measured_equals_the_formula(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setitem(loss_module.CHUNK, "cpu", chunk)
    features, head, labels = example()
    features.requires_grad_(False)
    with torch.no_grad():
        head.bias[Vocab.pad] = -1e3  # never the likeliest, since it is no label
    places = [(b, t) for b, length in enumerate(LENGTHS) for t in range(length)]
    logits = {place: head.weight @ features[place] + head.bias for place in places}
    for place in places[::3]:
        labels[place] = logits[place].argmax()
    with torch.inference_mode():
        total, hits = measured(features, head, labels)
    torch.testing.assert_close(total.double(), plain_formula(features, head, labels, 0.0), rtol=1e-5, atol=0)
    assert hits.item() == sum(int(logits[place].argmax() == labels[place]) for place in places)
    assert 4 <= hits.item() < NUM_TOKENS


def test_nothing_is_measured_of_padding_alone() -> None:
    features, head, labels = example()
    total, hits = measured(features.detach(), head, torch.zeros_like(labels))
    assert (total.item(), hits.item()) == (0.0, 0)


def test_the_head_never_sees_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    features, head, labels = example()
    seen: list[int] = []
    linear = functional.linear
    monkeypatch.setattr(functional, "linear", lambda x, weight: seen.append(x.shape[0]) or linear(x, weight))
    CrossEntropy()(features, head, labels)
    assert sum(seen) == NUM_TOKENS


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    features, head, labels = example()
    wanted = CrossEntropy(label_smoothing=0.1)(features, head, labels)[0]
    with torch.no_grad():
        total = CrossEntropy(label_smoothing=0.1)(features, head, labels)[0]
    assert total.item() == wanted.item()
    assert not total.requires_grad
    head.requires_grad_(False)
    CrossEntropy(label_smoothing=0.1)(features, head, labels)[0].backward()
    assert features.grad is not None
    assert head.weight.grad is head.bias.grad is None


def test_a_second_backward_gives_the_same_gradient() -> None:
    features, head, labels = example()
    total, _ = CrossEntropy(label_smoothing=0.1)(features, head, labels)
    first, second = (torch.autograd.grad(3 * total, features, retain_graph=True)[0] for _ in range(2))
    assert first.abs().max() > 0
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_chunks_change_nothing() -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(3, 600, 12, generator=generator, requires_grad=True)
    head = nn.Linear(12, 19, bias=False)
    labels = torch.randint(1, 19, (3, 600), generator=generator)
    total, num_tokens = CrossEntropy()(features, head, labels)
    log_probabilities = torch.log_softmax(features @ head.weight.T, dim=-1)
    expected = -log_probabilities.gather(2, labels[:, :, None]).sum()

    assert num_tokens.item() == 1800
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(total, head.weight)[0], torch.autograd.grad(expected, head.weight)[0], rtol=1e-4, atol=1e-3
    )


def test_bf16_autocast_sums_in_float32() -> None:
    """4000 tokens of about 3 nats: a sum in bf16, with its 8 bits, would be wrong by far more than 0.2 %."""
    generator = torch.Generator().manual_seed(7)
    features = torch.randn(4, 1000, 12, generator=generator)
    head = nn.Linear(12, 19)
    labels = torch.randint(1, 19, (4, 1000), generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = CrossEntropy()(features, head, labels)
    expected = -torch.log_softmax(head(features), dim=-1).gather(2, labels[:, :, None]).sum()

    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(expected.item(), rel=2e-3)


def test_bf16_gradients_of_chunks_are_added_in_float32() -> None:
    generator = torch.Generator().manual_seed(11)
    features = torch.randn(16, 1000, 12, generator=generator)
    head = nn.Linear(12, 19)
    labels = torch.randint(1, 19, (16, 1000), generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, num_tokens = CrossEntropy()(features, head, labels)
        (total / num_tokens).backward()
    exact = -torch.log_softmax(head(features), dim=-1).gather(2, labels[:, :, None]).sum() / 16000
    gradient = torch.autograd.grad(exact, head.bias)[0]

    assert head.bias.grad is not None
    assert (head.bias.grad - gradient).norm() < 4e-3 * gradient.norm()


def test_a_batch_of_padding_is_zero() -> None:
    features, head, _ = example()
    total, num_tokens = CrossEntropy()(features, head, torch.full((2, 7), Vocab.pad))
    total.backward()
    assert total.item() == 0.0
    assert num_tokens.item() == 0
    assert features.grad is not None
    assert features.grad.abs().max() == 0.0


def test_registered() -> None:
    assert losses.components == {"cross_entropy": CrossEntropy}
