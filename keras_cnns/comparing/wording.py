"""How metrics and settings are written for people, the same in tables, on pages and in pictures."""

from __future__ import annotations

from keras_cnns.units import human, human_seconds

SPELLED = {"macs": "MACs", "seconds": "training"}


def spelled(name: str) -> str:
    """Write the name of a metric: validation AUC, MACs, parameters."""
    return SPELLED.get(name, name.replace("val_", "validation ").replace("_", " ").replace("auc", "AUC"))


def written(name: str, value: float, reach: float | None = None) -> str:
    """Write a metric, and what its mean may be off by: 0.9712 ±0.0031, 1.02M, 5.2 ms, 12."""
    if name in ("parameters", "trainable_parameters", "macs"):
        return human(value)
    if name == "seconds":
        return human_seconds(value)
    if name == "epochs":
        return f"{value:.0f}"
    return f"{value:.4f}" + ("" if reach is None else f" ±{reach:.4f}")


def shortened(text: str) -> str:
    """Write a fraction to three digits, and leave all else."""
    try:
        return f"{float(text):.3g}" if "." in text or "e-" in text else text
    except ValueError:
        return text


def counted(number: int) -> str:
    """Write a number of runs: 1 run, 1,200 runs."""
    return f"{number:,} {'run' if number == 1 else 'runs'}"
