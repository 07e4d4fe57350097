"""Weights of runs and of registered models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cnns.cache import cache_folder, catch_write_errors
from keras_cnns.errors import StoreError, WeightsError, first_line
from keras_cnns.networks.weights.own import read_preprocessing
from keras_cnns.pretrained.download import compute_sha256
from keras_cnns.pretrained.references import WAYS, WeightsFile, find_weights, is_other
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.registry import MODELS, Registry


def find_any_weights(
    reference: str | os.PathLike[str], variant: str, tracking_uri: str | None, settings: Mapping[str, Any]
) -> WeightsFile:
    """Return the weights that a reference names, downloaded if necessary; see `keras_cnns.build`.

    Args:
        reference: The reference.
        variant: The name of the network.
        tracking_uri: The store of a run or a registered model.
        settings: The settings of the network that differ from the variant's.

    Raises:
        WeightsError: There are no such weights for the network, or they cannot be read or downloaded.
    """
    if not is_other(reference):
        return find_weights(reference, variant, settings)
    text = os.fspath(reference)
    try:
        store = Store(tracking_uri, create=False)
        name = Registry(store).find_run(text) if text.startswith(MODELS) else text
        return fetch_run(store, store.run(name), text)
    except StoreError as error:
        raise WeightsError(f"unknown weights {text!r}: give {WAYS} ({first_line(error)})") from None


def fetch_run(store: Store, run: Run, reference: str) -> WeightsFile:
    """Return the weights of a run's network, kept in the cache."""
    path = cache_folder("weights") / f"run-{run.id}.keras"
    if not path.exists():
        with catch_write_errors(path.parent), tempfile.TemporaryDirectory(dir=path.parent) as folder:
            found = store.fetch_network(run.id, Path(folder)).file
            copied = Path(folder, path.name)
            copied.write_bytes(found.read_bytes())
            copied.replace(path)
    return WeightsFile(
        reference=reference,
        source=f"run {run.id} on {run.data_name}",
        path=path,
        sha256=compute_sha256(path),
        preprocessing=read_preprocessing(path),
        data=run.data_fingerprint,
        knows_validation=run.trained_on_validation,
    )
