"""Numbers with units, as people write them: 7.98M parameters, 2.8G multiply-accumulates, 5.2 ms."""

from __future__ import annotations

import math
import re

UNITS = {"T": 1e12, "G": 1e9, "M": 1e6, "K": 1e3}
NUMBER = re.compile(r"(\d+(?:_\d+)*(?:\.\d*)?(?:e\+?\d+)?)([kmgt]?)", re.IGNORECASE)


def format_number(value: float) -> str:
    """Format a non-negative number with its unit: 1.02M, 264.8M, 12."""
    for unit, size in UNITS.items():
        scaled = value / size
        if scaled >= 0.99995:  # smaller numbers are rounded to at most 999.9 of the next unit
            return f"{scaled:.2f}{unit}" if scaled < 9.995 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}"


def parse_number(text: str) -> int:
    """Return a non-negative integer that may have a unit: 1M, 250K, 1.5e6, 1_000_000.

    Raises:
        ValueError: The text is not a number.
    """
    match = NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a number.")
    value = float(match[1]) * UNITS.get(match[2].upper(), 1.0)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large.")
    return round(value)


def format_seconds(seconds: float) -> str:
    """Format a duration with its unit and three significant digits: 0.213 ms, 5.2 ms, 1.5 s."""
    scaled, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{float(f'{scaled:.3g}'):g} {unit}"
