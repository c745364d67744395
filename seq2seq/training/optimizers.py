"""Optimizers: torch's own, built from named parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.models import tables
from seq2seq.registry import Family, NonNegativeFloat, NonPositiveFloat, PositiveFloat, Probability
from seq2seq.training.muon import Matrix, step_matrices

optimizers: Family[torch.optim.Optimizer] = Family("optimizer", torch.optim.Optimizer)

TABLES = {
    "embedding",
    "head",
    "positions",
    "table",
    "_head",
    *tables.TABLES,
}  # what models of ours call them, and others

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
        groups = _groups(_trainable(parameters), weight_decay)
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
        groups = _groups(_trainable(parameters), weight_decay)
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=_can_fuse(groups))


@optimizers.register("adafactor")
class Adafactor(torch.optim.Adafactor):
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235): of a matrix's squared gradients it keeps means of rows and
    columns alone, and the step of each weight is in proportion to its size (root mean square).

    Biases, the weights of norms (all parameters of one dimension) and the lengths of weight norm do not decay.

    Options:
        lr: peak step size, relative to a weight's size; the schedule multiplies it, and step t takes at most 1/sqrt(t)
        beta2_decay: in step t, t to this power is the share of the newest gradient in the mean squares
        min_size: what smaller weights count as, so that zeros can grow
        weight_decay: share of each weight, times lr, that is taken off at every step
    """

    needs_whole_weights = True  # a rank's part of a matrix does not know the means of its columns

    def __init__(
        self,
        parameters: NamedParameters,
        *,
        lr: PositiveFloat = 1e-2,
        beta2_decay: NonPositiveFloat = -0.8,
        min_size: NonNegativeFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        groups = _groups(_trainable(parameters), weight_decay)
        eps = (1e-15, min_size)  # torch squares the first; its default is more than most of our squared gradients
        super().__init__(groups, lr=lr, beta2_decay=beta2_decay, eps=eps, weight_decay=weight_decay)


@optimizers.register("muon")
class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for the matrices of hidden layers, AdamW for the
    rest: embeddings, heads and other tables, biases, norms.

    One lr serves both: updates of matrices are scaled to the size of AdamW's as in Liu et al. (2025), arXiv:2502.16982.
    Matrices that are stored in one (queries, keys and values; the gates of a recurrent layer) are orthogonalized each
    for itself, and a convolution counts as the matrix that it applies to a window. What does not decay with adamw does
    not decay here.

    Options:
        lr: peak learning rate; the schedule multiplies it
        momentum: decay rate of the running mean of a matrix's gradient
        betas: of AdamW: decay rates of the running means of the gradient and of its square
        eps: of AdamW: added to the denominator, against division by zero
        weight_decay: share of each weight, times lr, that is taken off at every step
    """

    def __init__(
        self,
        parameters: NamedParameters,
        *,
        lr: PositiveFloat = 1e-3,
        momentum: Probability = 0.95,
        betas: tuple[Probability, Probability] = (0.9, 0.98),
        eps: PositiveFloat = 1e-9,
        weight_decay: NonNegativeFloat = 0.01,
    ) -> None:
        trainable = _trainable(parameters)
        matrices = [(name, weight) for name, weight in trainable if _is_hidden_matrix(name, weight)]
        others = _groups([(name, w) for name, w in trainable if not _is_hidden_matrix(name, w)], weight_decay)
        for group in others:
            group |= {"betas": betas, "eps": eps, "fused": _can_fuse(others)}
        groups = others
        if matrices:
            rows = _rows(matrices)
            groups = [{"params": matrices, "rows": rows, "momentum": momentum, "weight_decay": weight_decay}, *others]
        super().__init__(groups, {"lr": lr})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """load_state_dict calls it, too, with new groups and a new state."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Gives the groups that are not Muon's, and the whole state, to an AdamW."""
        others = [group for group in self.param_groups if "rows" not in group]
        self.adamw = torch.optim.AdamW(others) if others else None
        if self.adamw is not None:
            self.adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if "rows" in group:
                self._step_matrices(group)
        if self.adamw is not None:
            self.adamw.step()
        return loss

    def _step_matrices(self, group: Mapping[str, Any]) -> None:
        """Sharded weights are put together by all ranks, one after the other, and each orthogonalizes them all."""
        options = {name: group[name] for name in ("lr", "momentum", "weight_decay")}
        matrices: list[Matrix] = []
        for weight, rows in zip(group["params"], group["rows"], strict=True):
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            tensors = (weight.detach(), weight.grad.contiguous(), state["momentum_buffer"])
            if hasattr(weight, "full_tensor"):
                whole = [tensor.full_tensor() for tensor in tensors]
                step_matrices(_matrices(whole, rows), **options)
                _keep_part(tensors[0], whole[0])
                _keep_part(tensors[2], whole[2])
            else:
                matrices += _matrices(tensors, rows)
        step_matrices(matrices, **options)


def _matrices(tensors: Sequence[Tensor], rows: Sequence[int]) -> list[Matrix]:
    """A weight, its gradient and its momentum -> those of each matrix in it, which has so many rows; views."""
    return list(zip(*(torch.split(tensor.view(tensor.size(0), -1), list(rows)) for tensor in tensors), strict=True))


def _keep_part(part: Tensor, whole: Tensor) -> None:
    """Writes into the sharded tensor `part` what this rank keeps of the whole one."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(part, DTensor)
    part.copy_(distribute_tensor(whole, part.device_mesh, part.placements, src_data_rank=None))


def _is_hidden_matrix(name: str, weight: Tensor) -> bool:
    """By the names that tables, which no vector is multiplied with as a whole, have in every model: a step changes few
    of their rows. Those of heads are as many, and each has a meaning of its own. A single row or column is a vector.
    """
    is_table = name.removesuffix(".weight").rpartition(".")[2] in TABLES
    return weight.dim() > 1 and not is_table and weight.size(0) > 1 and weight[0].numel() > 1


def _rows(matrices: Sequence[tuple[str, Tensor]]) -> list[list[int]]:
    """For each weight, the rows of the matrices in it."""
    hidden_dims = {name: weight.size(1) for name, weight in matrices if "weight_hh_l" in name}
    found = []
    for name, weight in matrices:
        num_rows, num_columns = weight.size(0), weight.size(1)
        if name.endswith("qkv.weight"):  # queries are as wide as the input, keys and values may be less
            rows = [num_columns, (num_rows - num_columns) // 2, (num_rows - num_columns) // 2]
        elif name.endswith("key_value.weight"):
            rows = [num_rows // 2] * 2
        else:
            recurrent = hidden_dims.get(name.replace("weight_ih_l", "weight_hh_l"), num_rows)
            rows = [recurrent] * (num_rows // recurrent)
        found.append(rows)
    return found


def _trainable(parameters: NamedParameters) -> list[tuple[str, nn.Parameter]]:
    trainable = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameters")
    return trainable


def _groups(parameters: NamedParameters, weight_decay: float) -> list[dict[str, Any]]:
    """With and without weight decay; no group is empty.

    torch keeps the names in state_dict, so a checkpoint tells which state belongs to which parameter.
    """
    parameters = list(parameters)
    decaying = [(name, parameter) for name, parameter in parameters if _decays(name, parameter)]
    others = [(name, parameter) for name, parameter in parameters if not _decays(name, parameter)]
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
