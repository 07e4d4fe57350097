"""TensorFlow's SavedModel, for TensorFlow Serving and other programs without Keras.

The signature `serving_default` takes `pixels` and returns `probabilities` and, for each image, `class_names`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_cnns.exporting.formats import ExportFormat, Runtime
from keras_cnns.tracking.network_file import MEMBER

EXTRA_FILES = "assets.extra"


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write a SavedModel folder."""
    names = list(description["class_names"])

    def serve(pixels: Any) -> dict[str, Any]:
        probabilities = model(pixels, training=False)
        return {
            "probabilities": probabilities,
            "class_names": tf.tile([names], [tf.shape(probabilities)[0], 1]),
        }

    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="pixels")
    module = tf.Module()
    module.model = model
    module.serve = tf.function(serve, input_signature=[signature])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve.get_concrete_function()})
    folder = path / EXTRA_FILES
    folder.mkdir()
    (folder / MEMBER).write_text(json.dumps(description, indent=1))


def load(path: Path, model: Any) -> Runtime:  # noqa: ARG001 - the file has all
    """Load the folder with TensorFlow."""
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]

    return lambda images: np.asarray(serve(pixels=tf.constant(images))["probabilities"])


FORMAT = ExportFormat(
    name="savedmodel", title="TensorFlow SavedModel", suffix="", runtime_package="tensorflow", write=write, load=load
)
