"""Recomputed layers: the same bits in less memory."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch, make_batch
from seq2seq.errors import ConfigError
from seq2seq.models.base import Model
from seq2seq.models.decoder_only import DecoderOnly
from seq2seq.models.decoders.convolutional import ConvolutionalDecoder
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.convolutional import ConvolutionalEncoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.nn.convolution import GatedConvolution
from seq2seq.nn.transformer import FeedForward
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab
from seq2seq.training.generators import seed_generators
from seq2seq.training.loss import CrossEntropy
from seq2seq.training.parallel import Parallel
from seq2seq.training.recompute import recompute_layers
from seq2seq.training.step import update
from seq2seq.training.strategies import ONE_PROCESS, Strategy, make_strategy

CPU = torch.device("cpu")
VOCAB = Vocab((*Vocab.special, *(f"w{i}" for i in range(9))))
TRANSFORMER = {"d_model": 12, "num_layers": 2, "num_heads": 2, "d_ff": 20, "dropout": 0.3}
INSIDE = {"attention_dropout": 0.2, "activation_dropout": 0.1, "layer_drop": 0.4}
CONVOLUTIONAL = {"d_model": 12, "num_layers": 3, "channels": 10, "dropout": 0.3}
ENCODERS: dict[str, Factory[Any]] = {
    "transformer": Factory(TransformerEncoder, "transformer", {**TRANSFORMER, **INSIDE}),
    "convolutional": Factory(ConvolutionalEncoder, "convolutional", {**CONVOLUTIONAL, "weight_norm": True}),
}
DECODERS: dict[str, Factory[Any]] = {
    "transformer": Factory(TransformerDecoder, "transformer", {**TRANSFORMER, **INSIDE, "qk_norm": True}),
    "parallel": Factory(TransformerDecoder, "transformer", {**TRANSFORMER, "cross_attention": "parallel"}),
    "relative": Factory(TransformerDecoder, "transformer", {**TRANSFORMER, **INSIDE, "positions": "relative"}),
    "convolutional": Factory(ConvolutionalDecoder, "convolutional", CONVOLUTIONAL),
    "lstm": Factory(LSTMDecoder, "lstm", {"d_model": 12, "dropout": 0.3}),
}


def make(encoder: str | None, decoder: str) -> Model:
    torch.manual_seed(3)
    if encoder is None:
        return DecoderOnly(VOCAB, VOCAB, decoder=DECODERS[decoder], loss_on="all")
    model = EncoderDecoder(VOCAB, VOCAB, encoder=ENCODERS[encoder], decoder=DECODERS[decoder], tie_embeddings="target")
    return model.train()


@pytest.fixture
def batch_of(make_corpus) -> Callable[[Sequence[int]], Batch]:
    corpus = make_corpus(11)
    return lambda examples: make_batch(
        [corpus.sources[i] for i in examples], [corpus.targets[i] for i in examples], examples
    )


def trained(
    model: Model,
    batch_of: Callable[[Sequence[int]], Batch],
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    strategy: Strategy = ONE_PROCESS,
) -> tuple[list[float], list[Tensor], float]:
    """Three updates of two micro-batches: losses and norms, weights, and what the generator draws next."""
    seed_generators(5, strategy.parallel.rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for examples in ([0, 1, 2], [3, 4], [5, 6, 7, 8]):
        micro_batches = [batch_of(examples), batch_of([9, 10])]
        result = update(
            model, CrossEntropy(), optimizer, micro_batches, clip_norm=1.0, autocast=autocast, strategy=strategy
        )
        found += [result.loss.item(), result.gradient_norm.item()]
    return found, [strategy.whole(weight.detach()).clone() for weight in model.parameters()], torch.rand(1).item()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        ("transformer", "transformer"),
        ("convolutional", "convolutional"),
        ("transformer", "parallel"),
        ("transformer", "lstm"),
        ("convolutional", "relative"),
        (None, "relative"),
    ],
)
def test_losses_and_gradients_are_the_same_bits(encoder: str | None, decoder: str, precision: str, batch_of) -> None:
    autocast = nullcontext if precision == "fp32" else partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    expected = trained(make(encoder, decoder), batch_of, autocast)
    model = make(encoder, decoder)
    recompute_layers(model)
    assert list(model.state_dict()) == list(make(encoder, decoder).state_dict())
    found = trained(model, batch_of, autocast)
    assert found[0] == expected[0]
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)
    assert found[2] == expected[2]


@pytest.mark.parametrize(("family", "inner"), [("transformer", FeedForward), ("convolutional", GatedConvolution)])
def test_layers_are_computed_twice_in_training_and_keep_little(family: str, inner: type[nn.Module], batch_of) -> None:
    kept = []
    for recompute in (False, True):
        model = make(family, family)
        if recompute:
            recompute_layers(model)
        calls = []
        parts = [module for module in model.modules() if isinstance(module, inner)]
        for part in parts:
            part.register_forward_pre_hook(lambda *of_call, calls=calls: calls.append(of_call))
        kept.append(0)

        def pack(tensor: Tensor) -> Tensor:
            kept[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features = model.features(batch_of(range(11)))
        assert len(calls) == len(parts) > 3
        features.sum().backward()
        assert len(calls) == len(parts) * (2 if recompute else 1)
        model.eval()
        model.features(batch_of(range(4)))
        assert len(calls) == len(parts) * (3 if recompute else 2)
    without, recomputed = kept
    assert 0 < recomputed < without / 2


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_find_the_same_with_it(strategy: str, batch_of, on_ranks) -> None:
    def work(parallel: Parallel) -> Any:
        found = []
        for recompute in (False, True):
            model = make("transformer", "transformer")
            if recompute:
                recompute_layers(model)
            chosen = make_strategy(strategy, model, parallel, CPU)
            found.append(trained(model, batch_of, strategy=chosen))
        return found

    for expected, found in on_ranks(2, work):
        assert found[0] == expected[0]
        torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)
        assert found[2] == expected[2]


def test_a_model_without_such_layers_is_refused(make_model) -> None:
    with pytest.raises(ConfigError) as refused:
        recompute_layers(make_model("lstm"))
    assert str(refused.value) == (
        "trainer.recompute: has no effect on this model, which has no Transformer or convolutional layers: set false"
    )
