"""keras-cnns: classic convolutional networks as published, configurable, to train, tune and compare."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_cnns.lazy import import_needed, prepare_keras
from keras_cnns.version import __version__

if TYPE_CHECKING:
    from keras_cnns.comparing.model_comparison import ModelComparison, compare_models
    from keras_cnns.data import Dataset
    from keras_cnns.data.inspection import Inspection, inspect
    from keras_cnns.display.progress import Progress
    from keras_cnns.errors import KerasCnnsError
    from keras_cnns.evaluation import Evaluation, Explanations, Predictions, evaluate, explain, predict
    from keras_cnns.evaluation.classifier import Classifier, load
    from keras_cnns.exporting.export import Export, Exports, export
    from keras_cnns.networks import weights
    from keras_cnns.networks.auxiliary import auxiliary_outputs, strip_auxiliary
    from keras_cnns.networks.counting import Counts
    from keras_cnns.networks.description import Description, describe
    from keras_cnns.networks.features import features
    from keras_cnns.networks.profiling import Profile, profile
    from keras_cnns.networks.recipe import Recipe
    from keras_cnns.networks.registry import count, list_models
    from keras_cnns.pretrained.applications import decode_predictions, preprocess_input
    from keras_cnns.pretrained.building import build
    from keras_cnns.serving.server import serve
    from keras_cnns.training.cross_validation import CrossValidation, cross_validate
    from keras_cnns.training.run import train
    from keras_cnns.writing.report import Report, report
    from keras_cnns.writing.reproducing import Reproduction, reproduce

_MODULES = {
    "Classifier": "evaluation.classifier",
    "Counts": "networks.counting",
    "CrossValidation": "training.cross_validation",
    "Dataset": "data",
    "Description": "networks.description",
    "Evaluation": "evaluation",
    "Explanations": "evaluation",
    "Export": "exporting.export",
    "Exports": "exporting.export",
    "Inspection": "data.inspection",
    "KerasCnnsError": "errors",
    "ModelComparison": "comparing.model_comparison",
    "Predictions": "evaluation",
    "Profile": "networks.profiling",
    "Progress": "display.progress",
    "Recipe": "networks.recipe",
    "Report": "writing.report",
    "Reproduction": "writing.reproducing",
    "auxiliary_outputs": "networks.auxiliary",
    "build": "pretrained.building",
    "compare_models": "comparing.model_comparison",
    "count": "networks.registry",
    "cross_validate": "training.cross_validation",
    "decode_predictions": "pretrained.applications",
    "describe": "networks.description",
    "evaluate": "evaluation",
    "explain": "evaluation",
    "export": "exporting.export",
    "features": "networks.features",
    "inspect": "data.inspection",
    "list_models": "networks.registry",
    "load": "evaluation.classifier",
    "predict": "evaluation",
    "preprocess_input": "pretrained.applications",
    "profile": "networks.profiling",
    "report": "writing.report",
    "reproduce": "writing.reproducing",
    "serve": "serving.server",
    "strip_auxiliary": "networks.auxiliary",
    "train": "training.run",
    "weights": "networks.weights",
}

__all__ = [
    "Classifier",
    "Counts",
    "CrossValidation",
    "Dataset",
    "Description",
    "Evaluation",
    "Explanations",
    "Export",
    "Exports",
    "Inspection",
    "KerasCnnsError",
    "ModelComparison",
    "Predictions",
    "Profile",
    "Progress",
    "Recipe",
    "Report",
    "Reproduction",
    "__version__",
    "auxiliary_outputs",
    "build",
    "compare_models",
    "count",
    "cross_validate",
    "decode_predictions",
    "describe",
    "evaluate",
    "explain",
    "export",
    "features",
    "inspect",
    "list_models",
    "load",
    "predict",
    "preprocess_input",
    "profile",
    "report",
    "reproduce",
    "serve",
    "strip_auxiliary",
    "train",
    "weights",
]

prepare_keras()


def __getattr__(name: str) -> Any:
    """Import a public name, or a block of a family, when it is first used: `import keras_cnns` loads no backend."""
    if name in _MODULES:
        module = import_needed(f"{__name__}.{_MODULES[name]}")
        value = module if name == "weights" else getattr(module, name)
    elif name.startswith("_") or name not in _blocks():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        value = _blocks()[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *_blocks()]


def _blocks() -> dict[str, Callable[..., Any]]:
    """Return the public blocks of all families by name."""
    blocks: dict[str, Callable[..., Any]] = importlib.import_module("keras_cnns.networks.registry").all_blocks()
    return blocks
