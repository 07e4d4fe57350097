"""Prediction of the classes of single images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from keras_cnns.data.dataset import BrokenFile, list_examples
from keras_cnns.data.decoding.image import count_frames
from keras_cnns.data.decoding.parallel import decode_files
from keras_cnns.data.sources.folder import list_images
from keras_cnns.data.streaming import create_temporary_memmap, fits_in_memory
from keras_cnns.data.value_range import RangeOptions, ValueRange
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.errors import DataError
from keras_cnns.evaluation.answering import (
    AnswerChoice,
    AnswerRule,
    calibrate,
    check_answers,
    choose_answers,
    name_sets,
    require_validation,
)
from keras_cnns.evaluation.compatibility import check_tta, separate_unknown
from keras_cnns.evaluation.ensemble import Ensemble, find_runs, load_ensemble
from keras_cnns.evaluation.operating_point import OperatingPoint, Threshold, predict_classes
from keras_cnns.evaluation.run_network import NetworkOutputs, RunNetwork
from keras_cnns.evaluation.validation import ValidationPredictions, choose_operating_point, find_validation
from keras_cnns.tracking import Store

MAX_IMAGES_SHOWN, MAX_CLASSES_SHOWN = 10, 8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Predictions(Summarized):
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
        notes: Which images are unusual or not answered, how the images were read, and what was left out.
        unusual: Whether each image is out of distribution, shape (images,); None if no run has a detector.
        answered: Whether each image is answered, shape (images,); None if abstention was not chosen.
        sets: Whether each class is in the prediction set, shape (images, classes); None without a confidence level.
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
    unusual: np.ndarray | None = None
    answered: np.ndarray | None = None
    sets: np.ndarray | None = None

    @property
    def predicted_names(self) -> list[tuple[str, ...]]:
        """The names of the predicted class or labels of each image."""
        if self.classes.ndim == 1:
            return [(self.class_names[index],) for index in self.classes]
        return [tuple(self.class_names[index] for index in np.flatnonzero(row)) for row in self.classes]

    @property
    def set_names(self) -> list[list[str]]:
        """The names of the classes in the prediction set of each image; empty without a confidence level."""
        return [] if self.sets is None else name_sets(self.sets, self.class_names)

    @property
    def threshold_by_class(self) -> dict[str, float]:
        """The threshold of each class that has one."""
        if isinstance(self.thresholds, tuple):
            return dict(zip(self.class_names, self.thresholds, strict=True))
        return {} if self.thresholds is None else {self.class_names[1]: self.thresholds}

    def summary(self) -> Summary:
        """Return the predictions for the first images."""
        classes = self.class_names[:MAX_CLASSES_SHOWN]
        rows = [
            (str(file), ", ".join(predicted), *(f"{probability:.4f}" for probability in probabilities[: len(classes)]))
            for file, predicted, probabilities in zip(
                self.files[:MAX_IMAGES_SHOWN], self.predicted_names, self.probabilities, strict=False
            )
        ]
        table = SummaryTable(
            columns=("file", "predicted", *classes), rows=rows, text_columns=2, more=len(self.files) - len(rows)
        )
        left_out = len(self.class_names) - len(classes)
        notes = [f"Not shown: the probabilities of {left_out:,} more classes."] if left_out else []
        return Summary(
            title=f"predictions for {len(self.files):,} images, run {', '.join(self.run_ids)}",
            tables=[table],
            notes=[*notes, *self.notes],
        )

    @property
    def more_columns(self) -> dict[str, list[Any]]:
        """What was chosen or is known besides: prediction sets, and which images are unusual or not answered."""
        columns: dict[str, list[Any]] = {}
        if self.sets is not None:
            columns["prediction set"] = self.set_names
        if self.answered is not None:
            columns["abstained"] = (~self.answered).tolist()
        if self.unusual is not None:
            columns["out of distribution"] = self.unusual.tolist()
        return columns

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the prediction of each image as JSON-compatible values; of several labels, `predicted` is a list."""
        more = self.more_columns
        others = list(zip(*more.values(), strict=True)) or [()] * len(self.files)
        rows = zip(self.files, self.predicted_names, self.probabilities, others, strict=True)
        return [
            {
                "file": str(file),
                "predicted": list(names) if self.classes.ndim == 2 else names[0],
                "probabilities": dict(zip(self.class_names, row.tolist(), strict=True)),
                "thresholds": self.threshold_by_class,
                **{name.replace(" ", "_"): value for name, value in zip(more, values, strict=True)},
            }
            for file, names, row, values in rows
        ]


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


