"""Sinusoidal positions against the formula of Vaswani et al. (2017), section 3.5, in Python's own numbers."""

from math import cos, sin

import pytest
import torch

from seq2seq.nn.positions import SinusoidalPositions


@pytest.mark.parametrize("position", [0, 1, 6, 511, 12_345])
def test_formula(position: int) -> None:
    dim = 12
    row = SinusoidalPositions(dim)(torch.zeros(1, 1, dim), start=position)[0, 0]
    for i in range(dim // 2):
        angle = position / 10_000 ** (2 * i / dim)
        assert row[2 * i].item() == pytest.approx(sin(angle), abs=1e-6)
        assert row[2 * i + 1].item() == pytest.approx(cos(angle), abs=1e-6)
