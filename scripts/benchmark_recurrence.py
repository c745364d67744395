"""Torch's fused recurrence against a step-by-step loop over the same cell, with the same weights.

    python scripts/benchmark_recurrence.py
    python scripts/benchmark_recurrence.py --device cuda --rows 64 --length 50 --width 512

Prints for each cell the time of both, forward and backward, taken in turns, and their ratio.
"""

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from stopwatch import Stopwatch
from torch import Tensor, nn

CELLS: dict[str, tuple[type[nn.RNNBase], type[nn.RNNCellBase]]] = {
    "rnn": (nn.RNN, nn.RNNCell),
    "lstm": (nn.LSTM, nn.LSTMCell),
    "gru": (nn.GRU, nn.GRUCell),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    x = torch.randn(options.rows, options.length, options.width, device=options.device)
    stopwatch = Stopwatch(x.device)
    print(f"{options.rows} rows of {options.length} steps, width {options.width}, {x.device}, forward and backward")
    for name, (fused_type, cell_type) in CELLS.items():
        fused: Any = fused_type(options.width, options.width, batch_first=True, device=options.device)
        cell: Any = cell_type(options.width, options.width, device=options.device)
        cell.load_state_dict({key: getattr(fused, f"{key}_l0") for key in cell.state_dict()})
        torch.testing.assert_close(loop(cell, x), fused(x)[0], atol=1e-3, rtol=1e-3)
        in_one_call, step_by_step = seconds(
            [lambda layer=fused: layer(x)[0], lambda layer=cell: loop(layer, x)], stopwatch, options.repeat
        )
        print(
            f"{name:5}  fused {in_one_call * 1e3:8.2f} ms   loop {step_by_step * 1e3:8.2f} ms   "
            f"{step_by_step / in_one_call:.2f} x as fast"
        )


def loop(cell: nn.Module, x: Tensor) -> Tensor:
    """x (B,T,D) -> (B,T,D), one call of the cell for each column."""
    state, outputs = None, []
    for column in x.unbind(dim=1):
        state = cell(column, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1)


def seconds(calls: list[Callable[[], Tensor]], stopwatch: Stopwatch, repeat: int) -> list[float]:
    """The median of each, after two that do not count."""
    times = [[stopwatch(lambda call=call: call().sum().backward()) for call in calls] for _ in range(repeat + 2)]
    return [median(of_call) for of_call in zip(*times[2:], strict=True)]


if __name__ == "__main__":
    main()
