"""Evaluation of trained networks: metrics with confidence intervals, calibration, predictions and explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_cnns.lazy import import_needed

if TYPE_CHECKING:
    from keras_cnns.evaluation.evaluation import evaluate
    from keras_cnns.evaluation.explanation import Explanations, explain
    from keras_cnns.evaluation.metrics import compute_scores
    from keras_cnns.evaluation.prediction import Predictions, predict
    from keras_cnns.evaluation.results import Evaluation

__all__ = ["Evaluation", "Explanations", "Predictions", "compute_scores", "evaluate", "explain", "predict"]

_MODULES = {
    "Evaluation": "results",
    "Explanations": "explanation",
    "Predictions": "prediction",
    "compute_scores": "metrics",
    "evaluate": "evaluation",
    "explain": "explanation",
    "predict": "prediction",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing one module of this package does not import all."""
    if name in _MODULES:
        return getattr(import_needed(f"keras_cnns.evaluation.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
