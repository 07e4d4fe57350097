"""keras-cnns: the classic convolutional networks, exact and variable, trained, searched and compared."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_cnns.version import __version__

if TYPE_CHECKING:
    from keras_cnns.data import Dataset, load
    from keras_cnns.data.inspection import Inspection, inspect
    from keras_cnns.errors import KerasCnnsError
    from keras_cnns.evaluation import Evaluation, Explanations, Predictions, evaluate, explain, predict
    from keras_cnns.networks import weights
    from keras_cnns.networks.auxiliary import strip_auxiliary
    from keras_cnns.networks.counting import Counts
    from keras_cnns.networks.description import Description, describe
    from keras_cnns.networks.families.densenet import dense_block
    from keras_cnns.networks.families.googlenet import auxiliary_classifier, inception_module
    from keras_cnns.networks.families.nin import mlpconv
    from keras_cnns.networks.families.resnet import residual_unit
    from keras_cnns.networks.features import features
    from keras_cnns.networks.profiling import Profile, profile
    from keras_cnns.networks.recipe import Recipe
    from keras_cnns.networks.registry import build, count, list_models
    from keras_cnns.training import train

_HOMES = {
    "Counts": "keras_cnns.networks.counting",
    "Dataset": "keras_cnns.data",
    "Description": "keras_cnns.networks.description",
    "Evaluation": "keras_cnns.evaluation",
    "Explanations": "keras_cnns.evaluation",
    "Inspection": "keras_cnns.data.inspection",
    "KerasCnnsError": "keras_cnns.errors",
    "Predictions": "keras_cnns.evaluation",
    "Profile": "keras_cnns.networks.profiling",
    "Recipe": "keras_cnns.networks.recipe",
    "auxiliary_classifier": "keras_cnns.networks.families.googlenet",
    "build": "keras_cnns.networks.registry",
    "count": "keras_cnns.networks.registry",
    "dense_block": "keras_cnns.networks.families.densenet",
    "describe": "keras_cnns.networks.description",
    "evaluate": "keras_cnns.evaluation",
    "explain": "keras_cnns.evaluation",
    "features": "keras_cnns.networks.features",
    "inception_module": "keras_cnns.networks.families.googlenet",
    "inspect": "keras_cnns.data.inspection",
    "list_models": "keras_cnns.networks.registry",
    "load": "keras_cnns.data",
    "mlpconv": "keras_cnns.networks.families.nin",
    "predict": "keras_cnns.evaluation",
    "profile": "keras_cnns.networks.profiling",
    "residual_unit": "keras_cnns.networks.families.resnet",
    "strip_auxiliary": "keras_cnns.networks.auxiliary",
    "train": "keras_cnns.training",
    "weights": "keras_cnns.networks.weights",
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
    "__version__",
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
    "weights",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import keras_cnns` loads no backend."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = module if module.__name__.endswith(f".{name}") and not hasattr(module, name) else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
