"""Downloads of weights, verified and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import filelock

from keras_cnns.cache import cache_folder, catch_write_errors
from keras_cnns.errors import WeightsError, first_line
from keras_cnns.lazy import keras

OFFLINE = ("KERAS_CNNS_OFFLINE", "HF_HUB_OFFLINE")
"""Environment variables of which a value other than "" and "0" forbids downloads."""
MD5_DIGITS = 32


def is_offline() -> bool:
    """Return whether an environment variable forbids downloads."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in OFFLINE)


def download(url: str, checksum: str, *, otherwise: str = "name your own file: weights=FILE") -> Path:
    """Return a file, such as one of weights, downloaded unless it is in the cache.

    Args:
        url: The address of the file.
        checksum: Its SHA-256 or the first digits of it, or its MD5; "" if none is published.
        otherwise: What the user can do without the file, for error messages.

    Raises:
        WeightsError: The file cannot be downloaded, or is not the one with this checksum.
        DataError: The cache cannot be written.
    """
    name = Path(urlsplit(url).path).name
    path = cache_folder("weights") / f"{checksum[:8] or 'unverified'}-{name}"
    if path.exists():
        if compute_checksum(path, checksum) != checksum:
            raise WeightsError(f"{path}: the checksum is not that of {url}; delete the file and try again.")
        return path
    if is_offline():
        raise WeightsError(
            f"{name} is not in the cache, and {' or '.join(OFFLINE)} forbids downloads; download {url} elsewhere and "
            f"copy it to {path}, or {otherwise}."
        )
    with catch_write_errors(path.parent), filelock.FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            fetch(url, checksum, path, otherwise)
    return path


def fetch(url: str, checksum: str, path: Path, otherwise: str) -> None:
    """Download a file, and rename it to its path when it is complete and has the checksum."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
        try:
            keras.utils.get_file(path.name, origin=url, cache_dir=folder, cache_subdir="")
        except Exception as error:  # noqa: BLE001 - Keras raises `Exception` itself
            raise WeightsError(
                f"{url} cannot be downloaded ({first_line(error)}); check the network connection, or {otherwise}."
            ) from None
        downloaded = Path(folder, path.name)
        found = compute_checksum(downloaded, checksum)
        if found != checksum:
            raise WeightsError(
                f"{url}: the checksum is {found[:12]} instead of {checksum[:12]}, so the file is incomplete or not the "
                f"published one; try again, or {otherwise}."
            )
        downloaded.replace(path)


def compute_checksum(path: Path, like: str) -> str:
    """Return the MD5 of a file if `like` is one, and otherwise as many digits of its SHA-256 as `like` has."""
    algorithm = "md5" if len(like) == MD5_DIGITS else "sha256"
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()[: len(like)]


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return compute_checksum(path, "0" * 64)
