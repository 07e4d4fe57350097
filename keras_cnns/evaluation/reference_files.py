"""Files that a training stores in its run, so that evaluations and predictions need none of its images.

- `features.npz`: the distribution of the features of the training images, which shows what is unlike them;
- `training_images.npz`: perceptual hashes of the training images, by which copies of them are found.

Neither contains an image, a file name or a patient ID. They are NumPy arrays, which are never unpickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_cnns.errors import EvaluationError
from keras_cnns.tracking import Run, Store

FOLDER = "reference"
FEATURES, TRAINING_IMAGES = "features.npz", "training_images.npz"
HASHES = "hashes"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a compressed .npz file."""
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_arrays(store: Store, run: Run, name: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file of a run; None if the run does not have the file.

    Raises:
        StoreError: The store cannot be read.
        EvaluationError: The file is damaged.
    """
    content = store.read_bytes(run.id, f"{FOLDER}/{name}")
    if content is None:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EvaluationError(
            f"run {run.id}: its file {FOLDER}/{name} is damaged ({error}); restore the run's files, or train again."
        ) from error
