"""How the ranks share the work of an update: each with the whole model, or each with a part of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seq2seq.nn.attention import CrossAttention
from seq2seq.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer
from seq2seq.training.parallel import ALONE, Parallel

StrategyName = Literal["ddp", "fsdp"]

BUCKET = 25 * 2**20  # bytes of gradients in one message: enough for the full bandwidth, and the last one is soon over


class Strategy:
    """Of one process alone, and what the others inherit: nothing to share."""

    def __init__(self, parallel: Parallel = ALONE) -> None:
        self.parallel = parallel

    def before_backward(self, *, last: bool) -> None:
        """last: of the update's micro-batches this is the last one."""

    def finish(self) -> None:
        """After the last backward: from here on every gradient is the sum over all ranks."""

    @contextmanager
    def whole_model(self) -> Iterator[None]:
        """Within, this rank can use the model without the others. Entered and left by all ranks."""
        yield

    def whole(self, tensor: Tensor) -> Tensor:
        """A weight, a gradient or a part of the optimizer's state as one process has it. Called by all ranks."""
        return tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """What this rank keeps of a whole tensor that belongs to the weight `like`."""
        return tensor

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """As one process has it. Called by all ranks; only the first gets all of it."""
        return optimizer.state_dict()

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Of any number of ranks and either strategy."""
        optimizer.load_state_dict(dict(state))


class Replicas(Strategy):
    """Each rank has the whole model, and gradients are summed: DistributedDataParallel (Li et al. 2020,
    arXiv:2006.15704) in what matters, on the gradients alone.

    They are summed in buckets as soon as the last backward has made all of a bucket, so that messages travel while
    backward works on. Not by torch's DistributedDataParallel: it takes over a module's forward, but ours is split in
    features and head; it takes means, and would have to be undone by the number of ranks; and it needs the same
    number of backwards on every rank, so that no rank could cut a batch that does not fit.
    """

    def __init__(self, model: nn.Module, parallel: Parallel) -> None:
        super().__init__(parallel)
        _equalize(model, parallel)
        self.buckets = _buckets(parameter for parameter in model.parameters() if parameter.requires_grad)
        self.bucket_of = {id(parameter): i for i, bucket in enumerate(self.buckets) for parameter in bucket}
        for bucket in self.buckets:
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(self._ready)  # type: ignore[no-untyped-call]
        self.last = False
        self.missing: list[int] = []  # gradients of each bucket that the last backward has not made yet
        self.sent: list[tuple[Tensor, dist.Work]] = []  # of the first buckets: all ranks send them in the same order

    def before_backward(self, *, last: bool) -> None:
        self.last = last
        self.missing = [len(bucket) for bucket in self.buckets]

    def finish(self) -> None:
        """A parameter that this rank has not used gets the others' gradient, or zeros."""
        self.last = False
        while len(self.sent) < len(self.buckets):
            self._send()
        for bucket, (flat, work) in zip(self.buckets, self.sent, strict=True):
            work.wait()
            parts = torch.split(flat, [parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)
        self.sent = []

    def _ready(self, parameter: Tensor) -> None:
        if not self.last:
            return
        self.missing[self.bucket_of[id(parameter)]] -= 1
        while len(self.sent) < len(self.buckets) and self.missing[len(self.sent)] == 0:
            self._send()

    def _send(self) -> None:
        bucket = self.buckets[len(self.sent)]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self.sent.append((flat, work))


def _buckets(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """In the order in which backward is likely to make their gradients: the last parameters first."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in reversed(list(parameters)):
        like_before = bool(buckets) and buckets[-1][-1].dtype == parameter.dtype
        if not like_before or size >= BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return buckets


class Shards(Strategy):
    """Each rank has a part of every weight, of its gradient and of the optimizer's state, and a layer is put together
    when it is used: FSDP (Zhao et al. 2023, arXiv:2304.11277), torch's fully_shard.

    Made of a model on the CPU, so that no device ever has to hold all of it.
    """

    def __init__(self, model: nn.Module, parallel: Parallel, device: torch.device) -> None:
        # Here, since it takes a second to import.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        super().__init__(parallel)
        # Linear returns a view, which only matters to what changes it in place.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
        _equalize(model, parallel)
        mesh = init_device_mesh(device.type, (parallel.world_size,))
        for unit in _units(model):
            fully_shard(unit, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.to(device)  # buffers, if any are left
        register_fsdp_forward_method(model, "features")
        self.modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
        for module in self.modules:  # sums, not means: only the update step divides
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)

    def before_backward(self, *, last: bool) -> None:
        for module in self.modules:
            module.set_requires_gradient_sync(last, recurse=False)

    @contextmanager
    def whole_model(self) -> Iterator[None]:
        for module in self.modules:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            for module in self.modules:
                module.set_reshard_after_forward(module is not self.modules[0], recurse=False)
                module.reshard()

    def whole(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or tensor.shape != like.shape:  # a step count, for example
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Put together on the CPU, one tensor after the other."""
        state = optimizer.state_dict()
        together: dict[int, dict[str, Any]] = {}
        for number, values in state["state"].items():
            together[number] = {}
            for name, value in values.items():
                whole = self.whole(value) if isinstance(value, Tensor) else value
                if self.parallel.first:
                    together[number][name] = whole.cpu() if isinstance(whole, Tensor) else whole
        return {**state, "state": together}

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        parts = {
            number: {name: self.part(v, weights[number]) if isinstance(v, Tensor) else v for name, v in values.items()}
            for number, values in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": parts})


def _units(model: nn.Module) -> Iterator[nn.Module]:
    """What is put together at once, inner ones first: layers of a Transformer, in which nearly all weights of a large
    model are. All else, such as embeddings and recurrent layers, is put together for a whole micro-batch.
    """
    for module in model.modules():
        if isinstance(module, CrossAttention):  # called by `heads`, before the layer itself is
            yield module.key_value
            if module.norms is not None:
                yield module.norms.key
    for module in model.modules():
        if isinstance(module, TransformerEncoderLayer | TransformerDecoderLayer):
            yield module


ONE_PROCESS = Strategy()


def make_strategy(name: StrategyName, model: nn.Module, parallel: Parallel, device: torch.device) -> Strategy:
    """Moves the model to the device, or this rank's part of it. To be called before the optimizer is made."""
    if name == "fsdp" and not parallel.alone:
        return Shards(model, parallel, device)
    model.to(device)
    return ONE_PROCESS if parallel.alone else Replicas(model, parallel)


def _equalize(model: nn.Module, parallel: Parallel) -> None:
    """The same seed need not give the same bits on every kind of machine."""
    for tensor in (*model.parameters(), *model.buffers()):
        parallel.copy_from_first(tensor.data)
