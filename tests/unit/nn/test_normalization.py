import torch
from torch import nn

from seq2seq.nn.normalization import RMSNorm, make_norm

B, T, D = 2, 7, 12


def test_rms_norm_has_unit_mean_square_and_keeps_the_mean() -> None:
    x = 5 + 3 * torch.randn(B, T, D)
    y = RMSNorm(D)(x)
    torch.testing.assert_close(y.square().mean(dim=2), torch.ones(B, T))
    torch.testing.assert_close(y * x.square().mean(dim=2, keepdim=True).sqrt(), x)


def test_rms_norm_keeps_the_type_and_computes_in_float32() -> None:
    layer = RMSNorm(D)
    x = torch.full((B, T, D), 300.0, dtype=torch.float16)  # whose square float16 does not hold
    torch.testing.assert_close(layer(x), torch.ones_like(x))
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_kinds() -> None:
    assert isinstance(make_norm("layer", D), nn.LayerNorm)
    assert isinstance(make_norm("rms", D), RMSNorm)
