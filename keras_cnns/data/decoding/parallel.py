"""Decoding of many image files in parallel into one array."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from keras_cnns.data.conversion import RESIZE_HINT, Conversion
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.decoded_image import HOUNSFIELD, DecodedImage
from keras_cnns.data.decoding.image import decode
from keras_cnns.data.value_range import (
    DEPTHS,
    FITTED_SPLITS,
    RangeOptions,
    ValueRange,
    Values,
    choose_range,
    range_notes,
)
from keras_cnns.errors import DataError

GROUP_SIZE = 16
GROUPS_AHEAD = 2
QUIET_SECONDS = 2
MAX_HOUNSFIELD = 3071
"""The highest value of CT of 12 bits; higher ones are metal."""
MIN_DARK_SHARE = 0.05

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
        ranges: The lowest and the highest value of the range of each kind of file that does not have 8 bits.
        notes: What was done to the values and to the shape of the images.
    """

    images: np.ndarray
    kept: list[int]
    headers: list[Mapping[str, str]]
    broken: list[BrokenFile]
    ranges: Mapping[str, tuple[float, float]]
    notes: list[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvertedImage:
    """A decoded and converted file.

    Attributes:
        pixels: Shape (height, width, channels), uint8; None if the range of its values is not known yet.
        shape: The shape of the pixels.
        reshaped: Whether its aspect ratio is not that of the size it was converted to.
        beyond: The number of values that were clipped.
        source: The decoded file, without its pixels.
        values: A summary of its values if it has a kind.
    """

    pixels: np.ndarray | None
    shape: tuple[int, int, int]
    reshaped: bool
    beyond: int
    source: DecodedImage
    values: Values


def try_decode(
    root: Path, file: str, conversion: Conversion, ranges: Mapping[str, ValueRange] | None = None,
    into: np.ndarray | None = None,
) -> ConvertedImage | BrokenFile:  # fmt: skip
    """Decode and convert a file, or return why it cannot be read. The pixels may be decoded into an array."""
    try:
        image = decode(root / file, frames=conversion.frames, window=conversion.window, into=into)
    except DataError as error:
        return BrokenFile(file, str(error))
    height, width, channels = image.pixels.shape
    chosen = (ranges or {}).get(image.kind, ValueRange(0, 255))
    pixels = None
    if not image.kind or (ranges is not None and image.kind in ranges):
        pixels = conversion.convert_image(image.to_uint8(chosen) if image.kind else image.pixels)
    return ConvertedImage(
        pixels=pixels,
        shape=(*(conversion.size or (height, width)), conversion.channels or channels),
        reshaped=conversion.changes_shape(height, width),
        beyond=image.count_beyond(chosen) if image.kind and ranges is not None else 0,
        source=replace(image, pixels=image.pixels[:0], background=None),
        values=image.values if image.kind else Values(),
    )


def estimate_size(root: Path, files: Sequence[str], conversion: Conversion) -> int:
    """Return the size of all decoded images in bytes, judging by the first valid file; 0 if there is none."""
    images = (try_decode(root, file, conversion) for file in files)
    return next((math.prod(image.shape) * len(files) for image in images if isinstance(image, ConvertedImage)), 0)


def decode_files(
    root: Path, files: Sequence[str], conversion: Conversion, allocate: Allocate, *,
    splits: Sequence[str] | None = None, options: RangeOptions | None = None, skip_ambiguous: bool = False,
) -> DecodedFiles:  # fmt: skip
    """Decode files in parallel, in their order.

    Files whose values are not of 8 bits are decoded twice: first to find the range of their values.

    Args:
        root: The folder that the files are relative to.
        files: The files.
        conversion: The size and the channels. Without channels, all images become RGB if any of them is.
        allocate: Returns the array to decode into, given its shape.
        splits: The split of each file: only training and validation images decide on the range of values.
        options: How the range of values is chosen.
        skip_ambiguous: Treat files as broken if the range of their values is ambiguous.

    Raises:
        DataError: The images have different sizes, or the range of their values is ambiguous.
    """
    images = np.empty((0, 0, 0, 0), np.uint8)
    found: dict[int, ConvertedImage] = {}
    broken: list[BrokenFile] = []
    decoded = decode_in_order(root, files, conversion, into=lambda index: images[index] if len(images) else None)
    for index, image in enumerate(show_progress(decoded, len(files))):
        if isinstance(image, BrokenFile):
            broken.append(image)
            continue
        height, width, channels = image.shape
        if not found:
            images = allocate((len(files), height, width, channels))
        if (height, width) != images.shape[1:3]:
            raise DataError(
                f"{files[index]} has {width}x{height} pixels but {files[next(iter(found))]} has "
                f"{images.shape[2]}x{images.shape[1]}; {RESIZE_HINT}."
            )
        if channels > images.shape[-1]:
            greyscale, images = images, allocate((len(files), height, width, 3))
            images[:index] = greyscale[:index]
        if image.pixels is not None and not np.may_share_memory(image.pixels, images[index]):
            images[index] = image.pixels
        found[index] = replace(image, pixels=None)
    ranges, notes = decode_deferred(
        root, files, conversion, found, images, splits, options or RangeOptions(), broken if skip_ambiguous else None
    )
    kept = [*found]
    if len(kept) < len(files):
        for position, index in enumerate(kept):
            images[position] = images[index]
    remarks = Counter(remark for image in found.values() for remark in image.source.remarks)
    notes += [f"{remark}: {count:,}." for remark, count in sorted(remarks.items())]
    if conversion.window is not None:
        notes.append(f"DICOM images are shown with the window {conversion.window}.")
    notes += conversion.shape_note(sum(image.reshaped for image in found.values()), len(found))
    return DecodedFiles(
        images=images[: len(kept)],
        kept=kept,
        headers=[image.source.header for image in found.values()],
        broken=broken,
        ranges={kind: (chosen.low, chosen.high) for kind, chosen in ranges.items()},
        notes=notes,
    )


def decode_deferred(
    root: Path, files: Sequence[str], conversion: Conversion, found: dict[int, ConvertedImage], images: np.ndarray,
    splits: Sequence[str] | None, options: RangeOptions, broken: list[BrokenFile] | None,
) -> tuple[dict[str, ValueRange], list[str]]:  # fmt: skip
    """Choose the range of each kind of file, decode its files into the images, and return the ranges and notes.

    Files whose range is ambiguous are an error or, if a list of broken files is given, moved from `found` to it.
    """
    deferred = [index for index, image in found.items() if image.source.kind]
    values: dict[str, dict[str, Values]] = {}
    for index in deferred:
        of_kind = values.setdefault(found[index].source.kind, {})
        split = "images" if splits is None else str(splits[index])
        of_kind[split] = of_kind.get(split, Values()) + found[index].values
    ranges: dict[str, ValueRange] = {}
    for kind, of_kind in values.items():
        try:
            ranges[kind] = find_kind_range(kind, of_kind, options)
        except DataError as error:
            if broken is None:
                raise
            reason = f"its values are ambiguous ({str(error).partition(';')[0]})"
            ambiguous = [index for index in deferred if found[index].source.kind == kind]
            broken += [BrokenFile(files[index], reason) for index in ambiguous]
            deferred = [index for index in deferred if found[index].source.kind != kind]
            for index in ambiguous:
                del found[index]
    if not deferred:
        return {}, []
    beyond = {kind: dict.fromkeys(values[kind], 0) for kind in ranges}
    again = decode_in_order(root, [files[index] for index in deferred], conversion, ranges)
    for index, image in zip(deferred, show_progress(again, len(deferred)), strict=True):
        if isinstance(image, BrokenFile) or image.pixels is None:
            raise DataError(f"{files[index]}: changed while it was read; read it again.")
        images[index] = image.pixels
        beyond[image.source.kind]["images" if splits is None else str(splits[index])] += image.beyond
    notes = [note for kind in ranges for note in range_notes(kind, values[kind], ranges[kind], beyond[kind])]
    notes += [note for kind in ranges for note in dark_notes(kind, ranges[kind], found)]
    if len(deferred) < len(found):
        notes.append(f"The other {len(found) - len(deferred):,} images have 8 bits.")
    return ranges, notes


def dark_notes(kind: str, chosen: ValueRange, found: Mapping[int, ConvertedImage]) -> list[str]:
    """Return a note if many files of a kind have only values of 8 bits, unlike the others."""
    highest = np.array([image.values.high for image in found.values() if image.source.kind == kind])
    dark = int((highest <= 2 ** DEPTHS[0] - 1).sum())
    if chosen.bits in {None, DEPTHS[0]} or not MIN_DARK_SHARE * len(highest) <= dark < len(highest):
        return []
    note = f"{kind}: {dark:,} of {len(highest):,} images have no value above 255, so they are nearly black"
    return [f"{note}; if their values are of 8 bits, save them as 8-bit files."]


def find_kind_range(kind: str, values: Mapping[str, Values], options: RangeOptions) -> ValueRange:
    """Return the range of one kind of file: that of the values themselves for CT, or else the range of a depth."""
    known = options.known.get(kind)
    if kind == HOUNSFIELD and options.value_range is None:
        fitted = [each for split, each in values.items() if split in FITTED_SPLITS] or [*values.values()]
        total = sum(fitted, Values())
        return known or replace(total, high=min(total.high, MAX_HOUNSFIELD)).range
    return choose_range(kind, values, options, known)


def decode_in_order(
    root: Path, files: Sequence[str], conversion: Conversion, ranges: Mapping[str, ValueRange] | None = None,
    into: Callable[[int], np.ndarray | None] = lambda _: None,
) -> Iterator[ConvertedImage | BrokenFile]:  # fmt: skip
    """Yield the decoded files in their order, decoding a few groups ahead on all cores.

    `into` returns the array that the file with an index may be decoded into, if there is one.
    """

    def decode_group(start: int) -> list[ConvertedImage | BrokenFile]:
        group = enumerate(files[start : start + GROUP_SIZE], start)
        return [try_decode(root, file, conversion, ranges, into(index)) for index, file in group]

    ahead: deque[Future[list[ConvertedImage | BrokenFile]]] = deque()
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
