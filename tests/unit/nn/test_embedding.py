import pytest
import torch

from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.linear import Linear


def test_embedding_starts_as_documented() -> None:
    torch.manual_seed(1)
    weight = TokenEmbedding(400, 64, pad=3).weight
    assert not weight[3].any()
    assert weight[4:].std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert weight[4:].mean().item() == pytest.approx(0, abs=0.01)


def test_embedding_scales_and_spares_the_pad_row() -> None:
    layer = TokenEmbedding(9, 4, pad=0, scale=2.0)
    tokens = torch.tensor([[5, 0], [7, 5]])
    vectors = layer(tokens)
    assert torch.equal(vectors, 2 * layer.weight[tokens])
    vectors.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[[0, 5, 7], 0].tolist() == [0, 4, 2]


def test_linear_starts_as_documented() -> None:
    torch.manual_seed(1)
    layer = Linear(300, 500)
    limit = (6 / 800) ** 0.5
    assert not layer.bias.any()
    assert 0.99 * limit < layer.weight.abs().max() <= limit
    assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert Linear(3, 5, bias=False).bias is None


def test_under_autocast_vectors_come_in_its_dtype_and_gradients_in_float32() -> None:
    layer = TokenEmbedding(5, 3, pad=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = layer(torch.tensor([[1] * 1000]))
    vectors.sum().backward()
    assert vectors.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad[1].tolist() == [1000.0] * 3  # a sum in bf16 would stop at 256
