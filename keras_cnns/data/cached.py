"""Many files: decoded once for each machine, and kept in a file that is read a few images at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from keras_cnns.data.dataset import Broken
from keras_cnns.data.decoding import Picture
from keras_cnns.data.reading import Decoded, Wanted, attempt, decode_all
from keras_cnns.data.streaming import cache_folder, reserve, writing

CACHE_FORMAT = 1


def decode_once(root: Path, files: Sequence[str], wanted: Wanted) -> Decoded:
    """Return images that are kept in a file; decode them if no process of this machine has yet.

    Raises:
        DataError: Images are of mixed sizes, or there is no room for the file.
    """
    folder = cache_folder()
    key = cache_key(root, files, wanted)
    images, record = folder / f"{key}.npy", folder / f"{key}.json"
    with FileLock(folder / f"{key}.lock"):
        said = read_record(images, record)
        if said is None or is_mended(root, wanted, said["broken"]):
            try:
                keep(decode_all(root, files, wanted, lambda shape: reserve(part(images, shape), shape)), images, record)
            finally:
                for left in folder.glob(f"{key}.*part"):
                    left.unlink()
            said = json.loads(record.read_text("utf-8"))
        kept = np.load(images, mmap_mode="r") if said["kept"] else np.empty((0, 0, 0, 0), np.uint8)
    return Decoded(
        images=kept[: len(said["kept"])],
        kept=said["kept"],
        facts=said["facts"],
        broken=[Broken(**broken) for broken in said["broken"]],
        stretched=said["stretched"],
    )


def part(images: Path, shape: tuple[int, ...]) -> Path:
    """Name a file that is being written; a grey one and a colour one can be there at once."""
    return images.with_suffix(f".{shape[-1]}.part")


def read_record(images: Path, record: Path) -> dict[str, Any] | None:
    """Return what is known of images that were decoded before; None where they were not."""
    try:
        said: dict[str, Any] = json.loads(record.read_text("utf-8"))
        return said if images.exists() or not said["kept"] else None
    except (OSError, ValueError):
        return None


def is_mended(root: Path, wanted: Wanted, broken: Iterable[Mapping[str, str]]) -> bool:
    """Return whether a file that could not be read can be now."""
    return any(isinstance(attempt(root, each["file"], wanted), Picture) for each in broken)


def keep(decoded: Decoded, images: Path, record: Path) -> None:
    """Give the file of decoded images its name, then say what they are."""
    said = {
        "kept": decoded.kept,
        "facts": decoded.facts,
        "broken": [asdict(broken) for broken in decoded.broken],
        "stretched": decoded.stretched,
    }
    with writing(images.parent):
        record.unlink(missing_ok=True)
        if decoded.kept:
            part(images, decoded.images.shape).replace(images)
        whole = record.with_suffix(".part")
        whole.write_text(json.dumps(said), "utf-8")
        whole.replace(record)


def cache_key(root: Path, files: Sequence[str], wanted: Wanted) -> str:
    """Return a name for what these files are decoded to, another one when a file is changed."""
    decoders = (version("pillow"), version("pydicom"), version("python-gdcm"))
    settled = (CACHE_FORMAT, decoders, str(root.resolve()), wanted.image_size, wanted.channels)
    digest = hashlib.sha256(repr(settled).encode())
    for file in files:
        try:
            at = (root / file).stat()
            digest.update(repr((file, at.st_size, at.st_mtime_ns)).encode())
        except OSError:
            digest.update(repr((file, None)).encode())
    return digest.hexdigest()[:32]
