"""Decoded images in the cache: each machine decodes the files of a source once."""

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

from keras_cnns.atomic import atomic_write
from keras_cnns.cache import cache_folder, catch_write_errors
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.image import split_frame
from keras_cnns.data.decoding.parallel import ConvertedImage, DecodedFiles, decode_files, try_decode
from keras_cnns.data.streaming import create_memmap
from keras_cnns.data.value_range import RangeOptions

CACHE_FORMAT = 3


def decode_cached(
    root: Path, files: Sequence[str], conversion: Conversion, *, splits: Sequence[str], options: RangeOptions
) -> DecodedFiles:
    """Return memory-mapped images from the cache, decoding the files if they are not there yet.

    Processes that need the same files at the same time wait for the first one to decode them.

    Raises:
        DataError: The images have different sizes, or the disk is too small for them.
    """
    folder = cache_folder()
    key = cache_key(root, files, conversion, splits, options)
    images, record = folder / f"{key}.npy", folder / f"{key}.json"
    with FileLock(folder / f"{key}.lock"):
        found = read_record(images, record)
        if found is None or is_any_fixed(root, conversion, found["broken"]):
            try:
                decoded = decode_files(
                    root, files, conversion, lambda shape: create_memmap(part_of(images, shape), shape),
                    splits=splits, options=options,
                )  # fmt: skip
                save(decoded, images, record)
            finally:
                for part in folder.glob(f"{key}.*part"):
                    part.unlink()
            found = json.loads(record.read_text("utf-8"))
        pixels = np.load(images, mmap_mode="r") if found["kept"] else np.empty((0, 0, 0, 0), np.uint8)
    broken = [BrokenFile(**file) for file in found.pop("broken")]
    return DecodedFiles(images=pixels[: len(found["kept"])], broken=broken, **found)


def part_of(images: Path, shape: tuple[int, ...]) -> Path:
    """Return the temporary file for images of a shape; greyscale and RGB images may be written at the same time."""
    return images.with_suffix(f".{shape[-1]}.part")


def read_record(images: Path, record: Path) -> dict[str, Any] | None:
    """Return what is recorded about cached images; None if they are not in the cache."""
    try:
        found: dict[str, Any] = json.loads(record.read_text("utf-8"))
        return found if images.exists() or not found["kept"] else None
    except (OSError, ValueError):
        return None


def is_any_fixed(root: Path, conversion: Conversion, broken: Iterable[Mapping[str, str]]) -> bool:
    """Return whether a file that was broken can now be read."""
    return any(isinstance(try_decode(root, each["file"], conversion), ConvertedImage) for each in broken)


def save(decoded: DecodedFiles, images: Path, record: Path) -> None:
    """Move decoded images to their final path, then write the record that makes them valid."""
    fields = {name: value for name, value in vars(decoded).items() if name != "images"}
    with catch_write_errors(images.parent):
        record.unlink(missing_ok=True)
        if decoded.kept:
            part_of(images, decoded.images.shape).replace(images)
        with atomic_write(record) as temporary:
            temporary.write_text(json.dumps(fields, default=asdict), "utf-8")


def cache_key(
    root: Path, files: Sequence[str], conversion: Conversion, splits: Sequence[str], options: RangeOptions
) -> str:
    """Return a name for the decoded images that changes with the files, how they are read, and the decoders."""
    decoders = (*map(version, ("pillow", "simplejpeg", "pydicom", "python-gdcm")),)
    how = (conversion, [str(split) for split in splits], options)
    digest = hashlib.sha256(repr((CACHE_FORMAT, decoders, str(root.resolve()), how)).encode())
    for file in files:
        try:
            stat = split_frame(root / file)[0].stat()
            digest.update(repr((file, stat.st_size, stat.st_mtime_ns)).encode())
        except OSError:
            digest.update(repr((file, None)).encode())
    return digest.hexdigest()[:32]
