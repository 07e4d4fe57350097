"""Copies of training images among evaluated images."""

from __future__ import annotations

import numpy as np

from keras_cnns.data.copies import Copies, find_copies
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.evaluation.reference_files import HASHES, TRAINING_IMAGES, read_arrays
from keras_cnns.tracking import Store


def find_training_copies(store: Store, ensemble: Ensemble, images: np.ndarray) -> Copies | None:
    """Find the images that are copies of images which a network of an ensemble was trained on.

    Args:
        store: The store of the runs, which have the hashes of their training images.
        ensemble: The networks.
        images: Shape (images, height, width, channels), uint8.

    Returns:
        The copies; None if a run does not have the hashes.
    """
    stored = [read_arrays(store, run, TRAINING_IMAGES) for run in ensemble.runs]
    known = [arrays[HASHES] for arrays in stored if arrays is not None]
    return find_copies(images, np.unique(np.concatenate(known), axis=0)) if len(known) == len(stored) else None
