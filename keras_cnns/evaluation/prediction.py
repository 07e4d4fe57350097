"""What a run's network says of single images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_cnns.data.folder import decode, images_in, with_channels
from keras_cnns.data.sources import change_channels
from keras_cnns.errors import DataError
from keras_cnns.evaluation.metrics import decide
from keras_cnns.evaluation.network import open_network
from keras_cnns.tracking import Store

IMAGES_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a network says of images.

    Attributes:
        run_id: The run whose network it is.
        files: The images.
        class_names: The classes.
        probabilities: The probability of each class, shape (images, classes), before temperature scaling.
        classes: What each image is taken for: the likeliest class or, of two, class 1 from the run's threshold on.
        threshold: That threshold, None for more than two classes or where validation gave none.
    """

    run_id: str
    files: tuple[Path, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    classes: np.ndarray
    threshold: float | None


def predict(run: str, images: Sequence[str | Path], *, tracking_uri: str | None = None) -> Predictions:
    """Let a run's network say what images are.

    Images are brought to the size and the channels that it takes, as training brings those of a source.

    Args:
        run: The run's id, the beginning of it, or a name that no other run has.
        images: Files, and folders that are searched for images.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.

    Raises:
        DataError: An image is missing or broken.
        StoreError: There is no such run, or it has kept no network.
        EvaluationError: Its network cannot be loaded, or gives no numbers.
    """
    files = tuple(file for place in images for file in files_at(Path(place)))
    network = open_network(Store(tracking_uri, create=False), run)
    parts = [files[begin : begin + IMAGES_AT_A_TIME] for begin in range(0, len(files), IMAGES_AT_A_TIME)]
    probabilities = np.concatenate([
        network.probabilities(np.stack([prepare(file, network.image_shape) for file in part])) for part in parts
    ])  # fmt: skip
    return Predictions(
        run_id=network.run.id,
        files=files,
        class_names=network.class_names,
        probabilities=probabilities,
        classes=decide(probabilities, network.threshold),
        threshold=network.threshold,
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
    found = list(images_in(place, place))
    if not found:
        raise DataError(f"{place}: no images in this folder; name images, or folders of images.")
    yield from found


def prepare(file: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Read an image as the network takes it: (height, width, channels), uint8."""
    height, width, channels = image_shape
    image = with_channels(decode(file, (height, width)), colour=False)
    return image if image.shape[-1] == channels else change_channels(str(file), image[np.newaxis], channels)[0]
