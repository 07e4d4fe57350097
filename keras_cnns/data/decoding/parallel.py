"""Decoding of many image files in parallel into one array."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from keras_cnns.data.conversion import RESIZE_HINT, Conversion
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.decoded_image import DecodedImage
from keras_cnns.data.decoding.image import decode
from keras_cnns.errors import DataError

GROUP_SIZE = 16
GROUPS_AHEAD = 2
QUIET_SECONDS = 2

T = TypeVar("T")
Allocate = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedFiles:
    """The images of many files.

    Attributes:
        images: Shape (images, height, width, channels), uint8.
        kept: The index of each image's file.
        headers: The DICOM header fields of each image.
        broken: The files that cannot be read.
        stretched: The number of DICOM images whose own range was stretched to 0 to 255.
    """

    images: np.ndarray
    kept: list[int]
    headers: list[Mapping[str, str]]
    broken: list[BrokenFile]
    stretched: int


def try_decode(root: Path, file: str, conversion: Conversion) -> DecodedImage | BrokenFile:
    """Decode and convert a file, or return why it cannot be read."""
    try:
        image = decode(root / file)
    except DataError as error:
        return BrokenFile(file, str(error))
    return DecodedImage(conversion.convert_image(image.pixels), image.header, image.stretched)


def estimate_size(root: Path, files: Sequence[str], conversion: Conversion) -> int:
    """Return the size of all decoded images in bytes, judging by the first valid file; 0 if there is none."""
    images = (try_decode(root, file, conversion) for file in files)
    return next((image.pixels.nbytes * len(files) for image in images if isinstance(image, DecodedImage)), 0)


def decode_files(root: Path, files: Sequence[str], conversion: Conversion, allocate: Allocate) -> DecodedFiles:
    """Decode files in parallel, in their order.

    Args:
        root: The folder that the files are relative to.
        files: The files.
        conversion: The size and the channels. Without channels, all images become RGB if any of them is.
        allocate: Returns the array to decode into, given its shape.

    Raises:
        DataError: The images have different sizes.
    """
    images = np.empty((0, 0, 0, 0), np.uint8)
    kept: list[int] = []
    headers: list[Mapping[str, str]] = []
    broken: list[BrokenFile] = []
    stretched = 0
    for index, image in enumerate(show_progress(decode_in_order(root, files, conversion), len(files))):
        if isinstance(image, BrokenFile):
            broken.append(image)
            continue
        height, width, channels = image.pixels.shape
        if not kept:
            images = allocate((len(files), height, width, channels))
        if (height, width) != images.shape[1:3]:
            raise DataError(
                f"{files[index]} has {width}x{height} pixels but {files[kept[0]]} has "
                f"{images.shape[2]}x{images.shape[1]}; {RESIZE_HINT}."
            )
        if channels > images.shape[-1]:
            greyscale, images = images, allocate((len(files), height, width, 3))
            images[: len(kept)] = greyscale[: len(kept)]
        images[len(kept)] = image.pixels
        kept.append(index)
        headers.append(image.header)
        stretched += image.stretched
    return DecodedFiles(images=images[: len(kept)], kept=kept, headers=headers, broken=broken, stretched=stretched)


def decode_in_order(root: Path, files: Sequence[str], conversion: Conversion) -> Iterator[DecodedImage | BrokenFile]:
    """Yield the decoded files in their order, decoding a few groups ahead on all cores."""

    def decode_group(start: int) -> list[DecodedImage | BrokenFile]:
        return [try_decode(root, file, conversion) for file in files[start : start + GROUP_SIZE]]

    ahead: deque[Future[list[DecodedImage | BrokenFile]]] = deque()
    workers = os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.filterwarnings("ignore", module="pydicom|PIL")
        starts = iter(range(0, len(files), GROUP_SIZE))
        try:
            ahead.extend(pool.submit(decode_group, start) for start in islice(starts, GROUPS_AHEAD * workers))
            while ahead:
                group = ahead.popleft().result()
                ahead.extend(pool.submit(decode_group, start) for start in islice(starts, 1))
                yield from group
        finally:
            pool.shutdown(cancel_futures=True)


def show_progress(images: Iterable[T], total: int) -> Iterator[T]:
    """Yield images and, after two seconds, show on a terminal how many have been read."""
    start, shown = time.monotonic(), False
    try:
        for count, image in enumerate(images, start=1):
            yield image
            if count % GROUP_SIZE == 0 and sys.stderr.isatty() and time.monotonic() - start > QUIET_SECONDS:
                print(f"\rreading images: {count:,} of {total:,}", end="", file=sys.stderr, flush=True)
                shown = True
    finally:
        if shown:
            print(file=sys.stderr)
