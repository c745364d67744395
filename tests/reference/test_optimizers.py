"""Muon and Adafactor against the equations of their papers, written out in float64."""

import math

import pytest
import torch
from torch import Tensor, nn

from seq2seq.training.optimizers import Adafactor, Muon

STEPS = 4


def gradients(shape: tuple[int, ...], scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(STEPS)]


def orthogonalized(matrix: Tensor) -> Tensor:
    """Five Newton-Schulz steps of the quintic a X + b (X X^T) X + c (X X^T)^2 X (Jordan et al., 2024)."""
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x


def muon(weight: Tensor, steps: list[Tensor], lr: float, momentum: float, decay: float) -> Tensor:
    """Nesterov momentum over a sum of gradients; an update's root mean square is that of Liu et al. (2025), eq. 4."""
    total = torch.zeros_like(weight)
    for gradient in steps:
        total = momentum * total + gradient
        update = orthogonalized(gradient + momentum * total)
        weight = weight - lr * (0.2 * math.sqrt(max(weight.shape)) * update + decay * weight)
    return weight


@pytest.mark.parametrize(
    ("name", "shape", "rows"),
    [
        ("inner.weight", (24, 8), [24]),
        ("outer.weight", (8, 24), [8]),
        ("attention.qkv.weight", (20, 12), [12, 4, 4]),
        ("cross_attention.key_value.weight", (18, 12), [9, 9]),
        ("weight_hh_l0", (28, 7), [7, 7, 7, 7]),
    ],
)
def test_muon(name: str, shape: tuple[int, int], rows: list[int]) -> None:
    """torch makes the Newton-Schulz steps in bfloat16, of which each matrix has 8 bits."""
    lr, momentum, decay = 0.02, 0.9, 0.5
    torch.manual_seed(3)
    start, steps = torch.randn(shape, dtype=torch.float64), gradients(shape)
    weight = nn.Parameter(start.float())
    optimizer = Muon([(name, weight)], lr=lr, momentum=momentum, weight_decay=decay)
    for gradient in steps:
        weight.grad = gradient.float()
        optimizer.step()
    parts = zip(start.split(rows), *(gradient.split(rows) for gradient in steps), strict=True)
    expected = torch.cat([muon(part, list(of_part), lr, momentum, decay) for part, *of_part in parts])
    error = (weight.detach().double() - expected).norm() / (expected - start).norm()
    assert error < 0.02


def adafactor(weight: Tensor, steps: list[Tensor], lr: float) -> Tensor:
    """Algorithms 4 (a matrix) and 5 (a vector), with the hyperparameters of section 9."""
    row, column, mean = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    for t, gradient in enumerate(steps, 1):
        beta = 1 - t**-0.8
        square = gradient**2 + 1e-30
        if weight.dim() == 2:
            row = beta * row + (1 - beta) * square.sum(dim=1)
            column = beta * column + (1 - beta) * square.sum(dim=0)
            mean = torch.outer(row, column) / row.sum()
        else:
            mean = beta * mean + (1 - beta) * square
        update = gradient / mean.sqrt()
        update = update / max(1.0, update.square().mean().sqrt().item())
        size = max(1e-3, weight.square().mean().sqrt().item())
        weight = weight - size * min(lr, t**-0.5) * update
    return weight


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("shape", [(6, 11), (5,)], ids=["matrix", "vector"])
@pytest.mark.parametrize(("lr", "start"), [(0.01, 1.0), (0.8, 1.0), (0.01, 0.0)])
def test_adafactor(shape: tuple[int, ...], scale: float, lr: float, start: float) -> None:
    torch.manual_seed(3)
    begin, steps = start * torch.randn(shape, dtype=torch.float64), gradients(shape, scale)
    weight = nn.Parameter(begin.float())
    optimizer = Adafactor([("weight", weight)], lr=lr)
    for gradient in steps:
        weight.grad = gradient.float()
        optimizer.step()
    torch.testing.assert_close(weight.detach().double(), adafactor(begin, steps, lr), rtol=1e-4, atol=1e-6 * start)
