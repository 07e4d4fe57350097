"""Linear probe: the classifier as a logistic regression on the features of a network that is not trained.

The features are what the classifier receives for the training images, without augmentation and dropout. They are
computed once and cached. Validation and test images are not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from keras_cnns.atomic import atomic_write
from keras_cnns.cache import cache_folder, catch_write_errors
from keras_cnns.data import Dataset
from keras_cnns.data.folds import make_folds
from keras_cnns.data.pipeline import evaluation_batches
from keras_cnns.errors import DataError, SettingError
from keras_cnns.networks.auxiliary import strip_auxiliary
from keras_cnns.networks.graph import AUXILIARY, graph_nodes, model_inputs, raised_recursion_limit, weights_of
from keras_cnns.networks.weights.transfer import CLASSIFIERS
from keras_cnns.training.job import Job, assemble, class_weights, load_weights
from keras_cnns.training.speed import dtype_policy
from keras_cnns.version import __version__

BATCH_SIZE = 256
FOLDS = (5, 4, 3, 2)
STRENGTHS = tuple(10.0**power for power in np.arange(-5, 2.5, 0.5))
"""Inverse strengths of the L2 regularisation, scikit-learn's `C`, from strong to weak."""
DEFAULT_STRENGTH = 1e-2
WORSE_STRENGTHS = 2
"""After this many strengths that are worse than the best one, no weaker regularisation is tried."""
MAX_ITERATIONS, TOLERANCE = 2000, 1e-6
NEVER = -20.0
"""The logit of a class without training images."""

Fitted = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The values that labels have, and the kernel and the bias that scikit-learn fits for them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A linear classifier of features.

    Attributes:
        layer: The name of the network's layer.
        kernel: Shape (features, classes).
        bias: Shape (classes,).
        strength: The inverse strength of the regularisation.
    """

    layer: str
    kernel: np.ndarray
    bias: np.ndarray
    strength: float

    def copy_to(self, model: keras.Model) -> None:
        """Let a network begin with this classifier."""
        model.get_layer(self.layer).set_weights([self.kernel, self.bias])


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of images.

    Attributes:
        layer: The name of the classifier that receives them.
        values: Shape (images, features), float32.
    """

    layer: str
    values: np.ndarray


def fit_classifier(job: Job, dataset: Dataset, micro_batches: int = 1) -> Classifier:
    """Fit the classifier of a network on the features of the training images.

    Args:
        job: The network with its weights, and the recipe, whose class weights are used.
        dataset: The images.
        micro_batches: The number of parts into which a batch of images is divided to fit into memory.

    Raises:
        SettingError: The network does not end in a dense layer.
    """
    features = compute_features(job, dataset, max(1, BATCH_SIZE // micro_batches))
    labels = dataset.training.labels
    weights = weigh_images(labels, class_weights(job.recipe, dataset))
    values = features.values.astype(np.float64)
    strength = choose_strength(values, labels, weights, dataset)
    kernel, bias = Regression(values, labels, weights, dataset.classes).fit(strength)
    return Classifier(
        layer=features.layer, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32), strength=strength
    )


def compute_features(job: Job, dataset: Dataset, batch_size: int) -> Features:
    """Return the features of the training images, from the cache if they are there."""
    path = cache_folder("features") / f"{cache_key(job, dataset)}.npz"
    with contextlib.suppress(FileNotFoundError), np.load(path, allow_pickle=False) as stored:
        return Features(layer=str(stored["layer"]), values=stored["values"])
    network, layer = feature_network(job, dataset)
    values = network.predict(evaluation_batches(dataset.training.images, batch_size), verbose=0)
    features = Features(layer=layer, values=np.asarray(values, np.float32))
    save_features(path, features)
    return features


def save_features(path: Path, features: Features) -> None:
    """Write features to the cache, or raise a `DataError`."""
    with catch_write_errors(path.parent), atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, layer=np.array(features.layer), values=features.values)


