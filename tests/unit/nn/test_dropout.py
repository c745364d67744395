import math

import pytest
import torch

from seq2seq.nn import dropout as module
from seq2seq.nn.dropout import Dropout, dropout, kept_lanes

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.97])
def test_each_element_is_dropped_with_the_probability_and_the_mean_stays(
    dtype: torch.dtype, probability: float
) -> None:
    torch.manual_seed(1)
    x = torch.ones(300, 701, dtype=dtype)
    y = dropout(x, probability)
    deviation = math.sqrt(probability * (1 - probability) / x.numel())
    assert abs((y == 0).double().mean().item() - probability) < 4 * deviation
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - probability)), rtol=4e-3, atol=0)
    for line in (y[0], y[:, 0]):  # neither rows nor columns go together
        assert 0 < (line == 0).sum() < len(line)


def test_neighbours_and_masks_are_independent() -> None:
    torch.manual_seed(2)
    masks = torch.stack([dropout(torch.ones(100_000), 0.5) != 0 for _ in range(6)]).double() - 0.5
    bound = 4 * 0.25 / math.sqrt(100_000)  # four deviations of the mean of as many independent products
    for shift in (1, 2, 3, 4, 64):
        assert (masks[:, shift:] * masks[:, :-shift]).mean(dim=1).abs().max() < bound
    for i in range(6):
        for j in range(i):
            assert (masks[i] * masks[j]).mean().abs() < bound


def test_a_seed_gives_the_masks_again() -> None:
    x = torch.ones(7, 5)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    state = torch.get_rng_state()
    third = dropout(x, 0.5)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x, 0.5), third)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)


def test_the_gradient_passes_where_the_input_did() -> None:
    torch.manual_seed(4)
    x = torch.randn(11, 13, 17).transpose(0, 2).requires_grad_()
    y = dropout(x, 0.3)
    weights = torch.randn(y.shape)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    scale = torch.where(y == 0, 0.0, y / x).detach()
    torch.testing.assert_close(gradient, weights * scale)


def test_masks_longer_than_the_pool() -> None:
    torch.manual_seed(5)
    lanes, _ = kept_lanes(5 * module.STRETCH + 3, torch.int64, 0.5)
    parts = lanes.split(module.STRETCH)
    assert len(parts) == 6
    assert not any(torch.equal(part, parts[0]) for part in parts[1:])
    assert abs((lanes != 0).double().mean().item() - 0.5) < 1e-3


def test_only_in_training() -> None:
    layer, x = Dropout(0.5), torch.randn(5, 7)
    assert not torch.equal(layer(x), x)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(5, 7))


def test_no_words_of_another_probability() -> None:
    """The one number besides the mask is what makes up for what is dropped."""
    for dtype, probability in ((torch.int16, 0.9), (torch.int32, 0.9), (torch.int16, 1e-9)):
        assert kept_lanes(3, dtype, probability)[1] == pytest.approx(1 / max(probability, 2**-15), rel=1e-3)
