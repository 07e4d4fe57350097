"""Format metrics, settings and counts, in the same way in tables, on pages and in plots."""

from __future__ import annotations

from keras_cnns.units import UNITS, format_number, format_seconds

METRIC_LABELS = {"macs": "MACs", "seconds": "training time"}


def metric_label(name: str) -> str:
    """Return the label of a metric: "validation AUC", "MACs", "parameters"."""
    return METRIC_LABELS.get(name, name.replace("val_", "validation ").replace("_", " ").replace("auc", "AUC"))


def format_metric(name: str, value: float, margin: float | None = None) -> str:
    """Format a metric, and the margin of error of its mean: "0.9712 ±0.0031", "1.02M", "5.2 s", "12"."""
    if name in ("parameters", "trainable_parameters", "macs"):
        return format_number(value)
    if name == "seconds":
        return format_seconds(value)
    if name == "epochs":
        return f"{value:.0f}"
    return f"{value:.4f}" + ("" if margin is None else f" ±{margin:.4f}")


def format_setting(text: str) -> str:
    """Round a setting to three digits if it is a fraction; return any other text unchanged."""
    try:
        return f"{float(text):.3g}" if "." in text or "e-" in text else text
    except ValueError:
        return text


def format_tick(value: float) -> str:
    """Format a number on an axis: "200K", "5M", "0.5"."""
    unit, size = next(((unit, size) for unit, size in UNITS.items() if value >= size), ("", 1.0))
    return f"{value / size:g}{unit}"


def format_count(number: int, noun: str = "run") -> str:
    """Format a number of runs or of something else: "1 run", "1,200 runs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
