"""Model card and dataset card, with the metadata block that Hugging Face reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from keras_cnns.writing.document import Document
from keras_cnns.writing.fields import clean, find
from keras_cnns.writing.markdown import to_markdown

MODEL_CARD, DATASET_CARD = "model-card.md", "dataset-card.md"
LICENSE = "unknown"
"""The identifier for a licence that is not known; the authors have to replace it."""
METRIC_TYPES = {
    "auc": "roc_auc",
    "brier": "brier_score",
    "mcc": "matthews_correlation",
    "ppv": "precision",
    "sensitivity": "recall",
}
"""The names of metrics on Hugging Face, where they differ from ours."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST = "n>1M"


def write_model_card(document: Document, facts: Mapping[str, Any]) -> str:
    """Return the model card as Markdown, with its metadata."""
    return add_metadata(model_metadata(facts), document)


def write_dataset_card(document: Document, facts: Mapping[str, Any]) -> str:
    """Return the dataset card as Markdown, with its metadata."""
    return add_metadata(dataset_metadata(facts), document)


def add_metadata(metadata: Mapping[str, Any], document: Document) -> str:
    """Return a document as Markdown, after a block of YAML."""
    block = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=1000)
    note = "# license: to be written by the authors; the program does not know it\n"
    return f"---\n{note}{block}---\n\n{to_markdown(document)}"


def model_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a model card, with the results of the evaluation and of those on external datasets."""
    run = facts["run"]
    metrics = [METRIC_TYPES.get(name, name) for name in facts["evaluation"]["metrics"]]
    results = [describe_results(facts, evaluation) for evaluation in (facts["evaluation"], *facts["external"])]
    return {
        "license": LICENSE,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["keras-cnns", "image-classification", clean(run["family"]), clean(run["model"])],
        "metrics": list(dict.fromkeys(metrics)),
        "model-index": [{"name": clean(run["name"] or run["model"]), "results": results}],
    }


def describe_results(facts: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of the model index."""
    name = clean(str(evaluation["data"]))
    return {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"name": name, "type": slug(name), "split": evaluation["split"]},
        "metrics": [
            {
                "type": METRIC_TYPES.get(metric, metric),
                "value": value,
                "name": find(facts, f"/methods/metrics/{metric}/title") or metric,
            }
            for metric, value in evaluation["metrics"].items()
        ],
    }


def dataset_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a dataset card."""
    network = facts["network"]
    task = (
        "multi-label-image-classification"
        if network.get("task") == "multi-label"
        else "multi-class-image-classification"
    )
    names = {str(index): clean(name) for index, name in enumerate(network.get("class_names", []))}
    label = {"class_label": {"names": names}}
    feature = {"name": "labels", "sequence": label} if network.get("task") == "multi-label" else {
        "name": "label", "dtype": label,
    }  # fmt: skip
    splits = network.get("splits", {})
    counted = {
        "size_categories": [size_category(sum(split["images"] for split in splits.values()))],
        "dataset_info": {
            "features": [{"name": "image", "dtype": "image"}, feature],
            "splits": [{"name": name, "num_examples": split["images"]} for name, split in splits.items()],
        },
    }
    return {
        "license": LICENSE,
        "pretty_name": clean(facts["run"]["data_name"]),
        "task_categories": ["image-classification"],
        "task_ids": [task],
        **(counted if splits else {}),
    }


def size_category(images: int) -> str:
    """Return Hugging Face's category of a number of images."""
    return next((name for limit, name in SIZES if images < limit), LARGEST)


def slug(text: str) -> str:
    """Return a text as an identifier of lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "dataset"
