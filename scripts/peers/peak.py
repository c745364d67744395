"""What the machine reaches in one large matrix product, in fp32 and in bf16: operations a second.

    python -P -m peers.peak FILE

The file names the number of threads, the device and the output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peers.measuring import Clock

SIZES = {"cpu": 2048, "cuda": 8192}
SECONDS = 2.0


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(given["threads"])
    device = given["device"]
    found = {name: peak(dtype, device) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    Path(given["output"]).write_text(json.dumps(found), encoding="utf-8")


def peak(dtype: torch.dtype, device: str) -> float:
    """The fastest of as many products as the time is enough for."""
    size = SIZES[device.partition(":")[0]]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    torch.mm(left, right)
    clock = Clock(device)
    clock.tick()
    times: list[float] = []
    while not times or sum(times) < SECONDS:
        torch.mm(left, right)
        clock.tick()
        clock.wait()
        times.append(clock.between(-2, -1))
    return 2 * size**3 / min(times)


if __name__ == "__main__":
    main()
