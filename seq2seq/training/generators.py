"""The global random generators: torch's, Python's and numpy's, which a plugin may draw from."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int, rank: int = 0) -> None:
    """Each rank draws its own numbers."""
    if rank:
        seed = int(np.random.SeedSequence([seed, rank]).generate_state(1, np.uint64)[0])
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def generators_state(device: torch.device) -> dict[str, Any]:
    """Of all that training on this device may draw from; tensors and plain values only."""
    _, keys, *rest = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    state = {"cpu": torch.get_rng_state(), "python": random.getstate(), "numpy": (keys.tolist(), *rest)}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_generators(state: Mapping[str, Any], device: torch.device) -> None:
    """The cuda generator stays as it is where the state is of a run on another device."""
    torch.set_rng_state(state["cpu"])
    random.setstate(state["python"])
    np.random.set_state(("MT19937", *state["numpy"]))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
