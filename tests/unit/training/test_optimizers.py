import copy
import io
import math
from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from seq2seq.training.optimizers import Adafactor, Adam, AdamW, Muon, optimizers

Optimizer = type[Adafactor] | type[Adam] | type[AdamW] | type[Muon]

every_optimizer = pytest.mark.parametrize("cls", optimizers.components.values(), ids=optimizers.components.keys())


def small_model() -> nn.Module:
    torch.manual_seed(0)
    layers = {"embedding": nn.Embedding(11, 5), "inner": nn.Linear(5, 7), "norm": nn.LayerNorm(7)}
    return nn.Sequential(OrderedDict(layers | {"outer": nn.Linear(7, 6), "head": nn.Linear(6, 3)}))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterator[int]) -> None:
    for step in steps:
        tokens = torch.randint(0, 11, (2, 4), generator=torch.Generator().manual_seed(step))
        model(tokens).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_registered() -> None:
    assert optimizers.components == {"adafactor": Adafactor, "adam": Adam, "adamw": AdamW, "muon": Muon}


@every_optimizer
def test_only_matrices_decay(cls: Optimizer) -> None:
    model = small_model()
    optimizer = cls(model.named_parameters(), weight_decay=0.25)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for parameter in model.parameters():
        assert decay[id(parameter)] == (0.25 if parameter.dim() == 2 else 0.0)
    assert sorted(name for group in optimizer.param_groups for name in group["param_names"]) == sorted(
        name for name, _ in model.named_parameters()
    )


@every_optimizer
@pytest.mark.parametrize("layer", [nn.Conv1d(5, 7, 3), nn.Linear(5, 7)], ids=["convolution", "linear"])
def test_lengths_of_weight_norm_do_not_decay(cls: Optimizer, layer: nn.Conv1d | nn.Linear) -> None:
    """Its directions decay: they have the weight's shape. Their lengths are one for each of the 7 outputs."""
    model = nn.Sequential(parametrizations.weight_norm(copy.deepcopy(layer)))
    optimizer = cls(model.named_parameters(), weight_decay=0.25)
    decay = {tuple(p.shape): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    lengths = (7, *(1 for _ in layer.weight.shape[1:]))
    assert decay == {tuple(layer.weight.shape): 0.25, lengths: 0.0, (7,): 0.0}


def test_adamw_step_by_the_formula() -> None:
    """Two steps of a matrix and a bias, with the update rule of the paper written out."""
    lr, (beta1, beta2), eps, decay = 0.1, (0.8, 0.9), 1e-6, 0.05
    matrix, bias = nn.Parameter(torch.tensor([[2.0, -3.0]])), nn.Parameter(torch.tensor([4.0]))
    optimizer = AdamW([("matrix", matrix), ("bias", bias)], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    values, gradients = [2.0, -3.0, 4.0], [[0.5, -1.0, 2.0], [1.5, 0.25, -1.0]]
    mean, square = [0.0] * 3, [0.0] * 3
    for step, gradient in enumerate(gradients, start=1):
        matrix.grad, bias.grad = torch.tensor([gradient[:2]]), torch.tensor(gradient[2:])
        optimizer.step()
        for i, g in enumerate(gradient):
            mean[i] = beta1 * mean[i] + (1 - beta1) * g
            square[i] = beta2 * square[i] + (1 - beta2) * g * g
            shrunk = values[i] * (1 - lr * decay) if i < 2 else values[i]
            denominator = math.sqrt(square[i] / (1 - beta2**step)) + eps
            values[i] = shrunk - lr * mean[i] / (1 - beta1**step) / denominator
    assert [*matrix[0].tolist(), *bias.tolist()] == pytest.approx(values, rel=1e-5)


def test_adam_penalty_goes_through_the_gradient() -> None:
    """With a zero gradient the first step of Adam is lr against the sign of the weight, whatever the penalty."""
    matrix = nn.Parameter(torch.tensor([[2.0, -3.0]]))
    optimizer = Adam([("matrix", matrix)], lr=0.1, weight_decay=0.01)
    matrix.grad = torch.zeros(1, 2)
    optimizer.step()
    assert matrix[0].tolist() == pytest.approx([1.9, -2.9])


@every_optimizer
def test_resumed_equals_uninterrupted(cls: Optimizer) -> None:
    model = small_model()
    optimizer = cls(model.named_parameters(), lr=0.01, weight_decay=0.1)
    train(model, optimizer, iter(range(3)))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, iter(range(3, 6)))

    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = small_model()
    resumed.load_state_dict(state["model"])
    resumed_optimizer = cls(resumed.named_parameters(), lr=0.01, weight_decay=0.1)
    resumed_optimizer.load_state_dict(state["optimizer"])
    train(resumed, resumed_optimizer, iter(range(3, 6)))

    for one, other in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(optimizer.state.values(), resumed_optimizer.state.values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_fused_on_a_cpu_only_where_it_can() -> None:
    assert AdamW(small_model().named_parameters()).defaults["fused"] is True
    assert AdamW(small_model().to("meta").named_parameters()).defaults["fused"] is False


@every_optimizer
@pytest.mark.parametrize("frozen", ["embedding.weight", "inner.weight"])
def test_frozen_parameters_are_left_out(cls: Optimizer, frozen: str) -> None:
    model = small_model()
    model.get_parameter(frozen).requires_grad_(False)
    optimizer = cls(model.named_parameters())
    names = {name for group in optimizer.param_groups for name in group["param_names"]}
    assert names == {name for name, _ in model.named_parameters()} - {frozen}
    with pytest.raises(ValueError, match="no trainable parameters"):
        cls(model.requires_grad_(False).named_parameters())


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9)])
@pytest.mark.parametrize("cls", [AdamW, Adam])
def test_betas_lie_below_one(cls: type[AdamW] | type[Adam], betas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="beta"):
        cls(small_model().named_parameters(), betas=betas)


