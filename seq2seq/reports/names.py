"""Names of runs, cut to what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

HASH = re.compile(r"-[0-9a-f]{8}$")  # that a sweep puts behind what is varied, in the place of all that is the same


def shortener(names: Sequence[str], width: int | None = None) -> Callable[[str], str]:
    """Of names as a sweep gives, `model=lstm_tiny,optimizer.lr=0.001,trainer.seed=1`: without the parts that all in
    their folder share, and of each key the last word, where that is enough; of the model its name alone. Other names
    stay as they are. width: characters; longer names lose their middle, where they are still told apart then.
    """
    in_folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, last = name.rpartition("/")
        in_folders.setdefault(folder, []).append(last)
    shorten_in = {folder: _of_one_folder(lasts) for folder, lasts in in_folders.items()}

    def shorten(name: str) -> str:
        folder, slash, last = name.rpartition("/")
        return f"{folder}{slash}{shorten_in[folder](last)}" if folder in shorten_in else name

    def cut(name: str) -> str:
        short = shorten(name)
        if width is None or len(short) <= width:
            return short
        return f"{short[: (width - 3) // 2]}...{short[-(width - 2) // 2 :]}"

    is_clear = len({*map(cut, names)}) == len({*map(shorten, names)})
    return cut if is_clear else shorten


def _of_one_folder(names: Sequence[str]) -> Callable[[str], str]:
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
