"""The floating-point operations that training needs, counted from the sizes and the real tokens.

Counted are the matrix products alone, a multiplication and an addition as two: the projections and feed-forward layers
of every real token, attention between the real tokens of a pair (causal where it is: half), and the output layer at
the label tokens. The backward pass is twice the forward pass. Padding, recomputation, embeddings, norms, softmax,
dropout and the optimizer count nothing, so a share of the peak tells how much of the machine did what was needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def training_flops(sizes: Mapping[str, int], source_lengths: Sequence[int], target_lengths: Sequence[int]) -> float:
    """Of one update on one batch: forward and backward."""
    return 3.0 * sum(
        forward_flops(sizes, source, target) for source, target in zip(source_lengths, target_lengths, strict=True)
    )


def forward_flops(sizes: Mapping[str, int], source: int, target: int) -> int:
    """Of one pair of a Transformer encoder and decoder; lengths with eos."""
    d_model, d_ff, num_layers = sizes["d_model"], sizes["d_ff"], sizes["num_layers"]
    projection = 2 * d_model * d_model
    feed_forward = 2 * 2 * d_model * d_ff
    scored = 2 * 2 * d_model  # a query and a key: their product, and the value's share of the sum
    encoder = source * (4 * projection + feed_forward) + scored * source * source
    decoder = target * (4 * projection + feed_forward) + scored * target * (target + 1) // 2
    attention_to_source = (2 * target + 2 * source) * projection + scored * target * source
    return num_layers * (encoder + decoder + attention_to_source) + 2 * target * d_model * sizes["vocabulary"]


def num_parameters(sizes: Mapping[str, int]) -> int:
    """Of the same Transformer, but for biases and norms: one matrix for both embeddings and the output layer."""
    d_model, d_ff, num_layers = sizes["d_model"], sizes["d_ff"], sizes["num_layers"]
    attention, feed_forward = 4 * d_model * d_model, 2 * d_model * d_ff
    return sizes["vocabulary"] * d_model + num_layers * (3 * attention + 2 * feed_forward)
