"""The simple recurrent decoder."""

from typing import Literal

from seq2seq.models.base import decoders
from seq2seq.models.decoders.recurrent import Readout, RecurrentDecoder
from seq2seq.nn.source_attention import SourceAttentionKind
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@decoders.register("rnn")
class RNNDecoder(RecurrentDecoder):
    """Simple recurrent layers (Elman, 1990), h_t = f(W_hh h_{t-1} + W_xh x_t + b_h), with attention to the source.

    Options:
        d_model: width of every layer
        embedding_dim: width of the embeddings; null means d_model
        num_layers: number of layers
        activation: of the hidden state: tanh or relu
        attention: none, additive, dot (needs the encoder's width), general, concat or multi_head
        num_heads: of attention=multi_head; must divide d_model
        context_input: whether each step reads the context; slower, unless attention=none
        input_feeding: whether each step also reads the features of the one before; slower
        readout: context and state to features: tanh, or maxout, half as wide as d_model
        residual: whether layers add their input to their output, from the second on
        dropout: of the embeddings, between layers, and of the features
    """

    def __init__(
        self,
        vocab: Vocab,
        memory_dim: int,
        *,
        d_model: PositiveInt = 512,
        embedding_dim: PositiveInt | None = None,
        num_layers: PositiveInt = 1,
        activation: Literal["tanh", "relu"] = "tanh",
        attention: SourceAttentionKind = "general",
        num_heads: PositiveInt = 8,
        context_input: bool = False,
        input_feeding: bool = False,
        readout: Readout = "tanh",
        residual: bool = False,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__(
            vocab,
            memory_dim,
            activation,
            d_model=d_model,
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            attention=attention,
            num_heads=num_heads,
            context_input=context_input,
            input_feeding=input_feeding,
            readout=readout,
            residual=residual,
            dropout=dropout,
        )
