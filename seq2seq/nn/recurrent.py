"""Recurrent layers over padded rows.

B rows, S length, I input width, D output width. Padding is at the right.
"""

import torch
from torch import Tensor, nn


def lstm(input_dim: int, hidden_dim: int, num_layers: int = 1, dropout: float = 0.0) -> nn.LSTM:
    """The fused LSTM, batch first, with dropout between its layers. The forget gates begin open, at a bias of 1."""
    between = dropout if num_layers > 1 else 0.0
    layers = nn.LSTM(input_dim, hidden_dim, num_layers, dropout=between, batch_first=True)
    with torch.no_grad():
        for name, parameter in layers.named_parameters():
            if name.startswith("bias_"):  # two biases are added; gates are input, forget, cell, output
                parameter[hidden_dim : 2 * hidden_dim].fill_(1.0 if name.startswith("bias_ih") else 0.0)
    return layers


def reversal(mask: Tensor) -> Tensor:
    """mask (B,S) -> (B*S,): for each place the place that it changes with where each row's real part is reversed.

    In terms of (B,S) flattened; padding stays where it is. The index is its own inverse.
    """
    columns = torch.arange(mask.size(1), device=mask.device)
    mirrored = mask.sum(dim=1, keepdim=True) - 1 - columns  # (B,S)
    rows = torch.arange(mask.size(0), device=mask.device)[:, None]
    return (rows * mask.size(1) + torch.where(mask, mirrored, columns)).flatten()


class RecurrentLayer(nn.Module):
    """One layer in one direction or both; the outputs of both are side by side. Padding changes nothing.

    The rows of the backward direction are reversed by an index, not packed: packing needs the lengths on the host.
    """

    def __init__(self, ahead: nn.Module, back: nn.Module | None = None) -> None:
        """ahead, back: modules such as nn.LSTM with batch_first."""
        super().__init__()
        self.ahead = ahead
        self.back = back

    def forward(self, x: Tensor, reverse: Tensor | None = None) -> Tensor:
        """x (B,S,I), reverse (B*S,) from `reversal` where there are two directions -> (B,S,D)."""
        ahead: Tensor = self.ahead(x)[0]
        if self.back is None or reverse is None:
            return ahead
        back: Tensor = self.back(permute(x, reverse))[0]
        return torch.cat((ahead, permute(back, reverse)), dim=2)


def permute(x: Tensor, places: Tensor) -> Tensor:
    """x (B,S,I), places (B*S,) -> (B,S,I)."""
    return x.flatten(0, 1).index_select(0, places).view_as(x)
