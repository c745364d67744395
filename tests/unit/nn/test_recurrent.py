from typing import get_args

import pytest
import torch

from seq2seq.nn.recurrent import Cell, RecurrentStack, num_states, permute, recurrence, reversal

B, S, D = 3, 5, 12
every_cell = pytest.mark.parametrize("cell", get_args(Cell))


def test_reversal_mirrors_the_real_part_of_each_row() -> None:
    mask = torch.arange(S) < torch.tensor([[5], [2], [0]])
    x = torch.arange(B * S).view(B, S, 1)
    mirrored = permute(x, reversal(mask))
    assert mirrored[..., 0].tolist() == [[4, 3, 2, 1, 0], [6, 5, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert torch.equal(permute(mirrored, reversal(mask)), x)


def test_forget_gates_begin_open() -> None:
    """An LSTM's cell keeps sigmoid(1) of what it holds where the input says nothing."""
    layers = recurrence("lstm", 4, D, num_layers=2)
    for i in range(2):
        total = getattr(layers, f"bias_ih_l{i}") + getattr(layers, f"bias_hh_l{i}")
        assert torch.equal(total[D : 2 * D], torch.ones(D))
        assert total[:D].std() > 0


@every_cell
@pytest.mark.parametrize("num_layers", [1, 2])
def test_dropout_is_between_layers(cell: Cell, num_layers: int) -> None:
    torch.manual_seed(1)
    layers = recurrence(cell, 4, D, num_layers, dropout=0.5)
    x = torch.randn(B, S, 4)
    assert torch.equal(layers(x)[0], layers(x)[0]) == (num_layers == 1)


@every_cell
@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_a_stack_goes_on_from_its_states(cell: Cell, residual: bool) -> None:
    torch.manual_seed(1)
    stack = RecurrentStack(cell, 4, D, num_layers=3, dropout=0.0, residual=residual)
    x, first = torch.randn(B, S, 4), tuple(torch.randn(B, 3, D) for _ in range(num_states(cell)))
    whole, last = stack(x, first)
    begun, states = stack(x[:, :2], first)
    rest, states = stack(x[:, 2:], states)
    torch.testing.assert_close(torch.cat((begun, rest), dim=1), whole)
    torch.testing.assert_close(states, last)
    assert [state.shape for state in last] == [(B, 3, D)] * num_states(cell)


@pytest.mark.parametrize("residual", [False, True])
def test_a_stack_has_dropout_between_its_layers(residual: bool) -> None:
    torch.manual_seed(1)
    stack = RecurrentStack("gru", 4, D, num_layers=2, dropout=0.5, residual=residual)
    x, first = torch.randn(B, S, 4), (torch.zeros(B, 2, D),)
    assert not torch.equal(stack(x, first)[0], stack(x, first)[0])
    stack.eval()
    assert torch.equal(stack(x, first)[0], stack(x, first)[0])


@torch.no_grad()
def test_a_residual_stack_adds_from_the_second_layer_on() -> None:
    torch.manual_seed(1)
    stack = RecurrentStack("gru", 4, D, num_layers=2, dropout=0.0, residual=True)
    x, first = torch.randn(B, S, 4), torch.randn(B, 2, D)
    lower, _ = stack.layers[0](x, first[:, :1].transpose(0, 1).contiguous())
    upper, _ = stack.layers[1](lower, first[:, 1:].transpose(0, 1).contiguous())
    torch.testing.assert_close(stack(x, (first,))[0], lower + upper)


def test_one_layer_has_nothing_to_add() -> None:
    with pytest.raises(ValueError, match="from the second layer on: set num_layers=2"):
        RecurrentStack("gru", 4, D, num_layers=1, dropout=0.0, residual=True)
