import pytest
import torch

from seq2seq.nn.recurrent import lstm, permute, reversal

B, S, D = 3, 5, 12


def test_reversal_mirrors_the_real_part_of_each_row() -> None:
    mask = torch.arange(S) < torch.tensor([[5], [2], [0]])
    x = torch.arange(B * S).view(B, S, 1)
    mirrored = permute(x, reversal(mask))
    assert mirrored[..., 0].tolist() == [[4, 3, 2, 1, 0], [6, 5, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert torch.equal(permute(mirrored, reversal(mask)), x)


def test_forget_gates_begin_open() -> None:
    """A cell keeps sigmoid(1) of what it holds where the input says nothing."""
    layers = lstm(4, D, num_layers=2)
    for i in range(2):
        total = getattr(layers, f"bias_ih_l{i}") + getattr(layers, f"bias_hh_l{i}")
        assert torch.equal(total[D : 2 * D], torch.ones(D))
        assert total[:D].std() > 0


@pytest.mark.parametrize("num_layers", [1, 2])
def test_dropout_is_between_layers(num_layers: int) -> None:
    torch.manual_seed(1)
    layers = lstm(4, D, num_layers, dropout=0.5)
    x = torch.randn(B, S, 4)
    assert torch.equal(layers(x)[0], layers(x)[0]) == (num_layers == 1)
