"""trainer.compile: torch.compile of the layers of a stack, in training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.errors import ConfigError, Problem
from seq2seq.models.base import Model
from seq2seq.training.generators import generators_state, restore_generators
from seq2seq.training.loss import Loss
from seq2seq.training.recompute import stack_layers

log = logging.getLogger(__name__)

CompileMode = Literal["auto", "always", "never"]

WORTH = 5_000  # updates: in fewer the minutes of compiling are not won back
BACKEND = "inductor"


def compile_layers(
    mode: CompileMode, model: nn.Module, device: torch.device, total_steps: int | None
) -> CompiledLayers | None:
    """None where they are not to be compiled; `auto` never does on a CPU, where compiled layers are slower."""
    if mode == "auto":
        gains = device.type == "cuda" and (total_steps is None or total_steps >= WORTH) and bool(stack_layers(model))
        return CompiledLayers(model) if gains else None
    return CompiledLayers(model) if mode == "always" else None


class CompiledLayers:
    """The layers of a model, which run compiled in training, and as they are elsewhere: in search, shapes change at
    each step. The sizes of a batch are symbols, so that one program serves all batches.

    To be made before recompute_layers is called, and before the model is divided among ranks. Raises ConfigError for a
    model without such layers.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = stack_layers(model)
        if not layers:
            told = "has no effect on this model, which has no Transformer or convolutional layers: set never"
            raise ConfigError(Problem("trainer.compile", told))
        self.active = True
        # sizes that happen to be the same in the first batch are still symbols of their own
        torch.fx.experimental._config.use_duck_shape = False
        for layer in layers:
            layer.forward = self._compiled(layer, layer.forward)

    def warm_up(
        self,
        model: Model,
        loss: Loss,
        batch: Batch,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
        *,
        mode: CompileMode,
    ) -> None:
        """Compiles, for a batch that is the same at every start of a run, so that the programs are the same, too: the
        first sizes decide how loops are divided, and with it the order of sums. Leaves no gradients, and the generators
        as they were.

        Where it fails, layers stay as they are if the mode is auto, otherwise ConfigError is raised.
        """
        generators = generators_state(device)
        try:
            log.info("compiling the model's layers, which takes a minute or more")
            with autocast():
                total, _ = loss(model.train().features(batch), model.head, model.labels(batch)[0])
            total.backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # there is no end to what a compiler may stumble over
            reason = " ".join(str(error).split("\n")[:2]) or type(error).__name__
            if mode != "auto":
                raise ConfigError(Problem("trainer.compile", f"does not work here: {reason}; set never")) from error
            log.warning("trainer.compile=auto: not compiled, since that does not work here: %s", reason)
            self.active = False
        for parameter in model.parameters():
            parameter.grad = None
        restore_generators(generators, device)

    def _compiled(self, layer: nn.Module, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        program = torch.compile(forward, dynamic=True, backend=BACKEND)

        def compiled(*arguments: Any, **options: Any) -> Tensor:
            chosen = program if self.active and layer.training and torch.is_grad_enabled() else forward
            output: Tensor = chosen(*arguments, **options)
            return output

        return compiled
