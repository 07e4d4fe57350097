"""Prediction of the classes of single images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import BrokenFile, list_examples
from keras_cnns.data.decoding.image import count_frames
from keras_cnns.data.decoding.parallel import decode_files
from keras_cnns.data.sources.folder import list_images
from keras_cnns.data.streaming import create_temporary_memmap, fits_in_memory
from keras_cnns.data.value_range import RangeOptions, ValueRange
from keras_cnns.errors import DataError
from keras_cnns.evaluation.compatibility import check_tta
from keras_cnns.evaluation.ensemble import Ensemble, find_runs, load_ensemble
from keras_cnns.evaluation.operating_point import OperatingPoint, Threshold, predict_classes
from keras_cnns.evaluation.run_network import Progress, RunNetwork, no_progress
from keras_cnns.evaluation.validation import choose_operating_point, find_validation
from keras_cnns.tracking import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """The predictions of a network, or of an ensemble, for images.

    Attributes:
        run_ids: The runs whose networks predicted.
        files: The image files; `FILE#3` is the third of its frames.
        class_names: The classes or, in multi-label classification, the labels.
        probabilities: Shape (images, classes), after temperature scaling if the run has a temperature.
        thresholds: The minimum of these probabilities at which class 1 of two classes, or each label, is predicted.
            None if the most probable class is predicted.
        classes: The predicted class of each image, shape (images,); or 0 or 1 for each label, shape (images, labels).
        operating_point: The threshold, for probabilities before temperature scaling, and the temperature.
        broken: The files that cannot be read, which have no prediction.
        notes: How the images were read, and what was left out.
    """

    run_ids: tuple[str, ...]
    files: tuple[Path, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    thresholds: Threshold
    classes: np.ndarray
    operating_point: OperatingPoint
    broken: tuple[BrokenFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def predicted_names(self) -> list[tuple[str, ...]]:
        """The names of the predicted class or labels of each image."""
        if self.classes.ndim == 1:
            return [(self.class_names[index],) for index in self.classes]
        return [tuple(self.class_names[index] for index in np.flatnonzero(row)) for row in self.classes]

    @property
    def threshold_by_class(self) -> dict[str, float]:
        """The threshold of each class that has one."""
        if isinstance(self.thresholds, tuple):
            return dict(zip(self.class_names, self.thresholds, strict=True))
        return {} if self.thresholds is None else {self.class_names[1]: self.thresholds}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadImages:
    """Images read for a network.

    Attributes:
        files: The files that were read.
        pixels: Shape (images, height, width, channels), uint8.
        broken: The files that cannot be read.
        notes: How they were read, and what was left out.
    """

    files: tuple[Path, ...]
    pixels: np.ndarray
    broken: tuple[BrokenFile, ...]
    notes: tuple[str, ...]


def predict(
    run: str | Sequence[str],
    images: Sequence[str | Path],
    *,
    tta: int = 1,
    tracking_uri: str | None = None,
    progress: Progress = no_progress,
) -> Predictions:
    """Predict the classes of images with a run's network.

    Images are read and converted as for training: to the size and the channels of the network, with the same resizing,
    window, frames and range of values. Files that cannot be read are listed in the result.

    Args:
        run: The id of a run, the beginning of it, or a name that no other run has; the id of a sweep, for its best
            trial; or the id or the name of a cross-validation, for the networks of all its folds. Several are used as
            an ensemble, by the mean of their probabilities.
        images: Image files, and folders that are searched for images.
        tta: Test-time augmentation: number of versions of each image to average over, the image itself and augmented
            copies. The augmentation is that of training.
        tracking_uri: The store of the runs; by default that of MLflow's environment variable, or `./mlflow.db`.
        progress: Called with a description of each step.

    Raises:
        DataError: An image does not exist, none can be read, or the range of their values is ambiguous.
        StoreError: There is no such run, or it has no saved network.
        EvaluationError: The network cannot be loaded, or its probabilities are not finite.
    """
    check_tta(tta)
    files, notes = find_images(images)
    store = Store(tracking_uri, create=False)
    ensemble = load_ensemble(store, *find_runs(store, run), progress=progress)
    read = read_images(files, ensemble.first)
    probabilities = ensemble.probabilities(read.pixels, tta=tta, progress=progress)
    validation = None if ensemble.is_single else find_validation(store, ensemble)
    point = choose_operating_point(ensemble, validation)
    return make_predictions(ensemble, replace(read, notes=(*notes, *read.notes)), probabilities, point)


def make_predictions(
    ensemble: Ensemble, read: ReadImages, probabilities: np.ndarray, point: OperatingPoint
) -> Predictions:
    """Return the predictions of an ensemble at an operating point."""
    probabilities = point.scale(probabilities, multi_label=ensemble.first.multi_label)
    thresholds = point.scaled_threshold
    return Predictions(
        run_ids=tuple(run.id for run in ensemble.runs),
        files=read.files,
        class_names=ensemble.first.class_names,
        probabilities=probabilities,
        thresholds=thresholds,
        classes=predict_classes(probabilities, thresholds),
        operating_point=point,
        broken=read.broken,
        notes=read.notes,
    )


def find_images(paths: Sequence[str | Path]) -> tuple[tuple[Path, ...], list[str]]:
    """Return image files and all images in folders, and notes on what was left out.

    Raises:
        DataError: A file does not exist, or a folder has no images.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: does not exist; pass image files, or folders of images.")
        if not path.is_dir():
            files.append(path)
            continue
        found, ignored = list_images(path)
        if not found:
            raise DataError(f"{path}: no images in this folder; pass image files, or folders of images.")
        files += found
        notes += ignored
    return tuple(files), notes


def read_images(files: Sequence[Path], network: RunNetwork) -> ReadImages:
    """Read images as for the training of a network, in its size and channels.

    Raises:
        DataError: No image can be read.
    """
    conversion = network.conversion
    if conversion.frames == "all":
        counts = [(file, count_frames(file)) for file in files]
        files = [
            Path(f"{file}#{frame}") if count > 1 else file for file, count in counts for frame in range(1, count + 1)
        ]
    known = {kind: ValueRange(*limits) for kind, limits in network.ranges.items()}
    found = decode_files(
        Path(), [str(file) for file in files], conversion, allocate_images, options=RangeOptions(known=known),
        skip_ambiguous=True,
    )  # fmt: skip
    if not found.kept:
        raise DataError(f"no image can be read: {list_examples(found.broken, '; ')}; fix or remove the files.")
    return ReadImages(
        files=tuple(files[index] for index in found.kept),
        pixels=found.images,
        broken=tuple(found.broken),
        notes=tuple(found.notes),
    )


def allocate_images(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array for images, in a temporary file if they do not fit in memory."""
    return np.empty(shape, np.uint8) if fits_in_memory(math.prod(shape)) else create_temporary_memmap(shape)
