"""Names of runs, cut to what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

HASH = re.compile(r"-[0-9a-f]{8}$")  # that a sweep puts behind what is varied, in the place of all that is the same


def shortener(names: Sequence[str]) -> Callable[[str], str]:
    """Of names as a sweep gives, `model=lstm_tiny,optimizer.lr=0.001,trainer.seed=1`: without the parts that all share,
    and of each key the last word, where that is enough; of the model its name alone. Other names stay as they are.
    """
    bare = {name: without_hash(name) for name in names}
    if len({*bare.values()}) < len(bare):
        bare = {name: name for name in names}
    split = [_parts(name) for name in bare.values()]
    if not split or not all(split):
        return lambda name: name
    shared = set.intersection(*map(set, split)) if len(split) > 1 else set()
    keys = sorted({key for parts in split for key, _ in parts})
    last = {key: key.rsplit(".", 1)[-1] for key in keys}
    clear = {key: word if [*last.values()].count(word) == 1 else key for key, word in last.items()}

    def shorten(name: str) -> str:
        told = [
            value if key == "model" else f"{clear.get(key, key)}={value}"
            for key, value in _parts(bare.get(name, name))
            if (key, value) not in shared
        ]
        return " ".join(told) or name

    return shorten


def without_hash(name: str) -> str:
    """A sweep's name without the eight digits at its end."""
    return HASH.sub("", name) if _parts(name) else name


def _parts(name: str) -> list[tuple[str, str]]:
    """The keys and values; none where it is another name. A comma without a key after it belongs to the value."""
    found: list[tuple[str, str]] = []
    for piece in name.split(","):
        key, sign, value = piece.partition("=")
        if sign and key and " " not in key:
            found.append((key, value))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]},{piece}")
        else:
            return []
    return found