@every_optimizer
def test_the_schedule_finds_the_peak_lr_after_a_resume(cls: Optimizer) -> None:
    model = small_model()
    optimizer = cls(model.named_parameters(), lr=0.02)
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    resumed = cls(model.named_parameters(), lr=0.02)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.defaults["lr"] == 0.02


@every_optimizer
@pytest.mark.parametrize("resumed", [False, True])
def test_the_schedule_s_lr_is_that_of_all_parameters(cls: Optimizer, resumed: bool) -> None:
    """With lr 0 none changes, and else all do, those of a resumed optimizer, too."""
    model = small_model()
    optimizer = cls(model.named_parameters())
    if resumed:
        train(model, optimizer, iter([0]))
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for lr in (0.0, 0.01):
        before = copy.deepcopy(model.state_dict())
        for group in optimizer.param_groups:
            group["lr"] = lr
        train(model, optimizer, iter([1]))
        assert {not torch.equal(before[name], now) for name, now in model.state_dict().items()} == {lr > 0}


@every_optimizer
def test_a_copy_goes_on_as_the_first_one_does(cls: Optimizer) -> None:
    model = small_model()
    optimizer = cls(model.named_parameters(), lr=0.02)
    train(model, optimizer, iter(range(2)))
    other_model, other = copy.deepcopy((model, optimizer))
    train(model, optimizer, iter([2]))
    train(other_model, other, iter([2]))
    torch.testing.assert_close(other_model.state_dict(), model.state_dict(), rtol=0, atol=0)


def hidden(optimizer: Muon) -> dict[str, list[int]]:
    """What is orthogonalized: the rows of the matrices in each weight."""
    groups = [group for group in optimizer.param_groups if "rows" in group]
    return {name: rows for group in groups for name, rows in zip(group["param_names"], group["rows"], strict=True)}


def test_muon_leaves_tables_and_vectors_to_adamw() -> None:
    model = small_model()
    model.add_module("score", nn.Linear(7, 1))
    model.add_module("weight_norm", parametrizations.weight_norm(nn.Conv1d(5, 4, 3)))
    assert hidden(Muon(model.named_parameters())) == {
        "inner.weight": [7],
        "outer.weight": [6],
        "weight_norm.parametrizations.weight.original1": [4],
    }
    optimizer = Muon([("embedding.weight", nn.Parameter(torch.ones(3, 2)))])
    assert hidden(optimizer) == {}


def test_muon_without_tables_and_vectors() -> None:
    weight = nn.Parameter(torch.zeros(3, 2))
    optimizer = Muon([("weight", weight)], lr=0.1)
    weight.grad = torch.ones(3, 2)
    optimizer.step()
    assert (weight < 0).all()


def test_muon_takes_a_convolution_as_the_matrix_of_a_window() -> None:
    torch.manual_seed(4)
    convolution, linear = nn.Conv1d(5, 7, 3), nn.Linear(15, 7)
    linear.load_state_dict({"weight": convolution.weight.flatten(1), "bias": convolution.bias})
    windows = torch.randn(6, 5, 3)
    optimizers = [Muon(layer.named_parameters(), lr=0.1) for layer in (convolution, linear)]
    for _ in range(2):
        convolution(windows).square().sum().backward()
        linear(windows.flatten(1)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(convolution.weight.flatten(1), linear.weight, rtol=1e-4, atol=1e-4)


def test_muon_evaluates_a_closure_once_with_gradients() -> None:
    model = small_model()
    optimizer = Muon(model.named_parameters(), lr=0.01)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.tensor([1, 2])).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]
