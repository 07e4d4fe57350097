"""The network that a run has kept, and what it makes of images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

import keras_cnns.networks.layers  # noqa: F401 - registers what kept networks are made of
from keras_cnns.data.augmentation import augmented_views
from keras_cnns.data.pipeline import evaluation_batches
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.metrics import HALF, Threshold
from keras_cnns.networks.auxiliary import MainOutput
from keras_cnns.networks.graph import graph_steps
from keras_cnns.networks.recipe import AUGMENTATIONS
from keras_cnns.tracking import Run, Store

Tell: TypeAlias = Callable[[str], None]  # is told what is being done, for whoever waits
BYTES_AT_A_TIME = 2**28
MOST_AT_A_TIME = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class RunNetwork:
    """A run's network, ready for images.

    Attributes:
        run: The run.
        model: The network, which takes pixels of 0 to 255.
        class_names: The classes, or labels, that it was trained on.
        threshold: From which probability of class 1 on, of two classes, an image counts as one of it; where an image
            has any number of labels, one for each label.
        temperature: What makes its probabilities mean what they say.
    """

    run: Run
    model: Any
    class_names: tuple[str, ...]
    threshold: Threshold
    temperature: float | None

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of labels, each with a probability of its own."""
        return gives_labels(self.model)

    @property
    def preset(self) -> str:
        """How images are augmented to be seen again: as in its training, lightly where that did not augment."""
        trained_with = self.run.recipe.get("augmentation", "")
        return trained_with if trained_with in AUGMENTATIONS and trained_with != "none" else "light"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that it takes."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels

    def probabilities(self, images: np.ndarray, *, views: int = 1, tell: Tell | None = None) -> np.ndarray:
        """Return the probability of each class for each image, in float64, in rows that sum to 1.

        Those of labels are independent, and sum to anything. Images go through the network some at a time, so that
        memory stays bounded whatever the number of images and views.

        Args:
            images: Shape (images, height, width, channels), uint8.
            views: Over how many views of each image to take the mean: itself, and augmented ones.
            tell: Told how far it is.

        Raises:
            EvaluationError: Some of them are no numbers.
        """
        at_a_time = max(1, min(MOST_AT_A_TIME, BYTES_AT_A_TIME // (4 * views * images[:1].size or 1)))
        parts = []
        for begin in range(0, len(images), at_a_time):
            if tell is not None:
                end = min(begin + at_a_time, len(images))
                tell(f"run {self.run.id[:8]}: images {begin + 1:,} to {end:,} of {len(images):,}")
            some = np.asarray(images[begin : begin + at_a_time])
            parts.append(
                self.mean_over_views(some, views, seed=begin) if views > 1 else probabilities(self.model, some)
            )
        predicted = np.concatenate(parts) if parts else np.empty((0, len(self.class_names)))
        broken = int((~np.isfinite(predicted).all(axis=1)).sum())
        if broken:
            raise EvaluationError(
                f"run {self.run.id}: its network gives probabilities that are not numbers for {broken} of "
                f"{len(images)} images; train another, with a lower learning_rate."
            )
        return predicted

    def mean_over_views(self, images: np.ndarray, views: int, seed: int) -> np.ndarray:
        """Return the mean of the probabilities of images themselves and of augmented views of them."""
        augmented = augmented_views(images, self.preset, views=views - 1, seed=seed)
        found = probabilities(self.model, augmented.reshape(-1, *images.shape[1:]))
        of_views = found.reshape(views - 1, len(images), -1).sum(axis=0)
        return np.asarray((probabilities(self.model, images) + of_views) / views)


def open_network(store: Store, reference: str) -> RunNetwork:
    """Return the network of a run, from what MLflow holds of it alone.

    Args:
        store: The store.
        reference: The run's id, the beginning of it, or a name that no other run has.

    Raises:
        StoreError: There is no such run, or it has kept no network.
        EvaluationError: The file that it has kept is not a network that can be loaded safely.
    """
    return open_kept(store, store.run(reference))


def open_kept(store: Store, run: Run) -> RunNetwork:
    """Return the network of a run that was found; errors as in `open_network`."""
    with tempfile.TemporaryDirectory() as folder:
        kept = store.fetch_network(run.id, Path(folder))
        try:
            model = keras.saving.load_model(kept.file, compile=False, safe_mode=True)
        except (OSError, TypeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EvaluationError(
                f"run {run.id}: its network cannot be loaded ({reason}); it needs the versions that it was made with, "
                f"keras {run.tags.get('versions.keras', 'unknown')}, keras-cnns "
                f"{run.tags.get('versions.keras_cnns', 'unknown')}."
            ) from error
    names = kept.class_names or tuple(map(str, range(model.output_shape[-1])))
    return RunNetwork(
        run=run,
        model=model,
        class_names=names,
        threshold=read_threshold(run.metrics, len(names), multi_label=gives_labels(model)),
        temperature=run.metrics.get("temperature"),
    )


def read_threshold(settled: Mapping[str, float], labels: int, *, multi_label: bool) -> Threshold:
    """Return the threshold among what validation settled; of several labels each, 0.5 where it settled none."""
    if multi_label:
        return tuple(settled.get(f"threshold_{label}", HALF) for label in range(labels))
    return settled.get("threshold")


def gives_labels(model: Any) -> bool:
    """Return whether a network gives independent probabilities of several labels: it ends in a sigmoid."""
    steps = list(graph_steps(model))
    last, inputs, _ = steps[-1]
    if isinstance(last, MainOutput):
        last = next(operation for operation, _, outputs in steps if outputs[0] is inputs[0])
    return model.output_shape[-1] > 1 and getattr(last, "activation", None) is keras.activations.sigmoid


def probabilities(model: Any, images: np.ndarray) -> np.ndarray:
    """Return what a network gives images, in float64; of classes each row sums to 1 as exactly as that can."""
    predicted = np.asarray(model.predict(evaluation_batches(images), verbose=0), np.float64)
    return predicted if gives_labels(model) else predicted / predicted.sum(axis=1, keepdims=True)


def by(shape: Sequence[int]) -> str:
    """Write a shape: 28x28x1."""
    return "x".join(map(str, shape))
