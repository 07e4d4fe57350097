"""OpenVINO, for Intel processors. The description is in the model's runtime information (`rt_info`)."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_cnns.exporting.formats import Batches, ExportFormat, Runtime
from keras_cnns.lazy import LazyModule

if TYPE_CHECKING:
    import nncf
    import openvino
else:
    nncf, openvino = LazyModule("nncf"), LazyModule("openvino")

# OpenVINO and NNCF report their use to Intel without asking, unless this package cannot be imported.
sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))

NAME = "model.xml"
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without it, processors with bfloat16 compute in it, which changes probabilities by some thousandths."""


def convert(model: Any, description: Mapping[str, Any]) -> Any:
    """Return a network as a model of OpenVINO."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converted = openvino.convert_model(folder)
    for name, value in (("keras_cnns", json.dumps(description)), ("labels", " ".join(description["class_names"]))):
        converted.set_rt_info(value, ["model_info", name])
    return converted


def write(model: Any, description: Mapping[str, Any], path: Path) -> None:
    """Write a folder with OpenVINO's two files."""
    path.mkdir()
    openvino.save_model(convert(model, description), str(path / NAME), compress_to_fp16=False)


def load(path: Path, model: Any) -> Runtime:  # noqa: ARG001 - the file has all
    """Load the folder with OpenVINO on the processor, in float32."""
    compiled = openvino.Core().compile_model(str(path / NAME), "CPU", EXACT)
    return lambda images: np.asarray(compiled(images)[0])


def quantize(model: Any, description: Mapping[str, Any], path: Path, batches: Batches) -> None:
    """Write a folder with weights and activations of 8 bits."""
    images = [image[np.newaxis] for batch in batches() for image in batch]
    converted = nncf.quantize(
        convert(model, description), nncf.Dataset(images),
        subset_size=len(images), preset=nncf.QuantizationPreset.MIXED,
    )  # fmt: skip
    path.mkdir()
    openvino.save_model(converted, str(path / NAME), compress_to_fp16=False)


FORMAT = ExportFormat(
    name="openvino", title="OpenVINO", suffix="", extra="openvino", packages=("openvino", "nncf"),
    runtime_package="openvino", write=write, load=load, quantize=quantize,
)  # fmt: skip
