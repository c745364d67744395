"""Losses: from a decoder's features and the labels to one number.

B examples, T target length, D width, V vocabulary, K label tokens (those that are not padding).
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.registry import Family, Probability
from seq2seq.text.vocab import Vocab


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
        label_smoothing: probability spread evenly over the whole vocabulary; 0.1 is usual
    """

    def __init__(self, *, label_smoothing: Probability = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, features: Tensor, head: nn.Linear, labels: Tensor) -> tuple[Tensor, Tensor]:
        mask = labels != Vocab.pad
        features = features[mask]  # (B,T,D) -> (K,D): the head is the dearest layer, so it never sees padding
        labels = labels[mask]  # (B,T) -> (K,)
        total = features.new_zeros((), dtype=torch.float32)
        # In chunks, only the log-probabilities that backward needs are ever all in memory. On a CPU a chunk also stays
        # in the cache, which makes this faster than one large product and than torch's linear_cross_entropy.
        chunk = 512 if features.device.type == "cpu" else 4096
        with _uncached_autocast(features.device.type):
            for some_features, some_labels in zip(
                torch.split(features, chunk), torch.split(labels, chunk), strict=True
            ):
                logits = head(some_features).float()
                total = total + F.cross_entropy(
                    logits, some_labels, reduction="sum", label_smoothing=self.label_smoothing
                )
        return total, mask.sum()


def _uncached_autocast(device: str) -> torch.autocast:
    """Autocast as it is, but a copy of the head for each chunk: the chunks' gradients are then added in float32."""
    dtype = torch.get_autocast_dtype(device)
    return torch.autocast(device, dtype=dtype, enabled=torch.is_autocast_enabled(device), cache_enabled=False)
