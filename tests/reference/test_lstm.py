"""Our LSTM encoder, which reverses rows by an index, against torch.nn.LSTM with packed sequences."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.text.vocab import Vocab

B, S, D = 3, 7, 12
LENGTHS = torch.tensor([4, 7, 1])
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))


def copy(theirs: nn.LSTM, ours: LSTMEncoder) -> None:
    directions = [("ahead", ""), ("back", "_reverse")] if theirs.bidirectional else [("ahead", "")]
    for i, layer in enumerate(ours.layers):
        for direction, suffix in directions:
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = {f"{kind}_l0": getattr(theirs, f"{kind}_l{i}{suffix}") for kind in kinds}
            getattr(layer, direction).load_state_dict(weights)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_padded_rows_equal_packed_ones(bidirectional: bool) -> None:
    torch.manual_seed(2)
    ours = LSTMEncoder(VOCAB, d_model=D, num_layers=2, bidirectional=bidirectional)
    hidden = D // 2 if bidirectional else D
    theirs = nn.LSTM(D, hidden, num_layers=2, batch_first=True, bidirectional=bidirectional)
    copy(theirs, ours)
    tokens, mask = torch.randint(4, len(VOCAB), (B, S)), torch.arange(S) < LENGTHS[:, None]

    embedded = nn.functional.embedding(tokens, ours.embedding.weight)
    packed = pack_padded_sequence(embedded, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, (last, _) = theirs(packed)
    states, _ = pad_packed_sequence(outputs, batch_first=True)
    final = torch.cat((last[-2], last[-1]), dim=1) if bidirectional else last[-1]

    memory = ours(tokens, mask)
    torch.testing.assert_close(memory.states, states, atol=1e-6, rtol=1e-5)  # both are zero at padding
    torch.testing.assert_close(memory.final, final, atol=1e-6, rtol=1e-5)

    ours_gradient = torch.autograd.grad(memory.states.square().sum() + memory.final.sum(), ours.embedding.weight)
    theirs_gradient = torch.autograd.grad(states.square().sum() + final.sum(), ours.embedding.weight)
    torch.testing.assert_close(ours_gradient, theirs_gradient, atol=1e-5, rtol=1e-4)
