"""Recurrent layers over padded rows.

B sources, N hypotheses (B x beam) or, in training, N = B; S source length, T target length, I input width, D output
width, L layers. Padding is at the right.

The state of a cell is a tuple of tensors: hidden, and for an LSTM also what the cell holds.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from seq2seq.nn.dropout import Dropout

Cell = Literal["tanh", "relu", "lstm", "gru"]
Direction = Literal["forward", "backward", "both"]


def recurrence(
    cell: Cell, input_dim: int, hidden_dim: int, num_layers: int = 1, dropout: float = 0.0
) -> nn.RNN | nn.LSTM | nn.GRU:
    """Torch's fused layers of this cell, batch first, with dropout between them."""
    between = dropout if num_layers > 1 else 0.0
    if cell == "lstm":
        layers = nn.LSTM(input_dim, hidden_dim, num_layers, dropout=between, batch_first=True)
        _open_forget_gates(layers)
        return layers
    if cell == "gru":
        return nn.GRU(input_dim, hidden_dim, num_layers, dropout=between, batch_first=True)
    return nn.RNN(input_dim, hidden_dim, num_layers, nonlinearity=cell, dropout=between, batch_first=True)


@torch.no_grad()
def _open_forget_gates(layers: nn.LSTM) -> None:
    """Their bias becomes 1. Two biases are added; each holds those of the gates input, forget, cell, output."""
    for name, parameter in layers.named_parameters():
        if name.startswith("bias_"):
            parameter[layers.hidden_size : 2 * layers.hidden_size].fill_(1.0 if name.startswith("bias_ih") else 0.0)


def num_states(cell: Cell) -> int:
    """How many tensors its state is."""
    return 2 if cell == "lstm" else 1


def check_residual(num_layers: int) -> None:
    """Raises ValueError where residual connections would have nothing to connect."""
    if num_layers < 2:
        raise ValueError("residual adds each layer's input to its output from the second layer on: set num_layers=2")


def reversal(mask: Tensor) -> Tensor:
    """mask (B,S) -> (B*S,): for each place the place that it changes with where each row's real part is reversed.

    In terms of (B,S) flattened; padding stays where it is. The index is its own inverse.
    """
    columns = torch.arange(mask.size(1), device=mask.device)
    mirrored = mask.sum(dim=1, keepdim=True) - 1 - columns  # (B,S)
    rows = torch.arange(mask.size(0), device=mask.device)[:, None]
    return (rows * mask.size(1) + torch.where(mask, mirrored, columns)).flatten()


def permute(x: Tensor, places: Tensor) -> Tensor:
    """x (B,S,I), places (B*S,) -> (B,S,I)."""
    return x.flatten(0, 1).index_select(0, places).view_as(x)


class RecurrentLayer(nn.Module):
    """One layer in one direction or both; the outputs of both are side by side. Padding changes nothing.

    In any direction the outputs stand where the inputs stand. The rows of the backward direction are reversed by an
    index, not packed: packing needs the lengths on the host.
    """

    def __init__(self, cell: Cell, input_dim: int, output_dim: int, direction: Direction) -> None:
        super().__init__()
        hidden_dim = output_dim // 2 if direction == "both" else output_dim
        self.ahead = recurrence(cell, input_dim, hidden_dim) if direction != "backward" else None
        self.back = recurrence(cell, input_dim, hidden_dim) if direction != "forward" else None

    def forward(self, x: Tensor, reverse: Tensor) -> Tensor:
        """x (B,S,I), reverse (B*S,) from `reversal`, which the forward direction does not need -> (B,S,D)."""
        outputs = [] if self.ahead is None else [self.ahead(x)[0]]
        if self.back is not None:
            outputs.append(permute(self.back(permute(x, reverse))[0], reverse))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


class RecurrentStack(nn.Module):
    """Layers in one direction, from a given state on.

    All of them are one call of the fused recurrence; with `residual` each is one, and from the second on a layer's
    input is added to its output.
    """

    def __init__(
        self, cell: Cell, input_dim: int, hidden_dim: int, num_layers: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        if residual:
            check_residual(num_layers)
        self.num_layers = num_layers
        self.num_states = num_states(cell)
        self.hidden_dim = hidden_dim
        self.residual = residual
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            recurrence(cell, hidden_dim if i else input_dim, hidden_dim, 1 if residual else num_layers, dropout)
            for i in range(num_layers if residual else 1)
        )

    def forward(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x (N,T,I), states, each (N,L,D) -> outputs (N,T,D) and the states after the last column."""
        before = [state.transpose(0, 1).contiguous() for state in states]  # (N,L,D) -> (L,N,D)
        after = []
        for i, layer in enumerate(self.layers):
            own = tuple(state[i : i + 1] if self.residual else state for state in before)
            output, changed = layer(self.dropout(x) if i else x, own if self.num_states == 2 else own[0])
            x = x + output if i else output
            after.append(changed if self.num_states == 2 else (changed,))
        return x, tuple(torch.cat(parts).transpose(0, 1) for parts in zip(*after, strict=True))
