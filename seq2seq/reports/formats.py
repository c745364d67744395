"""Numbers, times and values of a config as people read them."""

from __future__ import annotations

import math
from typing import Any

MISSING = "\u2013"
MINUS = "\u2212"


def decimal(value: float | None, places: int = 2) -> str:
    """With a real minus sign; of what is too large its order of magnitude."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}\u221e"
    told = f"{value:.2e}" if abs(value) >= 1e6 else f"{value:,.{places}f}"
    return told.replace("-", MINUS)


def signed(value: float, places: int = 2) -> str:
    """With a plus, too."""
    value = round(value, places) + 0.0  # no negative zero
    told = decimal(value, places)
    return f"+{told}" if value > 0 else told


def count(value: float | None, absent: str = MISSING) -> str:
    """Three digits and a letter for what is large: 1.23M, 12.3k."""
    if value is None or not math.isfinite(value):
        return absent
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{float(f'{value / size:.3g}'):g}{letter}"
    return f"{value:.0f}"


def duration(seconds: float | None, absent: str = MISSING) -> str:
    """In the two largest units: 45s, 14m, 2h05m, 3d04h."""
    if seconds is None or not math.isfinite(seconds):
        return absent
    if round(seconds) < 60:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24:02d}h"


def probability(value: float) -> str:
    """A p-value."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def setting(value: Any) -> str:
    """A value of a config, as it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting, value))}]"
    told = str(value)
    return told if told and told == told.strip() else f"'{told}'"


def number_of(amount: int, thing: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}"
