"""The Transformer encoder.

B sources, S source length, D width.
"""

from math import sqrt

from torch import Tensor, nn

from seq2seq.models.base import Encoder, Memory, encoders
from seq2seq.nn.attention import attendable
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.normalization import NormType
from seq2seq.nn.positions import Positions, make_attention_positions, make_positions
from seq2seq.nn.transformer import Activation, LayerOptions, Norm, TransformerEncoderLayer
from seq2seq.registry import NonNegativeInt, PositiveInt, Probability
from seq2seq.text.vocab import Vocab


@encoders.register("transformer")
class TransformerEncoder(Encoder):
    """A stack of self-attention layers (Vaswani et al., 2017). Its summary of the source is the mean of the states.

    Options:
        d_model: width of the embeddings and of every layer
        num_layers: number of layers
        num_heads: attention heads of a layer; must divide d_model
        num_kv_heads: heads of keys and values, a divisor of num_heads; null = num_heads
        qk_norm: whether the queries and keys of each head are normalised (RMS)
        d_ff: inner width of the feed-forward sublayers; 0 leaves them out
        activation: in the feed-forward sublayers: relu, gelu, silu or swiglu (gated)
        norm: where layers normalise: post, as in the paper, or pre, easier to train when deep
        norm_type: layer, or rms, which does not centre
        positions: sinusoidal, learned, rotary, alibi, relative (buckets as in T5), or none
        max_positions: size of the table of learned positions; null = 1024 there
        dropout: of the embeddings and of every sublayer's output
        attention_dropout: of the attention weights
        activation_dropout: after the activation in the feed-forward sublayers
        layer_drop: how often training leaves out a whole layer
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        d_model: PositiveInt = 512,
        num_layers: PositiveInt = 6,
        num_heads: PositiveInt = 8,
        num_kv_heads: PositiveInt | None = None,
        qk_norm: bool = False,
        d_ff: NonNegativeInt = 2048,
        activation: Activation = "relu",
        norm: Norm = "post",
        norm_type: NormType = "layer",
        positions: Positions = "sinusoidal",
        max_positions: PositiveInt | None = None,
        dropout: Probability = 0.0,
        attention_dropout: Probability = 0.0,
        activation_dropout: Probability = 0.0,
        layer_drop: Probability = 0.0,
    ) -> None:
        super().__init__()
        options = LayerOptions(
            d_model=d_model,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            qk_norm=qk_norm,
            d_ff=d_ff,
            activation=activation,
            norm=norm,
            norm_type=norm_type,
            dropout=dropout,
            attention_dropout=attention_dropout,
            activation_dropout=activation_dropout,
            layer_drop=layer_drop,
        )
        self.output_dim = d_model
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad, scale=sqrt(d_model))
        self.positions = make_positions(positions, d_model, max_positions)
        self.attention_positions = make_attention_positions(positions, d_model, num_heads, causal=False)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(TransformerEncoderLayer(options) for _ in range(num_layers))
        self.norm = options.final_norm()

    def forward(self, tokens: Tensor, mask: Tensor) -> Memory:
        """tokens (B,S), mask (B,S) -> states (B,S,D), zero under False, and final (B,D)."""
        x = self.dropout(self.positions(self.embedding(tokens)))
        bias, rotation = self.attention_positions.bias(x), self.attention_positions.rotation(x)
        keys_mask = attendable(mask)
        if bias is not None:
            keys_mask = bias.masked_fill(~keys_mask, float("-inf"))  # (1,H,S,S), (B,1,1,S) -> (B,H,S,S)
        for layer in self.layers:
            x = layer(x, keys_mask, rotation)
        states = self.norm(x).masked_fill(~mask[:, :, None], 0.0)
        lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return Memory(states, mask, final=states.sum(dim=1) / lengths)
