"""What the machine reaches in one large matrix product, in fp32 and in bf16: prints the operations a second.

python -P -m peers.peak THREADS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

SIZE = 2048
SECONDS = 2.0


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(given["threads"])
    found = {name: peak(dtype) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    Path(given["output"]).write_text(json.dumps(found), encoding="utf-8")


def peak(dtype: torch.dtype) -> float:
    """The fastest of as many products as the time is enough for."""
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    torch.mm(left, right)
    times: list[float] = []
    while not times or sum(times) < SECONDS:
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(times)


if __name__ == "__main__":
    main()
