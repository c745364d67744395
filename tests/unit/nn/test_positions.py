import pytest
import torch

from seq2seq.nn.positions import (
    AlibiPositions,
    AttentionPositions,
    BucketedPositions,
    LearnedPositions,
    NoPositions,
    RotaryPositions,
    SinusoidalPositions,
    make_attention_positions,
    make_positions,
)

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
        tables.add(layer.table.rows.data_ptr())
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


def test_learned_positions_end_with_the_last_one() -> None:
    torch.manual_seed(1)
    layer = LearnedPositions(D, max_positions=5)
    x = torch.randn(B, T, D)
    added = layer(x) - x
    torch.testing.assert_close(added[0, :5], layer.weight)
    torch.testing.assert_close(added[1, 5:], layer.weight[4].expand(2, D))
    torch.testing.assert_close(layer(x[:, :3], start=2) - x[:, :3], layer.weight[2:].expand(B, 3, D))
    torch.testing.assert_close(layer(x[:, :1], start=99) - x[:, :1], layer.weight[4].expand(B, 1, D))


def test_max_positions_belongs_to_learned_positions() -> None:
    assert make_positions("learned", D, 33).weight.shape == (33, D)
    assert make_positions("learned", D).weight.shape == (1024, D)
    with pytest.raises(ValueError, match="leave it null with positions=rotary"):
        make_positions("rotary", D, 33)


@pytest.mark.parametrize("kind", ["sinusoidal", "learned", "rotary", "alibi", "relative", "none"])
def test_positions_are_told_in_one_way(kind: str) -> None:
    """Either the embeddings or the scores know of them."""
    x, relative = torch.zeros(B, T, D), make_attention_positions(kind, D, 3, causal=True)
    added = bool(make_positions(kind, D)(x).any())
    rotation, bias = relative.rotation(x) is not None, relative.bias(x) is not None
    assert (added, rotation, bias) == (
        kind in ("sinusoidal", "learned"),
        kind == "rotary",
        kind in ("alibi", "relative"),
    )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", ["alibi", "relative"])
def test_the_row_of_the_newest_position(kind: str, causal: bool) -> None:
    torch.manual_seed(1)
    layer = make_attention_positions(kind, D, 3, causal)
    whole = layer.bias(torch.zeros(B, 150, D))
    assert whole.shape == (1, 3, 150, 150)
    for position in (0, 1, 17, 149):
        row = layer.bias(torch.zeros(B, 1, D), start=position)
        assert row.shape == (1, 3, 1, position + 1)
        torch.testing.assert_close(row, whole[:, :, position : position + 1, : position + 1])
    future = torch.ones(150, 150, dtype=torch.bool).triu(1)
    assert whole[:, :, future].isinf().all() == causal
    assert whole[:, :, ~future].isfinite().all()


@pytest.mark.parametrize("layer", [AlibiPositions(3, causal=True), BucketedPositions(D, 3, causal=False)])
def test_bias_has_the_type_of_attention(layer: AttentionPositions) -> None:
    assert layer.bias(torch.zeros(B, T, D, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.bias(torch.zeros(B, T, D)).dtype == torch.bfloat16
    assert layer.bias(torch.zeros(B, T, D)).dtype == torch.float32


@pytest.mark.parametrize("kind", ["rotary", "alibi", "relative"])
def test_attention_tables_from_inference_serve_training(kind: str) -> None:
    layer = make_attention_positions(kind, D, 3, causal=True)
    x = torch.zeros(B, T, D)
    with torch.inference_mode():
        layer.rotation(x), layer.bias(x)
    scores = torch.randn(B, 3, T, 2, requires_grad=True)
    seen = layer.rotation(x) if kind == "rotary" else layer.bias(x).exp()
    (scores.sum() * seen).sum().backward()
    assert scores.grad is not None


def test_rotary_needs_an_even_width_of_heads() -> None:
    with pytest.raises(ValueError, match="even width of each head, d_model / num_heads, not 3"):
        make_attention_positions("rotary", 12, 4, causal=True)


def test_rotation_of_a_later_column() -> None:
    layer, x = RotaryPositions(4), torch.zeros(B, T, D)
    assert torch.equal(layer.rotation(x[:, :1], start=5), RotaryPositions(4).rotation(x)[:, 5:6])
