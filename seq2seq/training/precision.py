"""Which device to compute on, and in which number format."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from seq2seq.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]
Resolved = Literal["fp32", "bf16"]


def resolve_device(name: str) -> torch.device:
    """`auto` is the current CUDA device where there is one, else the CPU.

    Raises ConfigError for a device that this machine does not have.
    """
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["cpu", *(f"cuda:{index}" for index in range(num_cuda))]
    if name == "auto":
        name = "cuda" if num_cuda else "cpu"
    if name == "cuda" and num_cuda:
        return torch.device("cuda", torch.cuda.current_device())
    if name not in known:
        raise ConfigError(f"device {name!r} is not on this machine, which has {', '.join(known)}")
    return torch.device(name)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies matrices in bf16 (AMX or AVX-512 instructions); without them fp32 is faster."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def resolve_precision(precision: Precision, device: torch.device) -> Resolved:
    """`auto` is bf16 where the hardware has it. Raises ConfigError where bf16 is asked for and it does not."""
    if precision == "fp32":
        return "fp32"
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = device.type == "cpu" and cpu_has_bf16()
    if precision == "bf16" and not supported:
        raise ConfigError(f"precision bf16: this machine's {device.type} device cannot; use auto or fp32")
    return "bf16" if supported else "fp32"


def autocast(device: torch.device, precision: Resolved) -> AbstractContextManager[object]:
    """Where the forward pass runs; parameters, gradients and the optimizer stay in float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
