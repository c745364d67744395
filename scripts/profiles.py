"""Where the time of an update goes: the events of torch.profiler in a few groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# The first whose words are in an event's name takes it.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("compiled", ("compiled", "inductor", "triton", "graph_")),
    ("attention", ("attention", "flash", "bmm", "baddbmm", "aten::_softmax", "_safe_softmax")),
    ("dropout and random", ("dropout", "bernoulli", "random", "rand", "uniform")),
    ("softmax and loss", ("log_softmax", "nll_loss", "cross_entropy", "logsumexp")),
    ("matrix products", ("aten::mm", "addmm", "matmul", "aten::linear", "mkldnn_linear", "gemm")),
    ("optimizer", ("adam", "optimizer", "_foreach", "clip_grad", "linalg_vector_norm")),
    ("norms", ("layer_norm", "rms_norm")),
    ("embedding", ("embedding", "index_select", "gather")),
    (
        "elementwise and copies",
        (
            *(
                "aten::add",
                "aten::mul",
                "aten::div",
                "aten::sub",
                "aten::relu",
                "threshold",
                "aten::where",
                "aten::sum",
            ),
            *("copy_", "aten::to", "clone", "contiguous", "aten::cat", "fill_", "zero", "masked_fill", "aten::index"),
            *("aten::neg", "aten::ne", "aten::eq", "aten::sin", "aten::cos", "bitwise", "aten::lt", "aten::ge"),
        ),
    ),
)
OTHER = "other"


def group_of(event: str) -> str:
    lowered = event.lower()
    return next((name for name, words in GROUPS if any(word in lowered for word in words)), OTHER)


def shares(events: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Group -> its part of all the time. events: names and seconds, each without those inside of it."""
    seconds: dict[str, float] = dict.fromkeys((*(name for name, _ in GROUPS), OTHER), 0.0)
    for name, spent in events:
        seconds[group_of(name)] += spent
    total = sum(seconds.values())
    return {name: spent / total if total else 0.0 for name, spent in seconds.items()}


def profile_table(events: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    """A column for each name."""
    found = {name: shares(of_name) for name, of_name in events.items()}
    lines = [f"\n| time of an update | {' | '.join(found)} |", f"|---|{'--:|' * len(found)}"]
    for group in (*(name for name, _ in GROUPS), OTHER):
        cells = [f"{of_name[group]:.1%}" for of_name in found.values()]
        if any(of_name[group] for of_name in found.values()):
            lines.append(f"| {group} | {' | '.join(cells)} |")
    return "\n".join(lines)
