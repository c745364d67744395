"""Whole-number linear layers against the exact product, with the largest error that their rounding allows."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from seq2seq.nn.int8 import Int8Linear, int8_copy, is_supported

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not is_supported(CPU), reason="x86 only")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


def largest_error(x: Tensor, weight: Tensor) -> Tensor:
    """Of x W^T where x is rounded to steps of a 127th of each row's largest value and the weight to a 63rd."""
    x, weight = x.double(), weight.double()
    of_x = (x.abs().amax(-1, keepdim=True) / 127 / 2).expand_as(x)
    of_weight = (weight.abs().amax(-1, keepdim=True) / 63 / 2).expand_as(weight)
    return of_x @ weight.abs().T + x.abs() @ of_weight.T + of_x @ of_weight.T


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 96), (7, 96), (2, 3, 96), (96,), (0, 96)])
def test_nothing_but_rounding_differs(shape: tuple[int, ...], bias: bool) -> None:
    linear = nn.Linear(96, 40, bias=bias)
    with torch.no_grad():
        linear.weight.mul_(torch.logspace(-3, 3, 40)[:, None])
        x = torch.randn(shape) * torch.logspace(-2, 2, 96)
        found = Int8Linear(linear)(x)
        exact = nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double() if bias else None)
        assert found.shape == exact.shape
        assert found.dtype == torch.float32
        assert bool(((found - exact).abs() <= largest_error(x, linear.weight) + 1e-5 * exact.abs() + 1e-5).all())


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_one_sign_are_not_cut_off(sign: int) -> None:
    """Two products of bytes, 2 x 255 x 127, do not fit into the 16 bits in which some CPUs add them."""
    linear = nn.Linear(256, 32)
    with torch.no_grad():
        linear.weight.fill_(sign)
        linear.bias.zero_()
        assert torch.allclose(Int8Linear(linear)(torch.ones(3, 256)), torch.full((3, 32), 256.0 * sign))
        assert torch.allclose(Int8Linear(linear)(-torch.ones(3, 256)), torch.full((3, 32), -256.0 * sign))


def test_a_row_gives_the_same_beside_any_others() -> None:
    layer = Int8Linear(nn.Linear(64, 48))
    x = torch.randn(33, 64)
    with torch.no_grad():
        together = layer(x * torch.logspace(-3, 3, 33)[:, None])
        alone = torch.cat([layer(row[None] * scale) for row, scale in zip(x, torch.logspace(-3, 3, 33), strict=True)])
    assert torch.equal(together, alone)


def test_rows_of_nothing() -> None:
    linear = nn.Linear(64, 48)
    with torch.no_grad():
        linear.weight[5] = 0
        found = Int8Linear(linear)(torch.zeros(2, 64))
        assert torch.equal(found, linear.bias.expand(2, 48))
        assert torch.equal(Int8Linear(linear)(torch.randn(2, 64))[:, 5], linear.bias[5].expand(2))


class Some(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(512, 256)
        self.again = self.large
        self.normed = weight_norm(nn.Linear(512, 256))
        self.small = nn.Linear(256, 8)
        self.parts = nn.ModuleList([nn.Linear(256, 512)])

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.small(self.again(self.parts[0](self.large(x))) + self.normed(x))
        return found


def test_a_copy_shares_its_tensors_and_leaves_the_model_as_it_was() -> None:
    model = Some().eval()
    x = torch.randn(3, 512)
    with torch.no_grad():
        before = model(x)
        copied = int8_copy(model)
        assert torch.equal(model(x), before)
        found = copied(x)
    assert not torch.equal(found, before)
    assert torch.allclose(found, before, atol=0.05 * float(before.std()))
    kinds = {name: type(module) for name, module in copied.named_modules(remove_duplicate=False)}
    assert [name for name, kind in kinds.items() if kind is Int8Linear] == ["large", "again", "normed", "parts.0"]
    assert copied.large is copied.again
    assert kinds["small"] is nn.Linear
    ours = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    for name in ("large.weight", "large.bias", "parts.0.weight", "small.weight"):
        assert dict(copied.named_parameters())[name].data_ptr() == ours[name]
