"""Our LSTM encoder, which reverses rows by an index, against torch.nn.LSTM with packed sequences."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.nn.recurrent import Direction
from seq2seq.text.vocab import Vocab

B, S, D = 3, 7, 12
LENGTHS = torch.tensor([4, 7, 1])
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))


def copy(theirs: nn.LSTM, ours: LSTMEncoder) -> None:
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
def test_padded_rows_equal_packed_ones(direction: Direction) -> None:
    torch.manual_seed(2)
    ours = LSTMEncoder(VOCAB, d_model=D, num_layers=2, direction=direction)
    both = direction == "both"
    theirs = nn.LSTM(D, D // 2 if both else D, num_layers=2, batch_first=True, bidirectional=both)
    copy(theirs, ours)
    tokens, mask = torch.randint(4, len(VOCAB), (B, S)), torch.arange(S) < LENGTHS[:, None]

    embedded = nn.functional.embedding(tokens, ours.embedding.weight) * ours.embedding.embedding_dim**0.5
    read = mirrored(embedded) if direction == "backward" else embedded
    packed = pack_padded_sequence(read, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, (last, _) = theirs(packed)
    states, _ = pad_packed_sequence(outputs, batch_first=True)
    states = mirrored(states) if direction == "backward" else states
    final = torch.cat((last[-2], last[-1]), dim=1) if both else last[-1]

    memory = ours(tokens, mask)
    torch.testing.assert_close(memory.states, states, atol=1e-6, rtol=1e-5)  # both are zero at padding
    torch.testing.assert_close(memory.final, final, atol=1e-6, rtol=1e-5)

    ours_gradient = torch.autograd.grad(memory.states.square().sum() + memory.final.sum(), ours.embedding.weight)
    theirs_gradient = torch.autograd.grad(states.square().sum() + final.sum(), ours.embedding.weight)
    torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-5, rtol=1e-4)
