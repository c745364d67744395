"""Activation checkpointing: memory for time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seq2seq.errors import ConfigError, Problem
from seq2seq.nn.convolution import ConvolutionalDecoderLayer, ConvolutionalEncoderLayer
from seq2seq.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer

LAYERS = (TransformerEncoderLayer, TransformerDecoderLayer, ConvolutionalEncoderLayer, ConvolutionalDecoderLayer)


def stack_layers(model: nn.Module) -> list[nn.Module]:
    """Its Transformer and convolutional layers."""
    return [module for module in model.modules() if isinstance(module, LAYERS)]


def recompute_layers(model: nn.Module) -> None:
    """In training, each layer of a stack keeps nothing for backward but its inputs, and is computed once more there
    (Chen et al. 2016, arXiv:1604.06174): with the same dropout, so that all results stay the same.

    To be called before the model is divided among ranks. Raises ConfigError where it has no such layer.
    """
    others: list[Any] = [module for module in model.modules() if hasattr(module, "recompute")]
    for module in others:
        module.recompute()
    layers = stack_layers(model)
    if not layers and not others:
        told = "has no effect on this model, which has no Transformer or convolutional layers: set false"
        raise ConfigError(Problem("trainer.recompute", told))
    for layer in layers:
        layer.forward = _recomputed(layer, layer.forward)


def _recomputed(layer: nn.Module, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def recomputed(*arguments: Any, **options: Any) -> Tensor:
        if not (layer.training and torch.is_grad_enabled()):
            return forward(*arguments, **options)
        output: Tensor = checkpoint(forward, *arguments, use_reentrant=False, **options)
        return output

    return recomputed
