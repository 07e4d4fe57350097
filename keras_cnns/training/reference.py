"""What a training logs about its images, by which unusual images and copies are recognised later."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.data.copies import perceptual_hashes
from keras_cnns.evaluation.compatibility import separate_unknown
from keras_cnns.evaluation.out_of_distribution import fit_detector
from keras_cnns.evaluation.reference_files import FEATURES, FOLDER, HASHES, TRAINING_IMAGES, write_arrays
from keras_cnns.evaluation.run_network import predict_with_features
from keras_cnns.tracking import Store

MAX_TRAINING_IMAGES = 4000
IMAGES_PER_CHUNK = 500


def log_detector(
    network: Any,
    images: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    patients: np.ndarray | None,
    store: Store,
    run_id: str,
) -> None:
    """Log a detector of images that are out of distribution, with the false-alarm rate, if there are enough images.

    Args:
        network: The network with the features, as `with_feature_summary` returns it.
        images: Images, shape (images, height, width, channels), uint8.
        training: The indices of those that it was trained on, at most 4,000 of which are used.
        validation: The features of images that it was not trained on, shape (images, features).
        patients: The patient of each of these; None if no patients are known.
        store: The store.
        run_id: The run.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(training)[:MAX_TRAINING_IMAGES])
    chunks = np.split(chosen, range(IMAGES_PER_CHUNK, len(chosen), IMAGES_PER_CHUNK))
    features = [predict_with_features(network, images[indices])[0] for indices in chunks]
    detector = fit_detector(np.concatenate(features), validation, separate_unknown(patients))
    if detector is not None:
        log_arrays(detector.to_arrays(), FEATURES, store, run_id)
        store.log(run_id, metrics=detector.to_metrics())


def log_training_images(images: np.ndarray, store: Store, run_id: str) -> None:
    """Log the perceptual hashes of training images."""
    log_arrays({HASHES: perceptual_hashes(images)}, TRAINING_IMAGES, store, run_id)


def log_arrays(arrays: Mapping[str, np.ndarray], name: str, store: Store, run_id: str) -> None:
    """Log arrays as a file of a run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write_arrays(path, arrays)
        store.log_files(run_id, path, into=FOLDER)
