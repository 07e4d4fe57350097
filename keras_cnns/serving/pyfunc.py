"""The Python function of an MLflow model: images in, named probabilities, decisions and prediction sets out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_cnns.errors import DataError
from keras_cnns.evaluation.cases import PREDICTED_CLASS, PROBABILITY
from keras_cnns.evaluation.classifier import Classifier, read_classifier
from keras_cnns.evaluation.input_images import Images
from keras_cnns.tracking.mlflow_model import INPUT, PREDICTED_LABELS, PREDICTION_SET


class ImageClassifier:
    """What `mlflow.pyfunc.load_model` returns for a network.

    Args:
        classifier: The network with what turns images into decisions.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a row for each image, with the columns of the signature.

        Args:
            model_input: Images as `Classifier.predict` takes them, or encoded files as base64 text, plain or as the
                column or value `image`.
            params: `confidence_level` of the prediction sets.

        Raises:
            DataError: Something is not an image.
            EvaluationError: There are no prediction sets for the level.
        """
        level = (params or {}).get("confidence_level") if self.classifier.rules else None
        found = self.classifier.predict(to_images(model_input), confidence_level=level)
        if found.broken:
            raise DataError(f"{'; '.join(map(str, found.broken))}.")
        names = found.predicted_names
        columns: dict[str, Any] = (
            {PREDICTED_CLASS: [name for (name,) in names]}
            if found.classes.ndim == 1
            else {PREDICTED_LABELS: [list(row) for row in names]}
        )
        columns |= {f"{PROBABILITY}{name}": found.probabilities[:, i] for i, name in enumerate(found.class_names)}
        if found.sets is not None:
            columns[PREDICTION_SET] = found.set_names
        return pd.DataFrame(columns)


def to_images(model_input: Any) -> Images:
    """Return images from what MLflow passes: arrays, tables with one column, or base64 text.

    Raises:
        DataError: Something is not an image.
    """
    if isinstance(model_input, pd.DataFrame | Mapping):
        columns = list(model_input)
        if columns != [INPUT]:
            raise DataError(f"the columns are {', '.join(map(str, columns))}; pass one, {INPUT}.")
        model_input = model_input[INPUT]
    values = model_input if isinstance(model_input, np.ndarray) else np_array(list(model_input))
    if values.dtype != object and values.dtype.kind not in "US":
        return values
    try:
        if values.ndim > 1:
            return np.asarray(values.tolist())
        each = [item.tolist() if isinstance(item, np.ndarray) and item.ndim == 0 else item for item in values]
        return [decode_text(item) if isinstance(item, str) else np.asarray(item) for item in each]
    except DataError:
        raise
    except ValueError:
        raise DataError("an image has rows of different lengths; pass arrays, or PNG files as base64 text.") from None


def np_array(values: list[Any]) -> np.ndarray:
    """Return an array of values, of objects if their shapes differ."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.fromiter(values, dtype=object, count=len(values))


def decode_text(text: str) -> bytes:
    """Return the bytes of base64 text.

    Raises:
        DataError: It is not base64.
    """
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except ValueError:
        raise DataError("text is not base64; pass an encoded image file, such as PNG, as base64 text.") from None


def load_model(path: str) -> ImageClassifier:
    """Load the network of an MLflow model from its file."""
    return ImageClassifier(read_classifier(Path(path)))
