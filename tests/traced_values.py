"""Tracing of the values of a write-up to the fields of the run, without the code that writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow.models import Model
from mlflow.tracking import MlflowClient

from keras_cnns.evaluation.calibration import BINS
from keras_cnns.evaluation.intervals import CONFIDENCE_LEVEL, RESAMPLES
from keras_cnns.evaluation.metrics import all_metrics
from keras_cnns.networks.augmentations import AUGMENTATIONS


def assert_traced(text: str, listed: Iterable[Mapping[str, Any]], fields: Mapping[str, Any]) -> None:
    """Check that listed values are those of their fields, and that the article prints no other number.

    Args:
        text: The article in Markdown.
        listed: The values in `numbers.json`.
        fields: The fields of the run.
    """
    for value in listed:
        assert_printed(value["text"], resolve(fields, value["field"]))
    body = re.split(r"\n## (?:CLAIM|References)", text.replace("\\", ""))[0]
    body = re.sub(r"\[[\d, ]+\]|(?:Table|Figure) \d+\.|figures/\S+", "", body)  # citations, captions, files
    assert set(numbers_in(body)) <= {number for value in listed for number in numbers_in(value["text"])}


def strip_prefix(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def read_fields(folder: Path, run_id: str, lock: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a run as MLflow and the files of the run have them, without the code that is tested."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.get_run(run_id)
    (logged,) = (client.get_logged_model(output.model_id) for output in run.outputs.model_outputs)
    metadata = Model.load(str(Path(logged.artifact_location.removeprefix("file://"), "MLmodel"))).metadata
    files = Path(run.info.artifact_uri.removeprefix("file://"))
    params, tags = run.data.params, run.data.tags
    fields = {
        "run": {
            "id": run_id, "name": run.info.run_name, "model": params["model"], "family": params["family"],
            "seed": int(params["seed"]), "data_name": tags["data.name"], "data_fingerprint": tags["data.fingerprint"],
            "settings": strip_prefix(params, "settings."), "recipe": strip_prefix(params, "recipe."),
            "metrics": run.data.metrics, "tags": tags, "started": lock["run"]["started"],
        },
        "network": metadata,
        "evaluation": json.loads((files / "evaluation" / "test" / "evaluation.json").read_text()),
        "methods": {
            "confidence_level": CONFIDENCE_LEVEL, "resamples": RESAMPLES, "bins": BINS, "pixel_range": [0, 255],
            "metrics": {name: {"title": metric.title} for name, metric in all_metrics().items()},
            "augmentation": AUGMENTATIONS[params.get("recipe.augmentation", "none")].description,
        },
        "written": lock["written"],
    }  # fmt: skip
    parent = tags.get("mlflow.parentRunId")
    if parent:
        group = client.get_run(parent).data.params
        searched = strip_prefix(group, "searched.")
        fields["sweep"] = {"id": parent, "params": group, "searched": searched, "trials": 1, "finished": 1}
    return fields


def resolve(fields: Any, field: str) -> Any:
    """Return the value of a field, by another implementation of the pointers."""
    if field.startswith(("sum(", "count(")):
        found: list[Any] = []
        for path in field.partition("(")[2].removesuffix(")").split(","):
            start, *rest = path.split("/*")
            found += [resolve(item, part) for item in each(resolve(fields, start)) for part in ["".join(rest)]]
        return len(found) if field.startswith("count") else sum(found)
    if field.startswith("key("):
        path = field.removeprefix("key(").removesuffix(")")
        resolve(fields, path)
        return unescape(path.split("/")[-1])
    for part in field.split("/")[1:]:
        fields = fields[int(part)] if isinstance(fields, list) else fields[unescape(part)]
    return fields


def each(values: Any) -> list[Any]:
    return list(values.values()) if isinstance(values, dict) else list(values)


def unescape(part: str) -> str:
    return part.replace("~3", "*").replace("~2", ",").replace("~1", "/").replace("~0", "~")


def assert_printed(text: str, value: Any) -> None:
    """Check that a text is a value, rounded to its last digit if it is a number."""
    if isinstance(value, (str, bool)):
        value = str(value)
        normal = " ".join(value.split())
        assert text == normal or (len(text) == 10 and value.startswith(text))  # a date
        return
    number = text.removesuffix("%").replace(",", "").replace("−", "-")
    decimals = len(number.partition(".")[2])
    scale = 100 if text.endswith("%") else 1
    assert abs(float(number) - scale * value) <= 0.5 * 10**-decimals * max(1, abs(value) / 1e3) + 1e-12


def numbers_in(text: str) -> Iterator[str]:
    yield from re.findall(r"\d+(?:[.,]\d+)*", text)
