"""The simple recurrent encoder."""

from typing import Literal

from seq2seq.models.base import encoders
from seq2seq.models.encoders.recurrent import RecurrentEncoder
from seq2seq.nn.recurrent import Direction
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@encoders.register("rnn")
class RNNEncoder(RecurrentEncoder):
    """A stack of simple recurrent layers (Elman, 1990): h_t = f(W_hh h_{t-1} + W_xh x_t + b_h).

    Options:
        d_model: width of every layer; half per direction with direction=both
        embedding_dim: width of the embeddings; null means d_model
        num_layers: number of layers
        activation: of the hidden state: tanh or relu
        direction: in which every layer reads the source: forward, backward (from its end) or both
        residual: whether layers add their input to their output, from the second on
        dropout: of the embeddings and between layers
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        d_model: PositiveInt = 512,
        embedding_dim: PositiveInt | None = None,
        num_layers: PositiveInt = 1,
        activation: Literal["tanh", "relu"] = "tanh",
        direction: Direction = "both",
        residual: bool = False,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__(
            vocab,
            activation,
            d_model=d_model,
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            direction=direction,
            residual=residual,
            dropout=dropout,
        )
