"""The LSTM encoder.

B sources, S source length, D width.
"""

import torch
from torch import Tensor, nn

from seq2seq.models.base import Encoder, Memory, encoders
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.recurrent import RecurrentLayer, lstm, reversal
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@encoders.register("lstm")
class LSTMEncoder(Encoder):
    """A stack of LSTM layers (Hochreiter and Schmidhuber, 1997), in one direction or both.

    Its summary of the source is the last state of the forward and the first state of the backward direction.

    Options:
        d_model: width of the embeddings and of every layer; half per direction if bidirectional
        num_layers: number of layers
        bidirectional: whether every layer also reads the source from its end
        dropout: of the embeddings and between layers
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        d_model: PositiveInt = 512,
        num_layers: PositiveInt = 1,
        bidirectional: bool = True,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if bidirectional and d_model % 2:
            raise ValueError(f"bidirectional needs an even d_model, for example {d_model + 1}, not {d_model}")
        self.output_dim = d_model
        self.ahead_dim = d_model // 2 if bidirectional else d_model
        self.bidirectional = bidirectional
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            RecurrentLayer(lstm(d_model, self.ahead_dim), lstm(d_model, self.ahead_dim) if bidirectional else None)
            for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """tokens (B,S), mask (B,S) -> states (B,S,D), zero under False, and final (B,D)."""
        reverse = reversal(mask) if self.bidirectional else None
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(self.dropout(x), reverse)
        states = x.masked_fill(~mask[:, :, None], 0.0)
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        ahead = states[torch.arange(len(last), device=last.device), last, : self.ahead_dim]
        return Memory(states, mask, final=torch.cat((ahead, states[:, 0, self.ahead_dim :]), dim=1))
