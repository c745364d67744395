"""Compiled layers, by a compiler that only counts the programs it is asked for."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch, make_batch
from seq2seq.errors import ConfigError
from seq2seq.models.base import Model
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab
from seq2seq.training import compiled
from seq2seq.training.compiled import WORTH, CompiledLayers, compile_layers
from seq2seq.training.generators import seed_generators
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.recompute import recompute_layers
from seq2seq.training.step import update

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VOCAB = Vocab((*Vocab.special, *(f"w{i}" for i in range(9))))
SIZES = {"d_model": 12, "num_layers": 3, "num_heads": 2, "d_ff": 20, "dropout": 0.3}
ENCODERS: dict[str, Factory[Any]] = {
    "transformer": Factory(TransformerEncoder, "transformer", SIZES),
    "lstm": Factory(LSTMEncoder, "lstm", {"d_model": 12}),
}
DECODERS: dict[str, Factory[Any]] = {
    "transformer": Factory(TransformerDecoder, "transformer", SIZES),
    "lstm": Factory(LSTMDecoder, "lstm", {"d_model": 12}),
}


class Compiler:
    """Makes a program of what it is given that computes the same, step by step."""

    def __init__(self) -> None:
        self.programs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        self.programs += 1
        return graph.forward


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    torch._dynamo.reset()
    compiler = Compiler()
    monkeypatch.setattr(compiled, "BACKEND", compiler)
    # as in a compiled program: torch's own dropout, which draws the same in both
    monkeypatch.setattr("seq2seq.nn.dropout.LANES", {})
    return compiler


def make(family: str = "transformer") -> Model:
    torch.manual_seed(3)
    return EncoderDecoder(VOCAB, VOCAB, encoder=ENCODERS[family], decoder=DECODERS[family], tie_embeddings="target")


@pytest.fixture
def batch_of(make_corpus) -> Callable[[Sequence[int]], Batch]:
    corpus = make_corpus(11)
    return lambda examples: make_batch(
        [corpus.sources[i] for i in examples], [corpus.targets[i] for i in examples], examples
    )


def train(model: Model, batch_of: Callable[[Sequence[int]], Batch]) -> tuple[list[float], list[Tensor]]:
    """Three updates: losses, and the weights after them."""
    seed_generators(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for examples in ([0, 1, 2], [3, 4], [5, 6, 7, 8]):
        result = update(
            model.train(), CrossEntropy(), optimizer, [batch_of(examples)], clip_norm=1.0, autocast=nullcontext
        )
        losses.append(result.loss.item())
    return losses, [weight.detach().clone() for weight in model.parameters()]


@pytest.mark.parametrize("recompute", [False, True])
def test_one_program_for_all_layers_of_a_kind_and_all_batches(recompute: bool, compiler: Compiler, batch_of) -> None:
    expected = train(make(), batch_of)
    model = make()
    CompiledLayers(model)
    if recompute:
        recompute_layers(model)
    assert list(model.state_dict()) == list(make().state_dict())
    found = train(model, batch_of)
    assert compiler.programs == 2
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    torch.testing.assert_close(found[1], expected[1])


def test_nothing_is_compiled_outside_of_training(compiler: Compiler, batch_of) -> None:
    model = make()
    CompiledLayers(model)
    batch = batch_of([0, 1, 2])
    model.eval().features(batch)
    with torch.no_grad():
        model.train().features(batch)
    assert compiler.programs == 0


@pytest.mark.parametrize(
    ("mode", "family", "device", "total_steps", "expected"),
    [
        ("never", "transformer", CUDA, None, False),
        ("auto", "transformer", CUDA, None, True),
        ("auto", "transformer", CUDA, WORTH, True),
        ("auto", "transformer", CUDA, WORTH - 1, False),
        ("auto", "transformer", CPU, None, False),
        ("auto", "lstm", CUDA, None, False),
        ("always", "transformer", CPU, 3, True),
    ],
)
def test_when(mode: Any, family: str, device: torch.device, total_steps: int | None, expected: bool) -> None:
    assert (compile_layers(mode, make(family), device, total_steps) is not None) == expected


def test_a_model_without_such_layers() -> None:
    with pytest.raises(ConfigError) as error:
        compile_layers("always", make("lstm"), CPU, None)
    assert str(error.value) == (
        "trainer.compile: has no effect on this model, which has no Transformer or convolutional layers: set never"
    )


def warm_up(model: nn.Module, layers: CompiledLayers, batch: Batch, mode: Any) -> None:
    layers.warm_up(model, CrossEntropy(), batch, CPU, nullcontext, mode=mode)


def test_the_first_batch_leaves_no_trace(compiler: Compiler, batch_of) -> None:
    expected = train(make(), batch_of)
    model = make()
    layers = CompiledLayers(model)
    seed_generators(8)
    drawn = torch.rand(2)
    seed_generators(8)
    warm_up(model, layers, batch_of([0, 1, 2, 3]), "always")
    assert compiler.programs == 2
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(torch.rand(2), drawn)
    assert train(model, batch_of)[0] == pytest.approx(expected[0], rel=1e-6)
    assert compiler.programs == 2


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no C++ compiler\nand more")

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", fail)


@pytest.mark.usefixtures("broken")
def test_where_nothing_can_be_compiled_auto_goes_on(batch_of, caplog: pytest.LogCaptureFixture) -> None:
    expected = train(make(), batch_of)
    model = make()
    layers = CompiledLayers(model)
    with caplog.at_level(logging.WARNING):
        warm_up(model, layers, batch_of([0, 1]), "auto")
    assert "trainer.compile=auto: not compiled, since that does not work here: " in caplog.text
    assert "no C++ compiler" in caplog.text
    assert train(model, batch_of)[0] == expected[0]


@pytest.mark.usefixtures("broken")
def test_where_nothing_can_be_compiled_always_is_refused(batch_of) -> None:
    model = make()
    layers = CompiledLayers(model)
    with pytest.raises(ConfigError, match=r"^trainer\.compile: does not work here: .*no C\+\+ compiler"):
        warm_up(model, layers, batch_of([0, 1]), "always")
