"""The images of an evaluation, read as for the training of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cnns.data import Dataset, load
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.run_network import RunNetwork

FOR_OTHER_IMAGES = ("resize", "window", "frames")
"""The options of `load` that also apply to images from another source than those of training."""


def load_for_run(
    network: RunNetwork, source: str | None, changes: Mapping[str, Any], *, hint: str = "name them with --data (data)"
) -> Dataset:
    """Load a dataset in the size and the channels of a network, and otherwise as for its training.

    Args:
        network: The network.
        source: The source; None for that of the training.
        changes: The arguments of `load` that the user chose.
        hint: What the user can do if the images of the training are not there.

    Raises:
        EvaluationError: The source of the training is not recorded or no longer there.
        DataError: The images cannot be read.
    """
    if source is None or is_same_source(source, network.source):
        source = source or network.source
        if not source:
            raise EvaluationError(f"run {network.run.id} does not record its images; {hint}.")
        if path := missing_path(source):
            raise EvaluationError(f"{path}, with the images of run {network.run.id}, does not exist; {hint}.")
        options = dict(network.reading)
    else:
        options = {name: network.reading[name] for name in FOR_OTHER_IMAGES if name in network.reading}
    height, width, channels = network.image_shape
    options = {"image_size": (height, width), "channels": channels, "ranges": network.ranges, **drop_none(options)}
    return load(source, **{**options, **drop_none(changes)})


def missing_path(source: str) -> str:
    """Return the path of a recorded source if it does not exist, else ""; sources without a path are never missing."""
    path = source.partition("?")[0]
    return path if os.sep in path and not Path(path).exists() else ""


def is_same_source(source: str, other: str) -> bool:
    """Return whether two sources, as the user writes them, are the same."""
    return source == other or os.path.abspath(source) == other  # noqa: PTH100 - sources may be no paths


def drop_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the options that have their default."""
    return {name: value for name, value in options.items() if value is not None}
