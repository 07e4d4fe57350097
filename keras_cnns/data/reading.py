"""Many files: decoded several at once, in their order, into one array."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import Broken
from keras_cnns.data.decoding import Picture, fitted, read_picture
from keras_cnns.errors import DataError

GROUP = 16
GROUPS_AHEAD = 2
AT_A_TIME = 256
QUIET_SECONDS = 2

Allocate = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How images are to be read; as the arguments of `load`."""

    image_size: int | tuple[int, int] | None = None
    channels: int | None = None
    skip_broken: bool = False
    stream: bool | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Decoded images.

    Attributes:
        images: Shape (images, height, width, channels), uint8.
        kept: Which of the files they are.
        facts: What their headers say.
        broken: The files that cannot be read.
        stretched: How many have their own lowest and highest value made 0 and 255.
    """

    images: np.ndarray
    kept: list[int]
    facts: list[Mapping[str, str]]
    broken: list[Broken]
    stretched: int


def attempt(root: Path, file: str, wanted: Wanted) -> Picture | Broken:
    """Decode a file, or say why it cannot be."""
    try:
        picture = read_picture(root / file)
    except DataError as error:
        return Broken(file, str(error))
    return Picture(fitted(picture.pixels, wanted.image_size, wanted.channels), picture.facts, picture.stretched)


def decoded_size(root: Path, files: Sequence[str], wanted: Wanted) -> int:
    """Return how many bytes all images will have, from the first that can be read; 0 where none can be."""
    for file in files:
        picture = attempt(root, file, wanted)
        if isinstance(picture, Picture):
            return picture.pixels.nbytes * len(files)
    return 0


def decode_all(root: Path, files: Sequence[str], wanted: Wanted, allocate: Allocate) -> Decoded:
    """Decode all files, several at once, in their order.

    Args:
        root: The folder that files are relative to.
        files: The files.
        wanted: Size and channels. Where channels are not given, one colour image makes all colour.
        allocate: Returns the array of a shape that images are decoded into.

    Raises:
        DataError: Images are of mixed sizes.
    """
    images = np.empty((0, 0, 0, 0), np.uint8)
    kept: list[int] = []
    facts: list[Mapping[str, str]] = []
    broken: list[Broken] = []
    stretched = 0
    for place, picture in enumerate(attempt_all(root, files, wanted)):
        if isinstance(picture, Broken):
            broken.append(picture)
            continue
        pixels = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., np.newaxis]
        if not kept:
            images = allocate((len(files), *pixels.shape))
        check_size(files, kept, images, place, pixels)
        if pixels.shape[-1] > images.shape[-1]:
            images = in_colour(images, len(kept), allocate)
        images[len(kept)] = pixels
        kept.append(place)
        facts.append(picture.facts)
        stretched += picture.stretched
    return Decoded(images=images[: len(kept)], kept=kept, facts=facts, broken=broken, stretched=stretched)


def attempt_all(root: Path, files: Sequence[str], wanted: Wanted) -> Iterator[Picture | Broken]:
    """Decode files on all cores, only a few ahead of what is taken, and yield them in their order."""

    def attempt_group(begin: int) -> list[Picture | Broken]:
        return [attempt(root, file, wanted) for file in files[begin : begin + GROUP]]

    ahead: deque[Future[list[Picture | Broken]]] = deque()
    progress = Progress(len(files))
    workers = os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.filterwarnings("ignore", module="pydicom|PIL")
        begins = iter(range(0, len(files), GROUP))
        try:
            ahead.extend(pool.submit(attempt_group, begin) for begin in islice(begins, GROUPS_AHEAD * workers))
            count = 0
            while ahead:
                group = ahead.popleft().result()
                ahead.extend(pool.submit(attempt_group, begin) for begin in islice(begins, 1))
                yield from group
                count += len(group)
                progress.show(count)
        finally:
            pool.shutdown(cancel_futures=True)
            progress.end()


def check_size(files: Sequence[str], kept: Sequence[int], images: np.ndarray, place: int, pixels: np.ndarray) -> None:
    """Raise a `DataError` where an image is of another size than those before."""
    if pixels.shape[:2] != images.shape[1:3]:
        (height, width), (_, high, wide, _) = pixels.shape[:2], images.shape
        raise DataError(
            f"{files[place]} has {width}x{height} pixels and {files[kept[0]]} has "
            f"{wide}x{high}; give all one size with --image-size 64 (image_size=64)."
        )


def in_colour(images: np.ndarray, count: int, allocate: Allocate) -> np.ndarray:
    """Return a wider array in which so many grey images are colour ones."""
    wider = allocate((*images.shape[:3], 3))
    for begin in range(0, count, AT_A_TIME):
        part = slice(begin, min(begin + AT_A_TIME, count))
        wider[part] = images[part]
    return wider


class Progress:
    """A line on a terminal that says how far reading is, from two seconds on."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = time.monotonic()
        self.shown = False

    def show(self, count: int) -> None:
        """Say how many images are read."""
        if sys.stderr.isatty() and time.monotonic() - self.begun > QUIET_SECONDS:
            print(f"\rreading images: {count:,} of {self.total:,}", end="", file=sys.stderr, flush=True)
            self.shown = True

    def end(self) -> None:
        """Leave the line."""
        if self.shown:
            print(file=sys.stderr)
