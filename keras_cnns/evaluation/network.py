"""The network that a run has kept, and what it makes of images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_cnns.layers  # noqa: F401 - registers what kept networks are made of
from keras_cnns.data.pipeline import evaluation_batches
from keras_cnns.errors import EvaluationError
from keras_cnns.tracking import Run, Store


@dataclass(frozen=True, kw_only=True, eq=False)
class RunNetwork:
    """A run's network, ready for images.

    Attributes:
        run: The run.
        model: The network, which takes pixels of 0 to 255.
        class_names: The classes that it was trained on.
        threshold: From which probability of class 1 on, of two classes, an image counts as one of it.
        temperature: What makes its probabilities mean what they say.
    """

    run: Run
    model: Any
    class_names: tuple[str, ...]
    threshold: float | None
    temperature: float | None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that it takes."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class for each image, in float64, in rows that sum to 1.

        Raises:
            EvaluationError: Some of them are no numbers.
        """
        predicted = probabilities(self.model, images)
        broken = int((~np.isfinite(predicted).all(axis=1)).sum())
        if broken:
            raise EvaluationError(
                f"run {self.run.id}: its network gives probabilities that are not numbers for {broken} of "
                f"{len(images)} images; train another, with a lower learning_rate."
            )
        return predicted


def open_network(store: Store, reference: str) -> RunNetwork:
    """Return the network of a run, from what MLflow holds of it alone.

    Args:
        store: The store.
        reference: The run's id, the beginning of it, or a name that no other run has.

    Raises:
        StoreError: There is no such run, or it has kept no network.
        EvaluationError: The file that it has kept is not a network that can be loaded safely.
    """
    run = store.run(reference)
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
    return RunNetwork(
        run=run,
        model=model,
        class_names=kept.class_names or tuple(map(str, range(model.output_shape[-1]))),
        threshold=run.metrics.get("threshold"),
        temperature=run.metrics.get("temperature"),
    )


def probabilities(model: Any, images: np.ndarray) -> np.ndarray:
    """Return what a network gives images, in float64, each row summing to 1 as exactly as that can."""
    predicted = model.predict(evaluation_batches(images), verbose=0).astype(np.float64)
    return np.asarray(predicted / predicted.sum(axis=1, keepdims=True))
