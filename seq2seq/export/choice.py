"""Which engine translates: torch, or CTranslate2 where it is installed and the run fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import nn

from seq2seq.config import RunConfig
from seq2seq.errors import ConfigError, Problem, listed
from seq2seq.export import ctranslate2
from seq2seq.nn.int8 import LEAST_WEIGHTS, Int8Linear, int8_copy, is_supported
from seq2seq.pipeline import LoadedRun
from seq2seq.search.backend import Backend
from seq2seq.search.translator import Translator
from seq2seq.training.precision import Precision

BackendName = Literal["auto", "torch", "ctranslate2"]
Computation = Literal["auto", "fp32", "bf16", "int8"]
MAX_TOKENS = 8192  # of a batch
CPU_TOKENS = 2048  # with CTranslate2 on a CPU, whose caches hold so much, and whose cores get a batch each
WIDTH = 63  # of the reasons, beside `backend: torch (...)`
COMPUTE_TYPES: dict[Computation, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}


def torch_precision(precision: Computation) -> Precision:
    """For the model in torch, which is what the other engine's is made from."""
    return "fp32" if precision == "int8" else precision


def use_threads(number: int | None) -> None:
    """Of torch, and so of all that follows; None leaves one for each core, or what the environment says."""
    if number is not None:
        torch.set_num_threads(number)


@dataclass(frozen=True)
class Choice:
    """engine: its name. told: lines on what was taken where that was not asked for by name."""

    translator: Translator
    engine: str
    told: Sequence[str] = ()


def choose(
    loaded: LoadedRun,
    max_tokens: int | None,
    *,
    backend: BackendName,
    precision: Computation,
    tag: str | None = None,
) -> Choice:
    """max_tokens: None for what suits the engine. tag: what the translator puts before each line.

    Raises ConfigError, with every reason, where the engine that is asked for cannot be taken.
    """
    converted, problems = (None, []) if backend == "torch" else _converted(loaded, precision)
    if converted is not None:
        translator = loaded.translator(max_tokens or (CPU_TOKENS if loaded.device.type == "cpu" else MAX_TOKENS), tag)
        translator.backend = converted
        engine = f"CTranslate2 {ctranslate2.version()}"
        return Choice(translator, engine, [f"backend: {engine}"] if backend == "auto" else [])
    if backend == "ctranslate2":
        raise ConfigError(*problems)
    translator = loaded.translator(max_tokens or MAX_TOKENS, tag)
    told = [f"backend: torch ({_in_short(problems)})"] if problems else []
    if precision == "int8":
        if not is_supported(loaded.device):
            needed = "" if loaded.device.type == "cpu" else "device=cpu or "
            why = f"torch computes in int8 on x86 processors only, so it needs {needed}backend=ctranslate2"
            raise ConfigError(Problem("precision", why), *problems)
        copied = int8_copy(loaded.model)
        translator.backend = translator.in_torch(copied)
        told.append(_int8_layers(copied))
    return Choice(translator, "torch", told)


def _int8_layers(model: nn.Module) -> str:
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, Int8Linear))]
    number = sum(isinstance(layer, Int8Linear) for layer in layers)
    if not number:
        return f"precision: fp32, since no linear layer is large enough for int8 ({LEAST_WEIGHTS:,} weights)"
    return f"precision: int8 in {number} of {len(layers)} linear layers, those of {LEAST_WEIGHTS:,} weights and more"


def _in_short(problems: Sequence[Problem]) -> str:
    """Each reason once, and of several the first where they are too long for a line."""
    reasons = [*{problem.message: str(problem) for problem in reversed(problems)}.values()][::-1]
    told = "; ".join(reasons)
    return told if len(told) <= WIDTH else listed(reasons, 1)


def expected_engine(config: RunConfig, device: torch.device, backend: BackendName, precision: Computation) -> str:
    """What `choose` will take, before the model is loaded; where a conversion fails after all, that is torch."""
    fits = backend != "torch" and _compute_type_or_problems(config, device, precision)[0] is not None
    return f"CTranslate2 {ctranslate2.version()}" if fits else "torch"


def _compute_type_or_problems(
    config: RunConfig, device: torch.device, precision: Computation
) -> tuple[str | None, list[Problem]]:
    """What CTranslate2 would compute in, or why it cannot be taken."""
    if not ctranslate2.is_installed():
        return None, [Problem("", ctranslate2.NOT_INSTALLED)]
    problems = ctranslate2.unsupported_model(config) + ctranslate2.unsupported_search(config.search)
    try:
        known = ctranslate2.compute_types(device)
    except (RuntimeError, ValueError) as error:  # of a GPU, for example, whose libraries are not there
        return None, [*problems, _refused(error)]
    compute_type = _compute_type(precision, known)
    if compute_type not in known:
        told = f"CTranslate2 computes on this {device.type} in {', '.join(sorted(known)) or 'nothing'}"
        problems.append(Problem("precision", told))
    return (None, problems) if problems else (compute_type, [])


def _converted(loaded: LoadedRun, precision: Computation) -> tuple[Backend | None, list[Problem]]:
    """The run's model in CTranslate2, or why it cannot be had.

    Converted anew at each start, in a fraction of a second: no stored copy that could be of another checkpoint.
    """
    compute_type, problems = _compute_type_or_problems(loaded.config, loaded.device, precision)
    if compute_type is None:
        return None, problems
    try:
        return _in_memory(loaded, compute_type), []
    except (RuntimeError, ValueError) as error:
        return None, [_refused(error)]


def _refused(error: Exception) -> Problem:
    return Problem("", f"CTranslate2: {str(error).splitlines()[0]}")


def _in_memory(loaded: LoadedRun, compute_type: str) -> Backend:
    with TemporaryDirectory() as folder:
        ctranslate2.save(
            loaded.config,
            loaded.model,
            loaded.tokenizers,
            Path(folder),
            num_positions=ctranslate2.needed_positions(loaded.config),
            quantization="int8" if compute_type == "int8" and loaded.device.type == "cpu" else "float32",
        )
        return ctranslate2.CTranslate2Backend(
            Path(folder),
            loaded.config,
            loaded.tokenizers,
            compute_type=compute_type,
            device=loaded.device,
            num_threads=torch.get_num_threads(),
        )


def _compute_type(precision: Computation, known: set[str]) -> str:
    """known: what the engine computes in. auto is bfloat16 where that is among them, as it is in torch."""
    if precision == "auto":
        return "bfloat16" if "bfloat16" in known else "float32"
    return COMPUTE_TYPES[precision]
