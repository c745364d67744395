"""Our recurrent encoders, which reverse rows by an index, against torch.nn's layers with packed sequences."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.models.encoders.gru import GRUEncoder
from seq2seq.models.encoders.recurrent import RecurrentEncoder
from seq2seq.models.encoders.rnn import RNNEncoder
from seq2seq.nn.recurrent import Direction
from seq2seq.text.vocab import Vocab

B, S, D, EMBEDDING = 3, 7, 12, 10
LENGTHS = torch.tensor([4, 7, 1])
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))
CELLS = {"tanh": (RNNEncoder, nn.RNN), "relu": (RNNEncoder, nn.RNN), "gru": (GRUEncoder, nn.GRU)}


def copy(theirs: nn.RNNBase, ours: RecurrentEncoder) -> None:
    for i, layer in enumerate(ours.layers):
        parts = [part for part in (layer.ahead, layer.back) if part is not None]
        for part, suffix in zip(parts, ("", "_reverse")[: 1 + theirs.bidirectional], strict=True):
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            part.load_state_dict({f"{kind}_l0": getattr(theirs, f"{kind}_l{i}{suffix}") for kind in kinds})


def mirrored(x: Tensor) -> Tensor:
    """x (B,S,...) with the real part of each row reversed."""
    rows = [torch.cat((row[:length].flip(0), row[length:])) for row, length in zip(x, LENGTHS.tolist(), strict=True)]
    return torch.stack(rows)


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("cell", CELLS)
def test_padded_rows_equal_packed_ones(cell: str, direction: Direction) -> None:
    torch.manual_seed(2)
    encoder, layers = CELLS[cell]
    activation = {"activation": cell} if encoder is RNNEncoder else {}
    nonlinearity = {"nonlinearity": cell} if encoder is RNNEncoder else {}
    ours = encoder(VOCAB, d_model=D, embedding_dim=EMBEDDING, num_layers=2, direction=direction, **activation)
    both = direction == "both"
    hidden = D // 2 if both else D
    theirs = layers(EMBEDDING, hidden, num_layers=2, batch_first=True, bidirectional=both, **nonlinearity)
    copy(theirs, ours)
    tokens, mask = torch.randint(4, len(VOCAB), (B, S)), torch.arange(S) < LENGTHS[:, None]

    embedded = nn.functional.embedding(tokens, ours.embedding.weight) * ours.embedding.embedding_dim**0.5
    read = mirrored(embedded) if direction == "backward" else embedded
    packed = pack_padded_sequence(read, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, last = theirs(packed)
    states, _ = pad_packed_sequence(outputs, batch_first=True)
    states = mirrored(states) if direction == "backward" else states
    final = torch.cat((last[-2], last[-1]), dim=1) if both else last[-1]

    memory = ours(tokens, mask)
    torch.testing.assert_close(memory.states, states, atol=1e-6, rtol=1e-5)  # both are zero at padding
    torch.testing.assert_close(memory.final, final, atol=1e-6, rtol=1e-5)

    ours_gradient = torch.autograd.grad(memory.states.square().sum() + memory.final.sum(), ours.embedding.weight)
    theirs_gradient = torch.autograd.grad(states.square().sum() + final.sum(), ours.embedding.weight)
    torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_simple_recurrence_is_the_equation() -> None:
    """h_t = f(W_hh h_{t-1} + W_xh x_t + b_h), one number after the other."""
    torch.manual_seed(2)
    ours = RNNEncoder(VOCAB, d_model=D, direction="forward", activation="relu")
    cell = ours.layers[0].ahead
    bias = cell.bias_ih_l0 + cell.bias_hh_l0
    tokens = torch.randint(4, len(VOCAB), (1, S))
    states = ours(tokens, torch.ones(1, S, dtype=torch.bool)).states[0]
    hidden = torch.zeros(D)
    for t in range(S):
        x = ours.embedding.weight[tokens[0, t]] * ours.embedding.embedding_dim**0.5
        hidden = torch.relu(torch.mv(cell.weight_hh_l0, hidden) + torch.mv(cell.weight_ih_l0, x) + bias)
        torch.testing.assert_close(states[t], hidden, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_residual_encoder() -> None:
    """From the second layer on, what a layer reads is added to what it gives."""
    torch.manual_seed(2)
    ours = GRUEncoder(VOCAB, d_model=D, embedding_dim=EMBEDDING, num_layers=3, direction="forward", residual=True)
    layers = [nn.GRU(EMBEDDING if i == 0 else D, D, batch_first=True) for i in range(3)]
    for theirs, mine in zip(layers, ours.layers, strict=True):
        mine.ahead.load_state_dict(theirs.state_dict())
    tokens = torch.randint(4, len(VOCAB), (B, S))
    first = layers[0](nn.functional.embedding(tokens, ours.embedding.weight) * ours.embedding.embedding_dim**0.5)[0]
    second = layers[1](first)[0] + first
    third = layers[2](second)[0] + second
    memory = ours(tokens, torch.ones(B, S, dtype=torch.bool))
    torch.testing.assert_close(memory.states, third)
    torch.testing.assert_close(memory.final, third[:, -1])
