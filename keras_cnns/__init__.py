"""keras-cnns: the classic convolutional networks, exact and variable, trained, searched and compared."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_cnns.auxiliary import strip_auxiliary
    from keras_cnns.counting import Counts
    from keras_cnns.data import Dataset, load
    from keras_cnns.data.inspection import Inspection, inspect
    from keras_cnns.description import Description, describe
    from keras_cnns.errors import KerasCnnsError
    from keras_cnns.evaluation import Evaluation, Explanations, Predictions, evaluate, explain, predict
    from keras_cnns.families.densenet import dense_block
    from keras_cnns.families.googlenet import auxiliary_classifier, inception_module
    from keras_cnns.families.nin import mlpconv
    from keras_cnns.families.resnet import residual_unit
    from keras_cnns.feature_maps import features
    from keras_cnns.profiling import Profile, profile
    from keras_cnns.registry import build, count, list_models
    from keras_cnns.training import Recipe, train

__version__ = "0.1.0"

_HOMES = {
    "Counts": "keras_cnns.counting",
    "Dataset": "keras_cnns.data",
    "Description": "keras_cnns.description",
    "Evaluation": "keras_cnns.evaluation",
    "Explanations": "keras_cnns.evaluation",
    "Inspection": "keras_cnns.data.inspection",
    "KerasCnnsError": "keras_cnns.errors",
    "Predictions": "keras_cnns.evaluation",
    "Profile": "keras_cnns.profiling",
    "Recipe": "keras_cnns.training",
    "auxiliary_classifier": "keras_cnns.families.googlenet",
    "build": "keras_cnns.registry",
    "count": "keras_cnns.registry",
    "dense_block": "keras_cnns.families.densenet",
    "describe": "keras_cnns.description",
    "evaluate": "keras_cnns.evaluation",
    "explain": "keras_cnns.evaluation",
    "features": "keras_cnns.feature_maps",
    "inception_module": "keras_cnns.families.googlenet",
    "inspect": "keras_cnns.data.inspection",
    "list_models": "keras_cnns.registry",
    "load": "keras_cnns.data",
    "mlpconv": "keras_cnns.families.nin",
    "predict": "keras_cnns.evaluation",
    "profile": "keras_cnns.profiling",
    "residual_unit": "keras_cnns.families.resnet",
    "strip_auxiliary": "keras_cnns.auxiliary",
    "train": "keras_cnns.training",
}

__all__ = [
    "Counts",
    "Dataset",
    "Description",
    "Evaluation",
    "Explanations",
    "Inspection",
    "KerasCnnsError",
    "Predictions",
    "Profile",
    "Recipe",
    "auxiliary_classifier",
    "build",
    "count",
    "dense_block",
    "describe",
    "evaluate",
    "explain",
    "features",
    "inception_module",
    "inspect",
    "list_models",
    "load",
    "mlpconv",
    "predict",
    "profile",
    "residual_unit",
    "strip_auxiliary",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for: `import keras_cnns` loads no backend."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
