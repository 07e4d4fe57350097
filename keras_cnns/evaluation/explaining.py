"""Where a run's network sees what it says of single images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_cnns.errors import EvaluationError, nearest
from keras_cnns.evaluation.class_maps import check_method, class_maps, enlarged, open_at
from keras_cnns.evaluation.ensembles import Ensemble, find_runs, open_ensemble
from keras_cnns.evaluation.heatmaps import write_pictures
from keras_cnns.evaluation.network import Tell
from keras_cnns.evaluation.prediction import Predictions, as_predictions, files_at, read
from keras_cnns.evaluation.randomization import Check, check_maps
from keras_cnns.tracking import Store

MOST_IMAGES = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanations:
    """Where a network sees a class in images.

    Attributes:
        run_id: The run whose network it is.
        files: The images' files.
        images: The images as the network takes them, shape (images, height, width, channels), uint8.
        maps: How much each pixel's surroundings speak for the class, shape (images, height, width), 0 to 1: 1 where
            most does, all 0 where nothing does. Only within an image can they be compared.
        classes: The class that each image is explained for.
        probabilities: The probability of that class, after temperature scaling where the run has a temperature.
        method: "grad-cam" or "grad-cam++".
        layer: The layer whose maps are weighed.
        grid: Rows and columns of that layer's maps: what is finer in `maps` is smoothing.
        check: What became of the maps when the weights were made random; None where it was not asked for.
        notes: What has to be said beside them.
    """

    run_id: str
    files: tuple[Path, ...]
    images: np.ndarray
    maps: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    method: str
    layer: str
    grid: tuple[int, int]
    check: Check | None
    notes: tuple[str, ...]

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write a picture of each image and `overview.png`; return their files, the overview last.

        Raises:
            EvaluationError: The folder cannot be made or written.
        """
        return write_pictures(self, Path(folder))


def explain(
    run: str,
    images: Sequence[str | Path],
    *,
    class_name: str | None = None,
    method: str = "grad-cam",
    layer: str | None = None,
    check: bool = False,
    tracking_uri: str | None = None,
    tell: Tell | None = None,
) -> Explanations:
    """Show where a run's network sees a class in images.

    Args:
        run: The run's id, the beginning of it, or a name that no other run has; the id of a sweep for its best trial.
        images: Files, and folders that are searched for images.
        class_name: The class to explain; by default what each image is taken for, of labels the likeliest.
        method: "grad-cam" (Selvaraju et al. 2017) or "grad-cam++" (Chattopadhay et al. 2018).
        layer: The layer whose maps are weighed; by default the last one of more than one place.
        check: Compare with maps of random weights (Adebayo et al. 2018).
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        tell: Told what is being done.

    Raises:
        DataError: An image is missing or broken.
        StoreError: There is no such run, or it has kept no network.
        EvaluationError: There is no such class, layer or method, or the network cannot be loaded.
    """
    check_method(method)
    files = tuple(file for place in images for file in files_at(Path(place)))
    if len(files) > MOST_IMAGES:
        raise EvaluationError(f"{len(files):,} images are too many to look at; name {MOST_IMAGES} at most.")
    store = Store(tracking_uri, create=False)
    ensemble = open_ensemble(store, find_runs(store, run), tell=tell)
    network = ensemble.first
    if class_name is not None and class_name not in network.class_names:
        raise EvaluationError(
            f"--class {class_name}: the network of run {network.run.id} has no such class; it has "
            f"{', '.join(network.class_names)}.{nearest(class_name, network.class_names)}"
        )
    seeing = open_at(network.model, layer)
    pixels = read(files, network.image_shape)
    predictions = as_predictions(ensemble, files, ensemble.probabilities(pixels, tell=tell))
    classes = explained(predictions, class_name)
    if tell is not None:
        tell(f"{method} at {seeing.layer}")
    maps = class_maps(seeing, pixels, classes, method=method)
    if tell is not None and check:
        tell("the same with random weights")
    checked = check_maps(seeing, pixels, classes, method=method) if check else None
    return Explanations(
        run_id=network.run.id,
        files=files,
        images=pixels,
        maps=enlarged(maps, *network.image_shape[:2]),
        classes=tuple(network.class_names[index] for index in classes),
        probabilities=predictions.calibrated[np.arange(len(files)), classes],
        method=method,
        layer=seeing.layer,
        grid=(maps.shape[1], maps.shape[2]),
        check=checked,
        notes=tuple(notes(ensemble, maps, checked)),
    )


def explained(predictions: Predictions, class_name: str | None) -> np.ndarray:
    """Return the class that each image is explained for."""
    if class_name is not None:
        return np.full(len(predictions.files), predictions.class_names.index(class_name))
    if predictions.classes.ndim == 2:
        return np.asarray(predictions.probabilities.argmax(axis=1))
    return predictions.classes


def notes(ensemble: Ensemble, maps: np.ndarray, check: Check | None) -> list[str]:
    """Return what has to be said beside the maps."""
    said = list(ensemble.notes)
    empty = int((maps.max(axis=(1, 2)) == 0).sum())
    if empty:
        said.append(
            f"Nothing at this layer speaks for the class in {empty:,} of {len(maps):,} images: their maps are 0 "
            f"everywhere. Another --layer, or --method grad-cam++, may show more."
        )
    if maps.shape[1] * maps.shape[2] <= 16:
        said.append(f"The layer sees {maps.shape[1]}x{maps.shape[2]} places: what is finer is smoothing.")
    if check is not None and check.warning:
        said.append(check.warning)
    return said
