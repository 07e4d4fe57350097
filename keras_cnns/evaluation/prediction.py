"""Prediction of the classes of single images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_cnns.data.conversion import Conversion
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.parallel import try_decode
from keras_cnns.data.sources.folder import list_images
from keras_cnns.errors import DataError
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.compatibility import check_tta
from keras_cnns.evaluation.ensemble import Ensemble, find_runs, load_ensemble
from keras_cnns.evaluation.operating_point import OperatingPoint, predict_classes
from keras_cnns.evaluation.run_network import Progress, no_progress
from keras_cnns.tracking import Store

IMAGES_PER_CHUNK = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """The predictions of a network, or of an ensemble, for images.

    Attributes:
        run_ids: The runs whose networks predicted.
        files: The image files.
        class_names: The classes or, in multi-label classification, the labels.
        probabilities: Shape (images, classes), before temperature scaling.
        calibrated: The probabilities after temperature scaling; the same if there is no temperature.
        classes: The predicted class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
            The threshold applies to `probabilities`, as in `evaluate`, and not to `calibrated`.
        operating_point: The threshold and the temperature.
    """

    run_ids: tuple[str, ...]
    files: tuple[Path, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    calibrated: np.ndarray
    classes: np.ndarray
    operating_point: OperatingPoint

    @property
    def predicted_names(self) -> list[tuple[str, ...]]:
        """The names of the predicted class or labels of each image."""
        if self.classes.ndim == 1:
            return [(self.class_names[index],) for index in self.classes]
        return [tuple(self.class_names[index] for index in np.flatnonzero(row)) for row in self.classes]


def predict(
    run: str | Sequence[str],
    images: Sequence[str | Path],
    *,
    tta: int = 1,
    tracking_uri: str | None = None,
    progress: Progress = no_progress,
) -> Predictions:
    """Predict the classes of images with a run's network.

    Images are converted to the size and the channels of the network in the same way as for training.

    Args:
        run: The id of a run, the beginning of it, or a name that no other run has; or the id of a sweep, for its best
            trial. Several are used as an ensemble, by the mean of their probabilities.
        images: Image files, and folders that are searched for images.
        tta: Test-time augmentation: number of versions of each image to average over, the image itself and augmented
            copies. The augmentation is that of training.
        tracking_uri: The store of the runs; by default that of MLflow's environment variable, or `./mlflow.db`.
        progress: Called with a description of each step.

    Raises:
        DataError: An image is missing or cannot be read.
        StoreError: There is no such run, or it has no saved network.
        EvaluationError: The network cannot be loaded, or its probabilities are not finite.
    """
    check_tta(tta)
    files = find_images(images)
    store = Store(tracking_uri, create=False)
    ensemble = load_ensemble(store, *find_runs(store, run), progress=progress)
    probabilities = [
        ensemble.probabilities(
            read_images(files[begin : begin + IMAGES_PER_CHUNK], ensemble.first.image_shape), tta=tta, progress=progress
        )
        for begin in range(0, len(files), IMAGES_PER_CHUNK)
    ]
    return make_predictions(ensemble, files, np.concatenate(probabilities))


def make_predictions(ensemble: Ensemble, files: Sequence[Path], probabilities: np.ndarray) -> Predictions:
    """Return the predictions at the stored operating point of an ensemble."""
    point, calibrated = ensemble.stored_operating_point(), probabilities
    if point.temperature is not None:
        calibrated = apply_temperature(probabilities, point.temperature, multi_label=ensemble.first.multi_label)
    return Predictions(
        run_ids=tuple(run.id for run in ensemble.runs),
        files=tuple(files),
        class_names=ensemble.first.class_names,
        probabilities=probabilities,
        calibrated=calibrated,
        classes=predict_classes(probabilities, point.threshold),
        operating_point=point,
    )


def find_images(paths: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return image files, and all images in folders.

    Raises:
        DataError: A file does not exist, or a folder has no images.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: does not exist; pass image files, or folders of images.")
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path}: no images in this folder; pass image files, or folders of images.")
        files += found
    return tuple(files)


def read_images(files: Sequence[Path], image_shape: tuple[int, int, int]) -> np.ndarray:
    """Read images in the size and the channels of a network: (images, height, width, channels), uint8.

    Raises:
        DataError: An image cannot be read.
    """
    height, width, channels = image_shape
    conversion = Conversion(image_size=(height, width), channels=channels)
    images = []
    for file in files:
        image = try_decode(Path(), str(file), conversion)
        if isinstance(image, BrokenFile):
            raise DataError(f"{image}; fix or remove the file.")
        images.append(image.pixels)
    return np.stack(images)