def cache_key(job: Job, dataset: Dataset) -> str:
    """Return what the features depend on, as a hash: the network, its weights, and the training images."""
    random_layers = [name for name in job.initial_layers if name not in CLASSIFIERS and not name.startswith(AUXILIARY)]
    facts = {
        "network": {name: value for name, value in job.describe().items() if name not in {"recipe", "seed"}},
        "seed": job.seed if job.weights is None or random_layers else None,
        "preprocessing": job.preprocessing(dataset).as_dict(),
        "images": [*dataset.image_shape, dataset.classes],
        "training": dataset.training.fingerprint,
        "versions": [__version__, keras.__version__],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def feature_network(job: Job, dataset: Dataset) -> tuple[keras.Model, str]:
    """Return the network of a job up to its classifier, in float32, and the name of the classifier.

    Raises:
        SettingError: The network does not end in a dense layer.
    """
    keras.utils.set_random_seed(job.seed)
    with dtype_policy("float32"):
        model = assemble(job, dataset)
    load_weights(job, dataset, model)
    nodes = reversed(list(graph_nodes(strip_auxiliary(model))))
    layer, inputs, _ = next(node for node in nodes if weights_of(node[0]))
    if not isinstance(layer, keras.layers.Dense):
        raise SettingError(
            f"head=probe: {job.model} with these settings does not end in a dense layer; use head=random."
        )
    with raised_recursion_limit():
        return keras.Model(model_inputs(model), inputs[0], name=f"{model.name}_features"), layer.name


def weigh_images(labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
    """Return the weight of each image, given that of each class."""
    return None if weights is None else weights[labels]


def choose_strength(values: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, dataset: Dataset) -> float:
    """Return the strength with the lowest loss in a cross-validation among the training images.

    Images of a patient and nearly identical ones are in the same fold. With too few images or patients of a class for
    two folds, the strength is the default.

    Args:
        values: The features, shape (images, features).
        labels: As in `Split`.
        weights: The weight of each image.
        dataset: The dataset, whose training images these are.
    """
    assigned = assign_folds(dataset)
    if assigned is None:
        return DEFAULT_STRENGTH
    folds = [assigned == fold for fold in range(assigned.max() + 1)]
    regressions = [
        Regression(values[~fold], labels[~fold], None if weights is None else weights[~fold], dataset.classes)
        for fold in folds
    ]
    losses = list[float]()
    for strength in STRENGTHS:
        loss = 0.0
        for fold, regression in zip(folds, regressions, strict=True):
            kernel, bias = regression.fit(strength)
            of_fold = None if weights is None else weights[fold]
            loss += total_loss(values[fold] @ kernel + bias, labels[fold], of_fold)
        losses.append(loss)
        if len(losses) - 1 - int(np.argmin(losses)) >= WORSE_STRENGTHS:
            break
    return float(STRENGTHS[int(np.argmin(losses))])


def assign_folds(dataset: Dataset) -> np.ndarray | None:
    """Return the fold of each training image, shape (images,); None if a class has too few images for two folds."""
    only_training = replace(dataset, splits={"train": dataset.training})
    for folds in FOLDS:
        with contextlib.suppress(DataError):
            return make_folds(only_training, folds=folds).assigned
    return None


def total_loss(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the sum of the cross-entropies of images, given the logits of classes or of labels."""
    if labels.ndim == 2:
        losses = np.logaddexp(0.0, np.where(labels == 1, -logits, logits)).sum(axis=1)
    else:
        losses = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return float(losses.sum() if weights is None else losses @ weights)


class Regression:
    """Multinomial logistic regression on standardized features, or one binary regression for each label.

    Args:
        values: The features, shape (images, features).
        labels: As in `Split`.
        weights: The weight of each image; None: all are equal.
        classes: The number of classes or labels.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, classes: int) -> None:
        deviation = values.std(axis=0)
        self.mean, self.scale = values.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
        self.inputs, self.rotation = reduce_features((values - self.mean) / self.scale)
        self.weights, self.classes = weights, classes
        self.targets = list(labels.T) if labels.ndim == 2 else [labels]
        options: dict[str, Any] = {"max_iter": MAX_ITERATIONS, "tol": TOLERANCE, "warm_start": True}
        self.regressions = [LogisticRegression(**options) for _ in self.targets]
        self.combine = stack_labels if labels.ndim == 2 else self.stack_classes

    def fit(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Fit with a strength, beginning with the last result, and return the kernel and the bias.

        They include the standardization: the kernel has the shape (features, classes), the bias (classes,).
        """
        fitted = []
        for regression, target in zip(self.regressions, self.targets, strict=True):
            present = np.unique(target)
            kernel, bias = np.zeros((self.inputs.shape[1], 1)), np.zeros(1)
            if len(present) > 1:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    regression.set_params(C=strength).fit(self.inputs, target, self.weights)
                kernel, bias = regression.coef_.T, regression.intercept_
            fitted.append((present, kernel, bias))
        kernel, bias = self.combine(fitted)
        kernel = (kernel if self.rotation is None else self.rotation @ kernel) / self.scale[:, np.newaxis]
        return kernel, bias - self.mean @ kernel

    def stack_classes(self, fitted: Sequence[Fitted]) -> tuple[np.ndarray, np.ndarray]:
        """Return the kernel and the bias of a softmax, given those of the classes that have images."""
        ((present, kernel, bias),) = fitted
        if len(present) == 2:
            kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.array([-bias[0] / 2, bias[0] / 2])
        kernels, biases = np.zeros((len(kernel), self.classes)), np.full(self.classes, NEVER)
        kernels[:, present], biases[present] = kernel, bias
        return kernels, biases


def stack_labels(fitted: Sequence[Fitted]) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel and the bias of a sigmoid for each label, which may have one value in all images."""
    biases = [bias[0] if len(present) > 1 else (-NEVER if present[0] else NEVER) for present, _, bias in fitted]
    return np.hstack([kernel for _, kernel, _ in fitted]), np.array(biases)


def reduce_features(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Rotate features to as many as there are images, if there are fewer images.

    With L2 regularisation the regression on them gives the same probabilities, because its kernel is a combination of
    the images.

    Returns:
        The new features, and the rotation from kernels for them to kernels for the old ones, or None.
    """
    if values.shape[1] <= values.shape[0]:
        return values, None
    left, sizes, right = np.linalg.svd(values, full_matrices=False)
    return left * sizes, right.T
