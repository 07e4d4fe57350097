"""Large numbers as people write them: 7.98M parameters, 2.8G multiply-accumulates."""

from __future__ import annotations

import math
import re

UNITS = {"T": 1e12, "G": 1e9, "M": 1e6, "K": 1e3}
NUMBER = re.compile(r"(\d+(?:_\d+)*(?:\.\d*)?(?:e\+?\d+)?)([kmgt]?)", re.IGNORECASE)


def human(value: float) -> str:
    """Write a number of 0 or more with its unit: 1.02M, 264.8M, 12."""
    for unit, size in UNITS.items():
        scaled = value / size
        if scaled >= 0.99995:  # below it is at most 999.9 of the next smaller unit
            return f"{scaled:.2f}{unit}" if scaled < 9.995 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}"


def read_number(text: str) -> int:
    """Read a whole number of 0 or more that may have a unit: 1M, 250K, 1.5e6, 1_000_000.

    Raises:
        ValueError: It is none.
    """
    found = NUMBER.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no number.")
    value = float(found[1]) * UNITS.get(found[2].upper(), 1.0)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large.")
    return round(value)
