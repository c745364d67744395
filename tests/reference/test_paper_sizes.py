"""The models of papers, as the files under configs/model build them, have the sizes that the papers tell."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import nn

from seq2seq.cli.overrides import config_folder
from seq2seq.config import bind_run
from seq2seq.text.vocab import Vocab


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


def build(name: str, num_source: int, num_target: int | None = None) -> Any:
    """The model without its numbers, with vocabularies of these sizes; of one, where they are the same."""
    tree = OmegaConf.to_container(compose("train", [f"model={name}"]), resolve=True)
    assert isinstance(tree, dict)
    tree.pop("run")
    source, target = (
        Vocab((*Vocab.special, *(f"{i}" for i in range(size - 4)))) for size in (num_source, num_target or num_source)
    )
    with torch.device("meta"):
        return bind_run(tree).model(source, target)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_matrices(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.dim() > 1)


@pytest.mark.parametrize(
    ("name", "vocab", "millions"),
    [
        ("transformer_base", 37_000, 65),  # Vaswani et al. (2017), table 3
        ("transformer_big", 37_000, 213),
        ("transformer_t5", 32_128, 60),  # Raffel et al. (2020), section 3.7: T5 Small
        ("transformer_deep", 32_768, 106),  # Wang et al. (2019), on the data of WMT'16: 20 layers, pre-norm
    ],
)
def test_number_of_parameters(name: str, vocab: int, millions: int) -> None:
    assert count(build(name, vocab)) / 1e6 == pytest.approx(millions, rel=0.03)  # papers round


@pytest.mark.parametrize(
    ("name", "d_model", "d_ff"), [("transformer_base", 512, 2048), ("transformer_big", 1024, 4096)]
)
def test_every_parameter_of_a_transformer(name: str, d_model: int, d_ff: int) -> None:
    """One shared embedding; biases in every linear layer but the head; a norm after every sublayer; 6 layers."""
    attention = 4 * d_model * (d_model + 1)
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    norm = 2 * d_model
    layers = 6 * (3 * attention + 2 * feed_forward + 5 * norm)
    assert count(build(name, 37_000)) == 37_000 * d_model + layers


def test_sutskever_et_al() -> None:
    """Section 3.4: 384 million parameters for 160,000 and 80,000 words, 32 million in the LSTMs of each side.

    The paper does not count biases, and has no layer between the two sides.
    """
    model = build("lstm_sutskever2014", 160_000, 80_000)
    assert count_matrices(model.encoder.layers) == count_matrices(model.decoder.recurrence) == 32_000_000
    assert count_matrices(model) - count_matrices(model.decoder.bridge) == 384_000_000
    assert model.decoder.attention is None
    assert all(layer.ahead is None for layer in model.encoder.layers)  # the source is reversed, section 3.3


def test_luong_et_al() -> None:
    """Section 4.1: 4 layers of 1000 cells, 1000 dimensions for a word, 50,000 words; section 3.3: input feeding."""
    model = build("lstm_luong2015", 50_000)
    assert model.encoder.embedding.weight.shape == model.decoder.embedding.weight.shape == (50_000, 1000)
    assert count_matrices(model.encoder.layers) == 4 * 8 * 1000**2
    assert count_matrices(model.decoder.recurrence) == 4 * 8 * 1000**2 + 4 * 1000**2  # also reads the features
    assert model.decoder.dropout.p == 0.2
    assert all(layer.ahead is None for layer in model.encoder.layers)  # table 1 and 3: reversed


def test_cho_et_al() -> None:
    """Section 4.1: 1000 gated units, words of 100, 500 maxout units of 2 inputs each, 15,000 words."""
    model = build("rnn_cho2014", 15_000)
    assert model.encoder.embedding.weight.shape == model.decoder.embedding.weight.shape == (15_000, 100)
    (layer,) = model.encoder.layers
    assert layer.back is None
    assert count_matrices(layer) == 3 * 1000 * (1000 + 100)
    assert count_matrices(model.decoder.recurrence) == 3 * 1000 * (1000 + 100 + 1000)  # reads the context
    assert model.decoder.readout.combine.weight.shape == (2 * 500, 1000 + 1000 + 100)
    assert model.head.weight.shape == (15_000, 500)


def test_bahdanau_et_al() -> None:
    """Appendix A.2.3: n = 1000 in each direction, words of m = 620, l = 500 maxout units; n' = 1000 for alignment."""
    n, m, maxout = 1000, 620, 500
    model = build("gru_bahdanau2015", 30_000)
    assert model.encoder.embedding.weight.shape == model.decoder.embedding.weight.shape == (30_000, m)
    (layer,) = model.encoder.layers
    assert count_matrices(layer.ahead) == count_matrices(layer.back) == 3 * n * (n + m)
    assert count_matrices(model.decoder.recurrence) == 3 * n * (n + m + 2 * n)
    assert count_matrices(model.decoder.attention) == n * n + n * 2 * n + n
    assert model.decoder.readout.combine.weight.shape == (2 * maxout, 2 * n + n + m)
    assert model.head.weight.shape == (30_000, maxout)


def test_gehring_et_al() -> None:
    """Sections 4.2 and 5.1, WMT'16 English-Romanian: each side has 20 layers of 512, kernels of 3, words of 512."""
    model = build("conv_gehring2017", 40_000)
    for part in (model.encoder, model.decoder):
        assert part.embedding.weight.shape == (40_000, 512)
        shapes = [tuple(layer.convolution.convolution.weight.shape) for layer in part.layers]
        assert shapes == [(2 * 512, 512, 3)] * 20


def test_chen_et_al() -> None:
    """RNMT+: 8 LSTM layers of 1024, words of 1024, 4 heads; the encoder a big Transformer with a d_ff of 8192."""
    model = build("transformer_lstm", 32_000)
    assert len(model.encoder.layers) == 6
    assert model.encoder.layers[0].feed_forward.inner.weight.shape == (8192, 1024)
    assert model.encoder.layers[0].attention.num_heads == 16
    assert count_matrices(model.decoder.recurrence) == 8 * 4 * 1024 * 2048 + 4 * 1024 * 1024  # reads the context
    assert model.decoder.attention.attention.num_kv_heads == 4
    assert model.decoder.embedding.weight.shape == (32_000, 1024)
