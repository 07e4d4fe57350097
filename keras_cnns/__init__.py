"""keras-cnns: classic convolutional networks as published, configurable, to train, tune and compare."""

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
    from keras_cnns.networks.auxiliary import auxiliary_outputs, strip_auxiliary
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
    from keras_cnns.training.run import train

_MODULES = {
    "Counts": "networks.counting",
    "Dataset": "data",
    "Description": "networks.description",
    "Evaluation": "evaluation",
    "Explanations": "evaluation",
    "Inspection": "data.inspection",
    "KerasCnnsError": "errors",
    "Predictions": "evaluation",
    "Profile": "networks.profiling",
    "Recipe": "networks.recipe",
    "auxiliary_classifier": "networks.families.googlenet",
    "auxiliary_outputs": "networks.auxiliary",
    "build": "networks.registry",
    "count": "networks.registry",
    "dense_block": "networks.families.densenet",
    "describe": "networks.description",
    "evaluate": "evaluation",
    "explain": "evaluation",
    "features": "networks.features",
    "inception_module": "networks.families.googlenet",
    "inspect": "data.inspection",
    "list_models": "networks.registry",
    "load": "data",
    "mlpconv": "networks.families.nin",
    "predict": "evaluation",
    "profile": "networks.profiling",
    "residual_unit": "networks.families.resnet",
    "strip_auxiliary": "networks.auxiliary",
    "train": "training.run",
    "weights": "networks.weights",
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
    "auxiliary_outputs",
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
    """Import a public name when it is first used, so that `import keras_cnns` loads no backend."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = module if name == "weights" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
