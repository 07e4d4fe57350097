"""How good predictions are, and how sure that is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_cnns.evaluation.metrics import scores

if TYPE_CHECKING:
    from keras_cnns.evaluation.explaining import Explanations, explain
    from keras_cnns.evaluation.prediction import Predictions, predict
    from keras_cnns.evaluation.run import Evaluation, evaluate

__all__ = ["Evaluation", "Explanations", "Predictions", "evaluate", "explain", "predict", "scores"]

_HOMES = {
    "Evaluation": "run",
    "Explanations": "explaining",
    "Predictions": "prediction",
    "evaluate": "run",
    "explain": "explaining",
    "predict": "prediction",
}


def __getattr__(name: str) -> Any:
    """Import what reads runs when it is first asked for: a training, which imports this room, needs it not."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"keras_cnns.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
