"""Numbers as people write them: 7.98M parameters, 2.8G multiply-accumulates, 5.2 ms."""

from __future__ import annotations

import math
import re

UNITS = {"T": 1e12, "G": 1e9, "M": 1e6, "K": 1e3}
NUMBER = re.compile(r"(\d+(?:_\d+)*(?:\.\d*)?(?:e\+?\d+)?)([kmgt]?)", re.IGNORECASE)
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms|us)", re.IGNORECASE)


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


def human_seconds(seconds: float) -> str:
    """Write a time with its unit, to three digits: 0.213 ms, 5.2 ms, 1.5 s."""
    scaled, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{float(f'{scaled:.3g}'):g} {unit}"


def read_seconds(text: str) -> float:
    """Read a time with its unit, and return it in seconds: 5ms, 0.5 ms, 2s, 800us.

    Raises:
        ValueError: It is none.
    """
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time; write one like 5ms, 0.5ms or 2s.")
    return float(found[1]) * SECONDS[found[2].lower()]
