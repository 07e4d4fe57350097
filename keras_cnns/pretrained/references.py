"""References to weights: "imagenet", names of libraries, repositories, files, runs and registered models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_cnns.errors import WeightsError
from keras_cnns.networks.baselines.names import is_baseline, to_path
from keras_cnns.networks.baselines.published import find_published_file
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.networks.pretrained import Pretrained
from keras_cnns.networks.registry import find_variant
from keras_cnns.networks.weights.files import READERS
from keras_cnns.networks.weights.own import read_preprocessing
from keras_cnns.pretrained.download import compute_sha256, download
from keras_cnns.pretrained.hub import fetch_repository

IMAGENET = "imagenet"
KERAS, TIMM = "keras", "timm"
LIBRARIES = (KERAS, "torchvision")
KERAS_LICENCE = "see keras.io/api/applications"
NO_SETTINGS: Mapping[str, Any] = {}
WAYS = (
    "imagenet, keras:imagenet, torchvision:IMAGENET1K_V1, timm:NAME, hf://ORGANISATION/NAME, a file, a run, or "
    "models:/NAME@ALIAS"
)


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Weights in a file, and where they come from.

    Attributes:
        reference: What was asked for.
        source: The address of the file, its path, or the run that trained the weights.
        path: The file.
        sha256: Its SHA-256.
        licence: The licence of published weights, "" if it is not known.
        preprocessing: How images are standardized; None if that depends on the library whose names the weights have.
        data: The fingerprint of the dataset that a run was trained on, "" for other weights.
        knows_validation: Whether that run was also trained on the validation images of its dataset.
    """

    reference: str
    source: str
    path: Path
    sha256: str
    licence: str = ""
    preprocessing: Preprocessing | None = None
    data: str = ""
    knows_validation: bool = False


def find_weights(
    reference: str | os.PathLike[str], variant: str, settings: Mapping[str, Any] = NO_SETTINGS
) -> WeightsFile:
    """Return the weights that a reference names, downloaded if necessary.

    Args:
        reference: See `build`. Runs and registered models are found by `keras_cnns.pretrained.runs`.
        variant: The name of the network.
        settings: Its settings that differ from the variant's; those of a baseline determine its published weights.

    Raises:
        WeightsError: There are no such weights for the network, or they cannot be downloaded.
    """
    text = os.fspath(reference)
    kind, separator, name = text.partition(":")
    if text == IMAGENET or (separator and kind in LIBRARIES):
        if is_baseline(variant):
            return fetch_of_baseline(text, variant, settings)
        return fetch_published(find_published(text, variant), text)
    if separator and kind == TIMM:
        return from_repository(f"timm/{name}", text)
    if text.startswith("hf://"):
        return from_repository(text.removeprefix("hf://"), text)
    return from_file(to_path(text), text)


def is_other(reference: str | os.PathLike[str]) -> bool:
    """Return whether a reference can only be a run or a registered model."""
    text = os.fspath(reference)
    kind, separator, _ = text.partition(":")
    known = text == IMAGENET or (separator and kind in (*LIBRARIES, TIMM)) or text.startswith("hf://")
    return not known and Path(text).suffix.lower() not in READERS and not to_path(text).is_file()


def find_published(reference: str, variant: str) -> Pretrained:
    """Return the published weights of a variant that a name of the catalogue stands for.

    Raises:
        WeightsError: There are none; the message names those of this and of related networks.
    """
    family, _ = find_variant(variant)
    of_variant = [entry for entry in family.pretrained if entry.variant == variant]
    for entry in of_variant:
        if reference in (IMAGENET, entry.name):
            return entry
    if of_variant:
        known = ", ".join([IMAGENET, *(entry.name for entry in of_variant)])
        raise WeightsError(f"{variant} has no published weights {reference!r}; there are {known}.")
    others = [entry for entry in family.pretrained if reference in (IMAGENET, entry.name)]
    related = sorted({entry.variant for entry in others}, key=lambda name: (not name.startswith(variant), name))
    hint = f"; they belong to networks with differences: {', '.join(related[:4])}" if related else ""
    raise WeightsError(f"{variant} has no published weights {reference!r}{hint}.")


def fetch_published(entry: Pretrained, reference: str) -> WeightsFile:
    """Return published weights, downloaded if necessary."""
    path = download(entry.url, entry.checksum)
    return WeightsFile(
        reference=reference,
        source=entry.url,
        path=path,
        sha256=compute_sha256(path),
        licence=entry.licence,
        preprocessing=entry.preprocessing,
    )


def fetch_of_baseline(reference: str, variant: str, settings: Mapping[str, Any]) -> WeightsFile:
    """Return the weights that Keras publishes for a network of `keras.applications`, downloaded if necessary.

    Raises:
        WeightsError: There are none.
    """
    if reference not in (IMAGENET, f"{KERAS}:{IMAGENET}"):
        raise WeightsError(f"{variant} has no published weights {reference!r}; there are {IMAGENET}, and files.")
    url, checksum = find_published_file(variant, settings)
    path = download(url, checksum)
    return WeightsFile(reference=reference, source=url, path=path, sha256=compute_sha256(path), licence=KERAS_LICENCE)


def from_repository(repository: str, reference: str) -> WeightsFile:
    """Return the weights in a repository of Hugging Face."""
    found = fetch_repository(repository)
    return WeightsFile(
        reference=reference,
        source=found.address,
        path=found.path,
        sha256=found.sha256,
        licence=found.licence,
        preprocessing=found.preprocessing,
    )


def from_file(path: Path, reference: str) -> WeightsFile:
    """Return the weights in a file of the user."""
    if not path.is_file():
        raise WeightsError(f"{path}: the file does not exist.")
    preprocessing = read_preprocessing(path) if path.suffix.lower() == ".keras" else None
    return WeightsFile(
        reference=reference,
        source=str(path),
        path=path.absolute(),  # worker processes have other working folders
        sha256=compute_sha256(path),
        preprocessing=preprocessing,
    )
