"""What the recurrent encoders share.

B sources, S source length, D width.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from seq2seq.models.base import Encoder, Memory
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.recurrent import Cell, Direction, RecurrentLayer, check_residual, reversal
from seq2seq.text.vocab import Vocab


class RecurrentEncoder(Encoder):
    """A stack of recurrent layers of any cell, in one direction or both; the named encoders state its options.

    Its summary of the source is what each direction holds after the last token that it reads: the last state of the
    forward and the first state of the backward direction.
    """

    def __init__(
        self,
        vocab: Vocab,
        cell: Cell,
        *,
        d_model: int,
        embedding_dim: int | None,
        num_layers: int,
        direction: Direction,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if direction == "both" and d_model % 2:
            raise ValueError(f"direction=both needs an even d_model, for example {d_model + 1}, not {d_model}")
        if residual:
            check_residual(num_layers)
        input_dim = embedding_dim or d_model
        self.output_dim = d_model
        self.ahead_dim = {"forward": d_model, "both": d_model // 2, "backward": 0}[direction]
        self.residual = residual
        self.embedding = TokenEmbedding(len(vocab), input_dim, vocab.pad, scale=sqrt(input_dim))
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, d_model if i else input_dim, d_model, direction) for i in range(num_layers)
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """tokens (B,S), mask (B,S) -> states (B,S,D), zero under False, and final (B,D)."""
        reverse = reversal(mask)
        x = self.embedding(tokens)
        for i, layer in enumerate(self.layers):
            output = layer(self.dropout(x), reverse)
            x = x + output if self.residual and i else output
        states = x.masked_fill(~mask[:, :, None], 0.0)
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        ahead = states[torch.arange(len(last), device=last.device), last, : self.ahead_dim]
        return Memory(states, mask, final=torch.cat((ahead, states[:, 0, self.ahead_dim :]), dim=1))