@shows_progress
def predict(
    run: str | Sequence[str],
    images: Sequence[str | Path],
    *,
    confidence_level: float | None = None,
    coverage: float | None = None,
    tta: int = 1,
    tracking_uri: str | None = None,
    progress: bool | Progress = True,
) -> Predictions:
    """Predict the classes of images with a run's network.

    Images are read and converted as for training: to the size and the channels of the network, with the same resizing,
    window, frames and range of values. Files that cannot be read are listed in the result.

    Args:
        run: The id of a run, the beginning of it, or a name that no other run has; the id of a sweep, for its best
            trial; or the id or the name of a cross-validation, for the networks of all its folds. Several are used as
            an ensemble, by the mean of their probabilities.
        images: Image files, and folders that are searched for images.
        confidence_level: Return prediction sets, which contain the true class with this probability, and abstain from
            images with more than one class in the set.
        coverage: Abstain from the images with the lowest confidence, of which this fraction of validation images is
            answered.
        tta: Test-time augmentation: number of versions of each image to average over, the image itself and augmented
            copies. The augmentation is that of training.
        tracking_uri: The store of the runs; by default that of MLflow's environment variable, or `./mlflow.db`.
        progress: Whether to show progress, or what receives it.

    Raises:
        DataError: An image does not exist, none can be read, or the range of their values is ambiguous.
        StoreError: There is no such run, or it has no saved network.
        EvaluationError: The network cannot be loaded, its probabilities are not finite, or there are no validation
            predictions for prediction sets and abstention.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    check_tta(tta)
    choice = choose_answers(confidence_level, coverage)
    files, notes = find_images(images)
    store = Store(tracking_uri, create=False)
    ensemble = load_ensemble(store, *find_runs(store, run), progress=progress)
    check_answers(choice, ensemble)
    read = read_images(files, ensemble.first)
    validation = None if ensemble.is_single and choice is None else find_validation(store, ensemble, tta=tta)
    point = choose_operating_point(ensemble, validation)
    rule = None if choice is None else calibrate_runs(ensemble, choice, validation, point, tta)
    outputs = ensemble.predict(read.pixels, tta=tta, progress=progress)
    return make_predictions(ensemble, replace(read, notes=(*notes, *read.notes)), outputs, point, rule)


def calibrate_runs(
    ensemble: Ensemble,
    choice: AnswerChoice,
    validation: ValidationPredictions | None,
    point: OperatingPoint,
    tta: int,
) -> AnswerRule:
    """Return the rule for a choice, calibrated on the predictions that the runs have stored."""
    known = require_validation(validation, ensemble, tta)
    patients = separate_unknown(known.patients)
    return calibrate(choice, known.labels, known.probabilities, point.threshold, patients)


def make_predictions(
    ensemble: Ensemble,
    read: ReadImages,
    outputs: NetworkOutputs,
    point: OperatingPoint,
    rule: AnswerRule | None = None,
) -> Predictions:
    """Return the predictions of an ensemble at an operating point."""
    probabilities = point.scale(outputs.probabilities, multi_label=ensemble.first.multi_label)
    thresholds = point.scaled_threshold
    answered = None if rule is None else rule.answers(outputs.probabilities)
    if answered is not None and outputs.unusual is not None:
        answered &= ~outputs.unusual
    return Predictions(
        run_ids=tuple(run.id for run in ensemble.runs),
        files=read.files,
        class_names=ensemble.first.class_names,
        probabilities=probabilities,
        thresholds=thresholds,
        classes=predict_classes(probabilities, thresholds),
        operating_point=point,
        broken=read.broken,
        notes=(*note_unusual(ensemble, read.files, outputs.unusual), *note_answers(answered), *read.notes),
        unusual=outputs.unusual,
        answered=answered,
        sets=None if rule is None else rule.sets(outputs.probabilities),
    )


def note_unusual(ensemble: Ensemble, files: Sequence[Path], unusual: np.ndarray | None) -> Iterator[str]:
    """Yield a note on the images that are out of distribution, if there are any or they are not known."""
    detectors = [member.detector for member in ensemble.members if member.detector is not None]
    if unusual is None:
        yield "Images unlike the training images are not recognised, because the run has no features of the latter."
    elif unusual.any():
        measured = max((detector.measured for detector in detectors), key=lambda rate: rate.value)
        found = list_examples(files[index] for index in np.flatnonzero(unusual).tolist())
        verb = "is" if unusual.sum() == 1 else "are"
        yield (
            f"warning: {unusual.sum():,} of {len(files):,} images {verb} out of distribution, unlike the training "
            f"images: {found}. Do not rely on the prediction. So were {measured.value:.1%} of validation images "
            f"({measured.low:.1%} to {measured.high:.1%})."
        )


def note_answers(answered: np.ndarray | None) -> Iterator[str]:
    """Yield a note on the images that are not answered."""
    if answered is not None and not answered.all():
        yield f"{(~answered).sum():,} of {len(answered):,} images are not answered (column abstained)."


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


def read_images(
    files: Sequence[Path], network: RunNetwork, name_of: Callable[[Path], Path] = lambda file: file
) -> ReadImages:
    """Read images as for the training of a network, in its size and channels.

    Args:
        files: The files.
        network: The network.
        name_of: Returns the name of a file in the result and in errors.

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
    broken = tuple(BrokenFile(str(name_of(Path(each.file))), each.reason) for each in found.broken)
    if not found.kept:
        raise DataError(f"no image can be read: {list_examples(broken, '; ')}; fix or remove the files.")
    return ReadImages(
        files=tuple(name_of(files[index]) for index in found.kept),
        pixels=found.images,
        broken=broken,
        notes=tuple(found.notes),
    )


def allocate_images(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array for images, in a temporary file if they do not fit in memory."""
    return np.empty(shape, np.uint8) if fits_in_memory(math.prod(shape)) else create_temporary_memmap(shape)
