"""ONNX, for ONNX Runtime and the programs of other languages and devices.

The description is in the model's metadata: `keras_cnns` has all of it, `class_names` only the names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_cnns.exporting.formats import Batches, ExportFormat, Runtime
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    import onnx
    import onnxruntime
    from onnxruntime import quantization
else:
    onnx, onnxruntime = LazyModule("onnx"), LazyModule("onnxruntime")
    quantization = LazyModule("onnxruntime.quantization")

OPSET = 18
LOG_ERRORS = 3


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write an ONNX file."""
    pixels = keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32", name="pixels")
    model.export(path, format="onnx", input_signature=[pixels], opset_version=OPSET, verbose=False)
    describe(path, description)


def describe(path: Path, description: Mapping[str, Any]) -> None:
    """Add the description to a file."""
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(
        graph,
        {"keras_cnns": json.dumps(description), "class_names": json.dumps(description["class_names"])},
    )
    onnx.save(graph, str(path))


def load(path: Path, model: Any) -> Runtime:  # noqa: ARG001 - the file has all
    """Load the file with ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    return lambda images: np.asarray(session.run(None, {pixels.name: images})[0])


def quantize(model: Any, description: Mapping[str, Any], path: Path, batches: Batches) -> None:
    """Write a file with weights of 8 bits for each channel, and activations of 8 bits."""
    exact = path.with_name(f"float32-{path.name}")
    write(model, description, exact)
    prepared = path.with_name(f"prepared-{path.name}")
    quantization.shape_inference.quant_pre_process(str(exact), str(prepared), skip_symbolic_shape=True)
    (pixels,) = onnx.load(str(prepared)).graph.input
    quantization.quantize_static(
        str(prepared), str(path), CalibrationReader(pixels.name, batches()), per_channel=True,
        quant_format=quantization.QuantFormat.QDQ, weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QUInt8,
    )  # fmt: skip
    for file in (exact, prepared):
        file.unlink()
    describe(path, description)


class CalibrationReader:
    """Batches as ONNX Runtime's quantization reads them."""

    def __init__(self, name: str, batches: Iterator[np.ndarray]) -> None:
        self._name = name
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


FORMAT = ExportFormat(
    name="onnx", title="ONNX", suffix=".onnx", extra="onnx", packages=("tf2onnx", "onnx", "onnxruntime"),
    runtime_package="onnxruntime", write=write, load=load, quantize=quantize, splits_groups=True,
)  # fmt: skip
