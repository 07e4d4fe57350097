"""What a run's network says of single images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_cnns.data.decoding import decode, fitted
from keras_cnns.data.folder import images_in
from keras_cnns.errors import DataError
from keras_cnns.evaluation.calibration import with_temperature
from keras_cnns.evaluation.checks import check_views
from keras_cnns.evaluation.ensembles import Ensemble, find_runs, open_ensemble
from keras_cnns.evaluation.metrics import Threshold, decide
from keras_cnns.evaluation.network import Tell
from keras_cnns.tracking import Store

IMAGES_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a network, or several together, say of images.

    Attributes:
        run_ids: The runs whose networks they are.
        files: The images.
        class_names: The classes or, where an image has any number of them, the labels.
        probabilities: The probability of each class, shape (images, classes), as the network gives it.
        calibrated: The same after temperature scaling; equal where no temperature was settled.
        classes: What each image is taken for: the likeliest class or, of two, class 1 from the run's threshold on;
            of labels 0 or 1 for each, shape (images, labels). The threshold is one of `probabilities`, as in
            `evaluate`, so that a calibrated probability below it does not contradict the class.
        threshold: That threshold, or that of each label; None for more than two classes or where validation gave none.
        temperature: What the logits are divided by for `calibrated`, None where validation gave none.
    """

    run_ids: tuple[str, ...]
    files: tuple[Path, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    calibrated: np.ndarray
    classes: np.ndarray
    threshold: Threshold
    temperature: float | None

    @property
    def names(self) -> list[tuple[str, ...]]:
        """What each image is taken for, by name: one class, or the labels that it has."""
        if self.classes.ndim == 1:
            return [(self.class_names[index],) for index in self.classes]
        return [tuple(self.class_names[index] for index in np.flatnonzero(row)) for row in self.classes]


def predict(
    run: str | Sequence[str],
    images: Sequence[str | Path],
    *,
    views: int = 1,
    tracking_uri: str | None = None,
    tell: Tell | None = None,
) -> Predictions:
    """Let a run's network say what images are.

    Images are brought to the size and the channels that it takes, as training brings those of a source.

    Args:
        run: The run's id, the beginning of it, or a name that no other run has; the id of a sweep for its best
            trial; or several, whose mean probabilities count.
        images: Files, and folders that are searched for images.
        views: Over how many views of each image to take the mean: itself, and others augmented as in training.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        tell: Told what is being done.

    Raises:
        DataError: An image is missing or broken.
        StoreError: There is no such run, or it has kept no network.
        EvaluationError: Its network cannot be loaded, or gives no numbers.
    """
    check_views(views)
    files = tuple(file for place in images for file in files_at(Path(place)))
    store = Store(tracking_uri, create=False)
    ensemble = open_ensemble(store, find_runs(store, run), tell=tell)
    parts = [files[begin : begin + IMAGES_AT_A_TIME] for begin in range(0, len(files), IMAGES_AT_A_TIME)]
    found = [ensemble.probabilities(read(part, ensemble.first.image_shape), views=views, tell=tell) for part in parts]
    return as_predictions(ensemble, files, np.concatenate(found))


def as_predictions(ensemble: Ensemble, files: Sequence[Path], probabilities: np.ndarray) -> Predictions:
    """Return what probabilities say, by what earlier validation images settled."""
    settled, multi_label = ensemble.carried(), ensemble.first.multi_label
    scaled = settled.temperature
    return Predictions(
        run_ids=tuple(member.run.id for member in ensemble.members),
        files=tuple(files),
        class_names=ensemble.first.class_names,
        probabilities=probabilities,
        calibrated=probabilities
        if scaled is None
        else with_temperature(probabilities, scaled, multi_label=multi_label),
        classes=decide(probabilities, settled.threshold),
        threshold=settled.threshold,
        temperature=scaled,
    )


def files_at(place: Path) -> Iterator[Path]:
    """Yield a file, or the images in a folder.

    Raises:
        DataError: There is no such file, or no image in the folder.
    """
    if not place.is_dir():
        if not place.exists():
            raise DataError(f"{place}: does not exist; name images, or folders of images.")
        yield place
        return
    found = images_in(place, place)
    if not found:
        raise DataError(f"{place}: no images in this folder; name images, or folders of images.")
    yield from found


def read(files: Sequence[Path], image_shape: tuple[int, int, int]) -> np.ndarray:
    """Read images as the network takes them: (images, height, width, channels), uint8."""
    return np.stack([prepare(file, image_shape) for file in files])


def prepare(file: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Read an image as the network takes it: (height, width, channels), uint8."""
    height, width, channels = image_shape
    try:
        return fitted(decode(file, (height, width)), None, channels)
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}; mend or remove the file.") from None
