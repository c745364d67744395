"""Losses: from a decoder's features and the labels to one number.

B examples, T target length, D width, V vocabulary, K label tokens (those that are not padding).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.registry import Family, Probability
from seq2seq.text.vocab import Vocab

CHUNK = {"cpu": 512}  # label tokens whose logits are in memory together; few enough for a CPU's cache
CHUNK_ELSEWHERE = 4096


class Loss(ABC):
    """Sums, never means: only the update step divides, by the label tokens of all micro-batches and ranks."""

    @abstractmethod
    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        """features (B,T,D), head D -> V, labels (B,T) -> (sum over the label tokens in float32, their number)."""


losses: Family[Loss] = Family("loss", Loss)


@losses.register("cross_entropy")
class CrossEntropy(Loss):
    """Negative log-likelihood of the labels, in nats; label smoothing as in Szegedy et al. (2016), arXiv:1512.00567.

    Options:
        label_smoothing: probability spread evenly over all tokens that can be said; 0.1 is usual
    """

    def __init__(self, *, label_smoothing: Probability = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        mask = labels != Vocab.pad
        features = features[mask]  # (B,T,D) -> (K,D): the head is the dearest layer, so it never sees padding
        total: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            features, head.weight, head.bias, labels[mask], self.label_smoothing, _share(head)
        )
        return total, mask.sum()


def _share(head: nn.Linear) -> Tensor | None:
    """What each token gets of what is spread by label smoothing, (V,): of a head that cannot say some of its tokens,
    the same for all others. None where all are alike.
    """
    absent = getattr(head, "absent", None)
    return None if absent is None else (~absent).float() / (~absent).sum()


class _LinearCrossEntropy(torch.autograd.Function):
    """The head and the loss, in chunks: logits and their gradient are never all in memory, and nothing is done twice.

    The gradients are those of a sum, so they can be made at once, while a chunk's logits are in the cache; backward
    only scales them. On a CPU that is faster than torch's linear_cross_entropy and than one large product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        share: Tensor | None,
    ) -> Tensor:
        """features (K,D), weight (V,D), bias (V,), labels (K,), share (V,) -> their loss."""
        device = features.device.type
        dtype = _computed_in(features)
        needed = ctx.needs_input_grad[:3]
        total = features.new_zeros((), dtype=torch.float32)
        ctx.gradients = [
            torch.zeros_like(x) if x is not None and wanted else None
            for x, wanted in zip((features, weight, bias), needed, strict=True)
        ]
        to_features, to_weight, to_bias = ctx.gradients
        with torch.autocast(device, enabled=False):
            cast_weight = weight.to(dtype)
            for some in _chunks(len(labels), device):
                inputs, some_labels = features[some].to(dtype), labels[some, None]
                logits = _logits(inputs, cast_weight, bias)  # (C,V)
                log_probabilities = logits.log_softmax(dim=1)
                losses = (smoothing - 1.0) * log_probabilities.gather(1, some_labels)
                if smoothing:
                    mean = log_probabilities.mean(dim=1) if share is None else log_probabilities @ share
                    losses -= smoothing * mean[:, None]
                total += losses.sum()
                if not any(needed):
                    continue
                gradient = log_probabilities.exp_()  # (C,V), the probabilities, from here on the gradient
                if smoothing:
                    gradient -= smoothing / gradient.size(1) if share is None else smoothing * share
                gradient.scatter_add_(1, some_labels, gradient.new_full((1, 1), smoothing - 1.0).expand_as(some_labels))
                if to_bias is not None:
                    to_bias += gradient.sum(dim=0)
                cast = gradient.to(dtype)
                if to_features is not None:
                    to_features[some] = cast @ cast_weight
                if to_weight is not None:
                    to_weight += cast.t() @ inputs
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = gradients
        found = [None if x is None else x * scale for x in ctx.gradients]
        return *found, None, None, None


def measured(features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
    """As CrossEntropy, but without gradients -> (sum, how many labels are the likeliest token)."""
    mask = labels != Vocab.pad
    features, labels = features[mask], labels[mask]  # (K,D), (K,)
    dtype = _computed_in(features)
    total, hits = features.new_zeros((), dtype=torch.float32), labels.new_zeros(())
    with torch.autocast(features.device.type, enabled=False):
        weight = head.weight.to(dtype)
        for some in _chunks(len(labels), features.device.type):
            logits = _logits(features[some].to(dtype), weight, head.bias)  # (C,V)
            total += F.cross_entropy(logits, labels[some], reduction="sum")
            hits += (logits.argmax(dim=1) == labels[some]).sum()
    return total, hits


def _computed_in(features: Tensor) -> torch.dtype:
    device = features.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype


def _chunks(size: int, device: str) -> Iterator[slice]:
    chunk = CHUNK.get(device, CHUNK_ELSEWHERE)
    return (slice(start, start + chunk) for start in range(0, size, chunk))


def _logits(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """features (C,D), weight (V,D), bias (V,) -> (C,V) in float32."""
    logits = F.linear(features, weight).float()
    if bias is not None:
        logits += bias
    return logits
