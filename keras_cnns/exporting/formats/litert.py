"""LiteRT (TensorFlow Lite), for phones and small devices.

The file is also a zip archive with the description and `labels.txt`, as in TensorFlow Lite's metadata.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_cnns.exporting.formats import Batches, ExportFormat, Runtime
from keras_cnns.lazy import LazyModule
from keras_cnns.tracking.network_file import MEMBER

if TYPE_CHECKING:
    from ai_edge_litert import interpreter
else:
    interpreter = LazyModule("ai_edge_litert.interpreter")

LABELS = "labels.txt"


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write a LiteRT file."""
    convert(model, description, path)


def convert(model: Any, description: Mapping[str, Any], path: Path, **options: Any) -> None:
    """Write a file with its description.

    Args:
        model: The network.
        description: The description.
        path: The file.
        **options: Attributes of TensorFlow's converter.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        for name, value in options.items():
            setattr(converter, name, value)
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LABELS, "".join(f"{name}\n" for name in description["class_names"]))
        archive.writestr(MEMBER, json.dumps(description, indent=1))


def load(path: Path, model: Any) -> Runtime:  # noqa: ARG001 - the file has all
    """Load the file with LiteRT's interpreter."""
    loaded = interpreter.Interpreter(str(path))
    pixels, probabilities = loaded.get_input_details()[0]["index"], loaded.get_output_details()[0]["index"]

    def run(images: np.ndarray) -> np.ndarray:
        if tuple(loaded.get_input_details()[0]["shape"]) != images.shape:
            loaded.resize_tensor_input(pixels, images.shape)
            loaded.allocate_tensors()
        loaded.set_tensor(pixels, images)
        loaded.invoke()
        return np.asarray(loaded.get_tensor(probabilities))

    loaded.allocate_tensors()
    return run


def quantize(model: Any, description: Mapping[str, Any], path: Path, batches: Batches) -> None:
    """Write a file with weights and activations of 8 bits; pixels and probabilities stay floats."""

    def single_images() -> Iterator[list[np.ndarray]]:
        for batch in batches():
            yield from ([image[np.newaxis]] for image in batch)

    convert(model, description, path, optimizations=[tf.lite.Optimize.DEFAULT], representative_dataset=single_images)


FORMAT = ExportFormat(
    name="litert", title="LiteRT (TensorFlow Lite)", suffix=".tflite", extra="litert", packages=("ai_edge_litert",),
    runtime_package="ai-edge-litert", write=write, load=load, quantize=quantize,
)  # fmt: skip
