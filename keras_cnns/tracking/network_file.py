"""Descriptions of networks in `.keras` files: all that turns pixels into decisions, beside the network itself.

A `.keras` file is a zip archive. The description is one more JSON file in it, which Keras ignores.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cnns.errors import DataError

MEMBER = "keras_cnns.json"
MAX_DESCRIPTION = 2**24  # bytes
PRIVATE_TAGS = ("mlflow.", "folder", "hardware.", "git.", "reason")
"""What the names of tags begin with that say something about the machine, the user or the files of a training."""


def describe_run(
    run_id: str, name: str | None, started: int, params: Mapping[str, str], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a description says about the run of a network, see `keras_cnns.tracking.conversion.make_run`."""
    public = {name: value for name, value in tags.items() if not name.startswith(PRIVATE_TAGS)}
    return {"id": run_id, "name": name, "started": started, "params": dict(params), "tags": public}


def add_description(file: Path, description: Mapping[str, Any]) -> None:
    """Add a description to a `.keras` file that has none."""
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, json.dumps(description, indent=1, allow_nan=False))


def read_description(file: Path) -> dict[str, Any]:
    """Return the description in a `.keras` file; empty if it has none.

    Raises:
        DataError: The file does not exist, or is not a `.keras` file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if MEMBER not in archive.namelist():
                return {}
            if archive.getinfo(MEMBER).file_size > MAX_DESCRIPTION:
                raise DataError(f"{file}: its description {MEMBER} is too large; save the network again.")
            found = json.loads(archive.read(MEMBER))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read as a network ({error}); pass a .keras file.") from None
    if not isinstance(found, dict):
        raise DataError(f"{file}: its description {MEMBER} is not a JSON object; save the network again.")
    return found
