import pytest
import torch

from seq2seq.errors import ConfigError
from seq2seq.training import precision
from seq2seq.training.precision import autocast, cpu_has_bf16, resolve_device, resolve_precision

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, count: int, bf16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: count - 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)


def test_devices_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, 0)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    for name in ("cuda", "cuda:0", "mps", "gpu"):
        with pytest.raises(ConfigError, match=rf"^device '{name}' is not on this machine, which has cpu$"):
            resolve_device(name)


def test_devices_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, 2)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 1)
    assert resolve_device("cuda:0") == CUDA
    assert resolve_device("cpu") == CPU
    with pytest.raises(ConfigError, match=r"'cuda:2' is not on this machine, which has cpu, cuda:0, cuda:1$"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"neon": True}, False),
    ],
)
def test_bf16_of_a_cpu(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert cpu_has_bf16() is expected


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_auto_takes_what_the_hardware_has(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, has_bf16: bool
) -> None:
    pretend_cuda(monkeypatch, 1, bf16=has_bf16)
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
    assert resolve_precision("auto", device) == ("bf16" if has_bf16 else "fp32")
    assert resolve_precision("fp32", device) == "fp32"
    if has_bf16:
        assert resolve_precision("bf16", device) == "bf16"
    else:
        with pytest.raises(ConfigError, match=f"this machine's {device.type} device cannot; use auto or fp32"):
            resolve_precision("bf16", device)


def test_autocast() -> None:
    layer = torch.nn.Linear(5, 7)
    with autocast(CPU, "bf16"):
        assert layer(torch.ones(2, 5)).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert layer(torch.ones(2, 5)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
