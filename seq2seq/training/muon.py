"""The step of Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), many matrices at a time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seq2seq.training.precision import cpu_has_bf16

Matrix = tuple[Tensor, Tensor, Tensor]  # itself, its gradient, its momentum, all (rows, columns)

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_STEPS = 5
MOST_AT_A_TIME = 2**24  # elements, so that not all matrices of a large model are copied at once


def step_matrices(matrices: Sequence[Matrix], *, lr: float, momentum: float, weight_decay: float) -> None:
    """Changes each matrix and its momentum in place.

    The momentum becomes `m <- momentum * m + (1 - momentum) * gradient`, the update is Nesterov's, orthogonalized, and
    as large as AdamW's (Liu et al. 2025, arXiv:2502.16982).
    """
    for together in _alike(matrices):
        weights, gradients, means = (list(tensors) for tensors in zip(*together, strict=True))
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        updates = orthogonalize(torch.stack(gradients).lerp_(torch.stack(means), momentum))
        torch._foreach_mul_(weights, 1 - lr * weight_decay)
        torch._foreach_add_(weights, list(updates), alpha=-0.2 * lr * max(weights[0].shape) ** 0.5)


def orthogonalize(matrices: Tensor) -> Tensor:
    """(N, rows, columns) -> near U V^T of each, where U S V^T are its singular values and vectors; in the same dtype.

    Five Newton-Schulz steps of `a X + b (X X^T) X + c (X X^T)^2 X`, in bfloat16 where the hardware multiplies in it.
    """
    a, b, c = COEFFICIENTS
    in_bf16 = matrices.device.type != "cpu" or cpu_has_bf16()
    x = matrices.bfloat16() if in_bf16 else matrices
    if is_tall := x.size(1) > x.size(2):
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NUM_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


def _alike(matrices: Sequence[Matrix]) -> Iterator[list[Matrix]]:
    """Those of one shape together, as many as are not too much at a time."""
    by_shape = defaultdict[torch.Size, list[Matrix]](list)
    for matrix in matrices:
        by_shape[matrix[0].shape].append(matrix)
    for shape, alike in by_shape.items():
        size = max(1, MOST_AT_A_TIME // shape.numel())
        for begin in range(0, len(alike), size):
            yield alike[begin : begin + size]
