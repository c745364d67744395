import pytest
import torch

from seq2seq.nn.positions import NoPositions, SinusoidalPositions, make_positions

B, T, D = 2, 7, 12


def test_any_length_in_any_order() -> None:
    """A table that was grown twice, one that was made at once, and one asked for a single column agree."""
    grown, once = SinusoidalPositions(D), SinusoidalPositions(D)
    for length in (3, 4, 50, T):
        grown(torch.zeros(B, length, D))
    x = torch.randn(B, 50, D)
    assert torch.equal(grown(x), once(x))
    assert torch.equal(SinusoidalPositions(D)(x[:, 41:42], start=41), once(x)[:, 41:42])


def test_the_table_is_made_rarely() -> None:
    layer = SinusoidalPositions(D)
    tables = set()
    for position in range(100):
        layer(torch.zeros(B, 1, D), start=position)
        tables.add(id(layer.table))
    assert len(tables) <= 9


def test_nothing_is_stored() -> None:
    layer = SinusoidalPositions(D)
    layer(torch.zeros(B, T, D))
    assert not layer.state_dict()
    assert not list(layer.buffers())


def test_a_table_from_inference_serves_training() -> None:
    layer = SinusoidalPositions(D)
    with torch.inference_mode():
        layer(torch.zeros(B, T, D))
    x = torch.randn(B, T, D, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None


def test_keeps_the_type_of_its_input() -> None:
    assert SinusoidalPositions(D)(torch.zeros(B, T, D, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_odd_width() -> None:
    with pytest.raises(ValueError, match="need an even d_model, for example 14, not 13"):
        SinusoidalPositions(13)


def test_none() -> None:
    x = torch.randn(B, T, D)
    assert isinstance(make_positions("sinusoidal", D), SinusoidalPositions)
    assert isinstance(make_positions("none", D), NoPositions)
    assert torch.equal(NoPositions()(x, start=3), x)
