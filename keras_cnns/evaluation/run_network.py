"""The network of a run, loaded from the store, and its predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns.data.augmentation import augment_views
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.decoding.window import find_window
from keras_cnns.data.pipeline import evaluation_batches
from keras_cnns.display.progress import NO_PROGRESS, Progress
from keras_cnns.errors import EvaluationError, ModelNameError, WeightsError
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.operating_point import DEFAULT_THRESHOLD, OperatingPoint, Threshold
from keras_cnns.evaluation.out_of_distribution import Detector
from keras_cnns.evaluation.reference_files import FEATURES, read_arrays
from keras_cnns.networks.auxiliary import MainOutput
from keras_cnns.networks.baselines.code import Code, check_executed_before, execute, needs_code
from keras_cnns.networks.features import with_feature_summary
from keras_cnns.networks.graph import graph_nodes
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import check_argument
from keras_cnns.networks.weights.files import readable
from keras_cnns.networks.weights.hdf5 import read_configuration
from keras_cnns.tracking import Run, Store

MAX_BYTES_PER_CHUNK = 2**28
MAX_IMAGES_PER_CHUNK = 2048
MAX_IMAGES_WITHOUT_PIPELINE = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkOutputs:
    """What a network, or an ensemble, says of images.

    Attributes:
        probabilities: The probability of each class, or of each label, before temperature scaling, shape (images,
            classes), float64. Rows sum to 1 unless the network is multi-label.
        unusual: Whether each image is out of distribution, shape (images,); None if the run has no detector.
    """

    probabilities: np.ndarray
    unusual: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RunNetwork:
    """The network of a run.

    Attributes:
        run: The run.
        model: The network, which takes pixel values from 0 to 255.
        class_names: The classes or labels that it was trained on.
        positive: The positive class of two; None if there are more, or if it is unknown.
        source: The source of the images that it was trained on, "" if it is not recorded.
        reading: The options of `load` with which they were read.
        ranges: The ranges of their values, as in `Dataset.ranges`.
        detector: Detects images that are unlike the training images; None if the run does not have one.
        applied_temperature: The temperature that the outputs of the network have been scaled with, as in an exported
            file; None for those of the run.
    """

    run: Run
    model: Any
    class_names: tuple[str, ...]
    positive: str | None = None
    source: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    detector: Detector | None = None
    applied_temperature: float | None = None

    @cached_property
    def with_features(self) -> Any:
        """The network with the features that the detector needs."""
        return with_feature_summary(self.model)

    @cached_property
    def multi_label(self) -> bool:
        """Whether an image can have several labels, each with an independent probability."""
        return is_multi_label(self.model)

    @property
    def tta_augmentation(self) -> str:
        """The augmentation for test-time augmentation: that of training or, if it had none, "light".

        Raises:
            SettingError: There is no such preset; the run may come from another version.
        """
        preset = self.run.recipe.get("augmentation", "none")
        check_argument(f"run {self.run.id}: augmentation", Recipe.domain("augmentation"), preset)
        return "light" if preset == "none" else preset

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the input images."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels

    @property
    def conversion(self) -> Conversion:
        """How other images are converted: to the size and channels of the network, else as for training."""
        height, width, channels = self.image_shape
        return Conversion(
            image_size=(height, width),
            channels=channels,
            resize=self.reading.get("resize", "stretch"),
            window=find_window(self.reading.get("window")),
            frames=self.reading.get("frames"),
        )

    @property
    def operating_point(self) -> OperatingPoint:
        """The threshold and the temperature from the run's validation images."""
        return self.read_operating_point(self.run.metrics, "the run's validation images")

    def read_operating_point(self, metrics: Mapping[str, float], source: str, *, tta: int = 1) -> OperatingPoint:
        """Return the operating point in metrics as `fit_operating_point` returns them; labels without one get 0.5."""
        threshold: Threshold = metrics.get("threshold")
        if self.multi_label:
            labels = range(len(self.class_names))
            threshold = tuple(metrics.get(f"threshold_{label}", DEFAULT_THRESHOLD) for label in labels)
        return OperatingPoint(threshold=threshold, temperature=metrics.get("temperature"), source=source, tta=tta)

    def predict(self, images: np.ndarray, *, tta: int = 1, progress: Progress = NO_PROGRESS) -> NetworkOutputs:
        """Predict the classes of images, in chunks that bound the use of memory.

        Args:
            images: Shape (images, height, width, channels), uint8.
            tta: Number of versions of each image to average over: the image itself and `tta - 1` augmented copies.
            progress: Receives a message for each chunk.

        Raises:
            EvaluationError: Some probabilities are not finite.
        """
        chunk = max(1, min(MAX_IMAGES_PER_CHUNK, MAX_BYTES_PER_CHUNK // (4 * tta * images[:1].size or 1)))
        chunks, unusual = [np.empty((0, len(self.class_names)))], [np.empty(0, bool)]
        for begin in range(0, len(images), chunk):
            end = min(begin + chunk, len(images))
            progress.message(f"run {self.run.id[:8]}: images {begin + 1:,} to {end:,} of {len(images):,}")
            pixels = np.asarray(images[begin:end])
            if self.detector is None:
                total = predict_probabilities(self.model, pixels)
            else:
                features, total = predict_with_features(self.with_features, pixels)
                total = normalize(total, multi_label=self.multi_label)
                unusual.append(self.detector.is_unusual(features))
            if tta > 1:
                copies = augment_views(pixels, self.tta_augmentation, views=tta - 1, seed=begin)
                of_copies = predict_probabilities(self.model, copies.reshape(-1, *pixels.shape[1:]))
                total = (total + of_copies.reshape(tta - 1, len(pixels), -1).sum(axis=0)) / tta
            if self.applied_temperature is not None:
                total = apply_temperature(total, 1 / self.applied_temperature, multi_label=self.multi_label)
            chunks.append(total)
        probabilities = np.concatenate(chunks)
        broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
        if broken:
            raise EvaluationError(
                f"run {self.run.id}: the network predicts probabilities that are not finite for {broken} of "
                f"{len(images)} images; train again with a lower learning_rate."
            )
        return NetworkOutputs(
            probabilities=probabilities, unusual=None if self.detector is None else np.concatenate(unusual)
        )


def load_run_network(store: Store, run: Run) -> RunNetwork:
    """Load the network of a run from the store.

    Raises:
        StoreError: The run has no saved network.
        EvaluationError: The saved file is not a network that can be loaded safely.
    """
    with tempfile.TemporaryDirectory() as folder:
        stored = store.fetch_network(run.id, Path(folder))
        features = read_arrays(store, run, FEATURES)
        return make_run_network(
            run, stored.file, stored.metadata, None if features is None else Detector.from_arrays(features)
        )


def make_run_network(run: Run, file: Path, known: Mapping[str, Any], detector: Detector | None = None) -> RunNetwork:
    """Load the network of a run from a file.

    Args:
        run: The run.
        file: The `.keras` file.
        known: Its `class_names`, and further attributes of `RunNetwork`.
        detector: Detects images that are unlike the training images.

    Raises:
        EvaluationError: The file is not a network that can be loaded safely.
    """
    execute_code(run, file)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EvaluationError(
            f"run {run.id or file}: its network cannot be loaded ({reason}); use the versions it was saved with, "
            f"keras {run.tags.get('versions.keras', 'unknown')} and keras-cnns "
            f"{run.tags.get('versions.keras_cnns', 'unknown')}."
        ) from error
    return RunNetwork(
        run=run,
        model=model,
        class_names=tuple(known.get("class_names") or map(str, range(model.output_shape[-1]))),
        positive=known.get("positive"),
        source=known.get("source", ""),
        reading=known.get("reading", {}),
        ranges=known.get("ranges", {}),
        detector=detector,
        applied_temperature=known.get("applied_temperature"),
    )


def execute_code(run: Run, network: Path) -> None:
    """Execute the user's file that defines the network of a run, if the saved network has layers of that file.

    Raises:
        EvaluationError: The file is not known, is missing, has changed, has not been executed by the user, or fails.
    """
    try:
        with readable(network):
            if not needs_code(read_configuration(network)):
                return
        execute(check_executed_before(Code.from_tags(run.tags)))
    except (ModelNameError, WeightsError) as error:
        raise EvaluationError(f"run {run.id}: its network cannot be loaded: {error}") from None


def is_multi_label(model: Any) -> bool:
    """Return whether a network predicts independent probabilities of several labels, i.e. ends in a sigmoid."""
    nodes = list(graph_nodes(model))
    last, inputs, _ = nodes[-1]
    if isinstance(last, MainOutput):
        last = next(operation for operation, _, outputs in nodes if outputs[0] is inputs[0])
    return model.output_shape[-1] > 1 and getattr(last, "activation", None) is keras.activations.sigmoid


def predict_probabilities(model: Any, images: np.ndarray) -> np.ndarray:
    """Predict probabilities in float64; unless the network is multi-label, rows are normalised to sum to 1."""
    predicted = compute_outputs(model, images)
    return normalize(predicted, multi_label=is_multi_label(model))


def predict_with_features(model: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and the predictions of images, given a network from `with_feature_summary`."""
    outputs = compute_outputs(model, images)
    return np.asarray(outputs["features"]), np.asarray(outputs["predictions"])


def compute_outputs(model: Any, images: np.ndarray) -> Any:
    """Return the outputs of a network, an array or a dictionary of arrays with a row for each image.

    Few images are one batch without an input pipeline, which takes longer to make than they take to predict. Their
    number is filled up to a power of two with zeros: each batch size is compiled and costs memory of its own.
    """
    count = len(images)
    if not 0 < count <= MAX_IMAGES_WITHOUT_PIPELINE:
        return model.predict(evaluation_batches(images), verbose=0)
    batch = np.zeros((1 << (count - 1).bit_length(), *images.shape[1:]), np.float32)
    batch[:count] = images
    return keras.tree.map_structure(lambda output: output[:count], model.predict_on_batch(batch))


def normalize(predicted: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """Return predictions as probabilities in float64, whose rows sum to 1 unless there are several labels."""
    values = np.asarray(predicted, np.float64)
    return values if multi_label else values / values.sum(axis=1, keepdims=True)


def format_shape(shape: Sequence[int]) -> str:
    """Format a shape as 28x28x1."""
    return "x".join(map(str, shape))
