"""What is logged of the images that a network is trained on, with pseudonyms instead of patient IDs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cnns.atomic import write_text
from keras_cnns.data import Dataset
from keras_cnns.data.flow import describe_flow
from keras_cnns.data.pseudonyms import load_pseudonyms
from keras_cnns.data.splits import SPLIT_TABLE, split_table
from keras_cnns.evaluation.classifier import describe_network, find_rules
from keras_cnns.evaluation.run_network import is_multi_label
from keras_cnns.tracking import Store
from keras_cnns.tracking.location import project_folder
from keras_cnns.tracking.runs import installed_packages

INPUT_EXAMPLES = 2


def hide_patients(dataset: Dataset, store: Store) -> Dataset:
    """Return a dataset with pseudonyms instead of patient IDs, unless it keeps them (`Dataset.keep_ids`)."""
    return load_pseudonyms(project_folder(store.uri), dataset).hide_dataset(dataset)


def log_splits(dataset: Dataset, folder: Path, store: Store, run_id: str) -> None:
    """Write the table of splits to a folder, and log it without patient IDs."""
    write_text(folder / SPLIT_TABLE, split_table(dataset))
    log_text(split_table(hide_patients(dataset, store)), SPLIT_TABLE, store, run_id)


def log_text(text: str, name: str, store: Store, run_id: str) -> None:
    """Log a text as a file of a run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write_text(path, text)
        store.log_files(run_id, path)


def network_metadata(dataset: Dataset, store: Store) -> dict[str, Any]:
    """Return what is saved with a network about the dataset that it was trained on, and about the software."""
    return {
        "class_names": list(dataset.class_names),
        "positive": dataset.positive,
        "source": dataset.source,
        "reading": dict(dataset.reading),
        "ranges": {kind: [found.low, found.high] for kind, found in dataset.ranges.items()},
        "notes": list(hide_patients(dataset, store).notes),
        "task": dataset.task,
        "image_shape": list(dataset.image_shape),
        **describe_flow(dataset),
        "packages": dict(installed_packages()),
    }


def log_network(
    network: Any, dataset: Dataset, store: Store, run_id: str, operating_point: Mapping[str, float], *,
    held_out: bool = True,
) -> None:  # fmt: skip
    """Save a network in a run, with all that turns images into decisions.

    Args:
        network: The Keras model.
        dataset: The images that it was trained on.
        store: The store.
        run_id: The run, which has stored its predictions for validation images if there are any.
        operating_point: Its threshold and temperature.
        held_out: Whether it was not trained on the validation images, so that prediction sets can be calibrated.
    """
    metadata = network_metadata(dataset, store)
    threshold = operating_point.get("threshold")
    description = describe_network(
        class_names=dataset.class_names,
        positive=dataset.positive,
        multi_label=is_multi_label(network),
        image_shape=dataset.image_shape,
        reading=dataset.reading,
        ranges=metadata["ranges"],
        operating_point=operating_point,
        rules=find_rules(store, run_id, dataset.class_names, threshold) if held_out else {},
    )
    store.log_model(
        run_id, network, dataset.training.images[:INPUT_EXAMPLES], description=description, metadata=metadata
    )
