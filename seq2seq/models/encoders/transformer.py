"""The Transformer encoder.

B sources, S source length, D width.
"""

from math import sqrt

from torch import Tensor, nn

from seq2seq.models.base import Encoder, Memory, encoders
from seq2seq.nn.attention import attendable
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.positions import Positions, make_positions
from seq2seq.nn.transformer import Activation, LayerOptions, Norm, TransformerEncoderLayer
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@encoders.register("transformer")
class TransformerEncoder(Encoder):
    """A stack of self-attention layers (Vaswani et al., 2017). Its summary of the source is the mean of the states.

    Options:
        d_model: width of the embeddings and of every layer
        num_layers: number of layers
        num_heads: attention heads of a layer; must divide d_model
        d_ff: inner width of the feed-forward sublayers
        norm: where layers normalise: post, as in the paper, or pre, easier to train when deep
        activation: inside the feed-forward sublayers: relu or gelu
        positions: what is added to the embeddings: sinusoidal, or none
        dropout: of the embeddings and of every sublayer's output
        attention_dropout: of the attention weights
        activation_dropout: after the activation in the feed-forward sublayers
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        d_model: PositiveInt = 512,
        num_layers: PositiveInt = 6,
        num_heads: PositiveInt = 8,
        d_ff: PositiveInt = 2048,
        norm: Norm = "post",
        activation: Activation = "relu",
        positions: Positions = "sinusoidal",
        dropout: Probability = 0.0,
        attention_dropout: Probability = 0.0,
        activation_dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        options = LayerOptions(
            d_model, num_heads, d_ff, norm, activation, dropout, attention_dropout, activation_dropout
        )
        self.output_dim = d_model
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad, scale=sqrt(d_model))
        self.positions = make_positions(positions, d_model)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerEncoderLayer(options) for _ in range(num_layers))
        self.norm = options.final_norm()

    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """tokens (B,S), mask (B,S) -> states (B,S,D), zero under False, and final (B,D)."""
        x = self.dropout(self.positions(self.embedding(tokens)))
        keys_mask = attendable(mask)
        for layer in self.layers:
            x = layer(x, keys_mask)
        states = self.norm(x).masked_fill(~mask[:, :, None], 0.0)
        lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return Memory(states, mask, final=states.sum(dim=1) / lengths)
