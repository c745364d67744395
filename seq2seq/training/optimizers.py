"""Optimizers: torch's own, built from named parameters."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from seq2seq.registry import Family, NonNegativeFloat, PositiveFloat, Probability

optimizers: Family[torch.optim.Optimizer] = Family("optimizer", torch.optim.Optimizer)

NamedParameters = Iterable[tuple[str, nn.Parameter]]


@optimizers.register("adamw")
class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Biases, the weights of norms (all parameters of one dimension) and the lengths of weight norm do not decay.

    Options:
        lr: peak learning rate; the schedule multiplies it
        betas: decay rates of the running means of the gradient and of its square
        eps: added to the denominator, against division by zero
        weight_decay: share of each weight, times lr, that is taken off at every step
    """

    def __init__(
        self,
        parameters: NamedParameters,
        *,
        lr: PositiveFloat = 1e-3,
        betas: tuple[Probability, Probability] = (0.9, 0.98),
        eps: PositiveFloat = 1e-9,
        weight_decay: NonNegativeFloat = 0.01,
    ) -> None:
        groups = _groups(parameters, weight_decay)
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=_can_fuse(groups))


@optimizers.register("adam")
class Adam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), with the settings of Vaswani et al. (2017) as defaults.

    Biases, the weights of norms (all parameters of one dimension) and the lengths of weight norm do not decay.

    Options:
        lr: peak learning rate; the schedule multiplies it
        betas: decay rates of the running means of the gradient and of its square
        eps: added to the denominator, against division by zero
        weight_decay: L2 penalty, added to the gradient; adamw decays the weights themselves
    """

    def __init__(
        self,
        parameters: NamedParameters,
        *,
        lr: PositiveFloat = 1e-3,
        betas: tuple[Probability, Probability] = (0.9, 0.98),
        eps: PositiveFloat = 1e-9,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        groups = _groups(parameters, weight_decay)
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=_can_fuse(groups))


def _groups(parameters: NamedParameters, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters with and without weight decay; no group is empty.

    torch keeps the names in state_dict, so a checkpoint tells which state belongs to which parameter.
    """
    trainable = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameters")
    decaying = [(name, parameter) for name, parameter in trainable if _decays(name, parameter)]
    others = [(name, parameter) for name, parameter in trainable if not _decays(name, parameter)]
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """Matrices do; not so what torch's weight norm keeps of one, a length for each row, with as many dimensions."""
    return parameter.dim() > 1 and not name.endswith("parametrizations.weight.original0")


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    """The fused kernel is about four times as fast as torch's default, on a CPU too."""
    return all(parameter.device.type in ("cpu", "cuda") for group in groups for _, parameter in group["params"])
