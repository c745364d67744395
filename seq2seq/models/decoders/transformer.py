"""The Transformer decoder.

B sources, W hypotheses of each, N = B x W; T target length, S source length; D width, V vocabulary, H heads,
K = D / H, G heads of keys and of values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn

from seq2seq.models.base import DecoderState, Memory, StackDecoder, decoders
from seq2seq.nn.attention import attendable
from seq2seq.nn.cache import KeyValueCache
from seq2seq.nn.dropout import Dropout
from seq2seq.nn.embedding import TokenEmbedding
from seq2seq.nn.linear import Linear
from seq2seq.nn.normalization import NormType
from seq2seq.nn.positions import Positions, attention_dtype, make_attention_positions, make_positions
from seq2seq.nn.transformer import Activation, CrossAttentionOrder, LayerOptions, Norm, TransformerDecoderLayer
from seq2seq.registry import NonNegativeInt, PositiveInt, Probability
from seq2seq.text.vocab import Vocab

SLOTS = 64  # of the cache at first; a beam of five fills them in some ten steps


@dataclass(frozen=True)
class TransformerDecoderState(DecoderState):
    """cache: of the hypotheses. memory: for each layer the keys and values of the sources (B,G,2,S,K), mask (B,1,1,S).

    Without a source there is no memory, and the prompts, padded at the left, are in the cache; padding: (B,), how far.
    """

    cache: KeyValueCache
    memory: tuple[Tensor | None, ...]
    mask: Tensor | None = None
    padding: Tensor | None = None

    def select(self, sources: Tensor) -> TransformerDecoderState:
        memory = tuple(rows_of(heads, sources) for heads in self.memory)
        mask, padding = rows_of(self.mask, sources), rows_of(self.padding, sources)
        return TransformerDecoderState(self.cache.select(sources), memory, mask, padding)

    def reorder(self, hypotheses: Tensor) -> TransformerDecoderState:
        return replace(self, cache=self.cache.reorder(hypotheses))


def rows_of(x: Tensor | None, sources: Tensor) -> Tensor | None:
    return None if x is None else x.index_select(0, sources)


@decoders.register("transformer")
class TransformerDecoder(StackDecoder):
    """A stack of layers of causal self-attention and attention to the memory (Vaswani et al., 2017).

    Without a source, a stack of causal self-attention alone (Radford et al., 2018).

    Options:
        d_model: width of the embeddings and of every layer; may differ from the encoder's
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
        cross_attention: sequential, after self-attention, or parallel: one sublayer, the sum of both
        dropout: of the embeddings and of every sublayer's output
        attention_dropout: of the attention weights
        activation_dropout: after the activation in the feed-forward sublayers
        layer_drop: how often training leaves out a whole layer
    """

    def __init__(
        self,
        vocab: Vocab,
        memory_dim: int,
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
        cross_attention: CrossAttentionOrder = "sequential",
        dropout: Probability = 0.0,
        attention_dropout: Probability = 0.0,
        activation_dropout: Probability = 0.0,
        layer_drop: Probability = 0.0,
    ) -> None:
        super().__init__()
        if not memory_dim and cross_attention == "parallel":
            raise ValueError("cross_attention=parallel needs a source; a decoder-only model has none")
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
        self.has_source = memory_dim > 0
        self.embedding = TokenEmbedding(len(vocab), d_model, vocab.pad, scale=sqrt(d_model))
        self.positions = make_positions(positions, d_model, max_positions)
        self.attention_positions = make_attention_positions(positions, d_model, num_heads, causal=True)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerDecoderLayer(options, memory_dim, cross_attention) for _ in range(num_layers)
        )
        self.norm = options.final_norm()
        self.head = Linear(d_model, len(vocab), bias=False)

    def forward(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """tokens (B,T), mask (B,T), memory -> features (B,T,D).

        The mask is not needed: padding is at the right, where causal attention does not look.
        """
        x = self.dropout(self.positions(self.embedding(tokens)))
        bias, rotation = self.attention_positions.bias(x), self.attention_positions.rotation(x)
        memory_mask = attendable(memory.mask) if self.has_source else None
        for layer, heads in zip(self.layers, self._memory_heads(memory), strict=True):
            x = layer(x, heads, memory_mask, bias=bias, rotation=rotation)
        features: Tensor = self.norm(x)
        return features

    def start(self, memory: Memory, max_length: int) -> TransformerDecoderState:
        if not self.has_source:
            rows = memory.mask.size(0)
            nothing = torch.zeros(rows, 0, dtype=torch.long, device=memory.mask.device)
            return self.prefill(nothing, nothing.bool(), max_length)
        heads = tuple(x.contiguous() for x in self._memory_heads(memory) if x is not None)
        cache = KeyValueCache.empty(len(heads), like=heads[0], capacity=min(max_length, SLOTS))
        return TransformerDecoderState(cache, heads, attendable(memory.mask))

    def prefill(self, tokens: Tensor, mask: Tensor, max_length: int) -> TransformerDecoderState:
        """tokens (B,S) with mask (B,S), padded at the right -> a state whose prompts are padded at the left.

        So the next token is for all rows in the column after the prompt, as far from each of its tokens as it was in
        training; only positions that are added to embeddings have to know the padding.
        """
        shift = (~mask).sum(dim=1)  # (B,)
        places = torch.arange(mask.size(1), device=mask.device) - shift[:, None]  # (B,S)
        tokens, mask = tokens.gather(1, places.clamp(min=0)), places >= 0
        x = self.embedding(tokens)
        attention = cast(TransformerDecoderLayer, self.layers[0]).attention
        shape = (x.size(0), attention.num_kv_heads, 2, 0, attention.head_dim)
        like = x.new_empty(shape, dtype=attention_dtype(x))
        capacity = mask.size(1) + min(max_length, SLOTS)
        cache = KeyValueCache.empty(len(self.layers), like, capacity).with_prompts(mask)
        if mask.size(1):
            self._read_prompts(x, mask, shift, cache.buffers)
        return TransformerDecoderState(cache, (None,) * len(self.layers), padding=shift)

    def _read_prompts(self, x: Tensor, mask: Tensor, padding: Tensor, buffers: tuple[Tensor, ...]) -> None:
        """Embeddings (B,S,D), `padding` (B,) columns at the left, mask (B,S); fills the first slots of the buffers."""
        x = self.dropout(self.positions(x, padding=padding))
        bias, rotation = self.attention_positions.bias(x), self.attention_positions.rotation(x)
        visible = mask[:, None, None, :].expand(-1, 1, mask.size(1), -1).tril()  # (B,1,S,S)
        visible = visible | torch.eye(mask.size(1), dtype=torch.bool, device=mask.device)  # padding sees itself
        seen = visible if bias is None else bias.masked_fill(~visible, float("-inf"))
        for layer, buffer in zip(self.layers, buffers, strict=True):
            x = layer(x, None, None, past=buffer, bias=seen, rotation=rotation)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, TransformerDecoderState]:
        """tokens (N,) -> logits (N,V). The hypotheses of a source are columns of one row, whose mask is theirs."""
        assert isinstance(state, TransformerDecoderState)
        column, cache = state.cache.length, state.cache.longer()
        sources, width, slots = cache.visible.shape
        padding = None if state.padding is None else state.padding.repeat_interleave(width)
        x = self.dropout(self.positions(self.embedding(tokens[:, None]), column, padding))  # (N,1,D)
        bias, rotation = self.attention_positions.bias(x, column), self.attention_positions.rotation(x, column)
        mask = cache.mask(attention_dtype(x), bias)
        x = x.view(sources, width, -1)  # (N,1,D) -> (B,W,D)
        for layer, heads, past in zip(self.layers, state.memory, cache.buffers, strict=True):
            x = layer(x, heads, state.mask, past, slots - width, mask, rotation)
        logits: Tensor = self.head(self.norm(x).flatten(0, 1))
        return logits, replace(state, cache=cache)

    def attention_weights(self, tokens: Tensor, mask: Tensor, memory: Memory) -> Tensor | None:
        """Of the last layer but one, which aligns words best (Garg et al., 2019); the mean over its heads."""
        layers = self._attention_layers(tokens, mask, memory)
        return layers[max(len(layers) - 2, 0)] if layers else None

    def _memory_heads(self, memory: Memory) -> tuple[Tensor | None, ...]:
        """For each layer the heads of keys and values of the memory (B,G,2,S,K), or None without a source."""
        attentions = [cast(TransformerDecoderLayer, layer).cross_attention for layer in self.layers]
        return tuple(None if attention is None else attention.heads(memory.states) for attention in attentions)
