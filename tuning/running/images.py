"""How a sweep's images reach the processes that train: once for each machine, and nowhere twice in memory.

Arrays go through Ray's object store, whose copy all processes of a machine share. Images that are streamed from a file
may not fit into memory: processes on the driver's machine map the file too, and only other machines, which have no such
file, get them through the store.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from keras_cnns.atomic import atomic_write
from keras_cnns.data import Dataset
from keras_cnns.data.streaming import cache_folder, check_room, writing
from tuning.running.scratch import drop_left_over, of_process

ROWS = 256


@dataclass(frozen=True)
class Streamed:
    """Images in a file of the driver's machine.

    Attributes:
        path: The file, as `numpy.save` writes it.
        machine: Ray's name of the machine.
        copy: The same for other machines, in Ray's object store; None where there are none.
    """

    path: Path
    machine: str
    copy: Any

    def images(self) -> np.ndarray:
        """Return the images, shape (images, height, width, channels), on whatever machine this is."""
        if ray.get_runtime_context().get_node_id() == self.machine:
            return np.asanyarray(np.load(self.path, mmap_mode="r"))
        return np.asarray(ray.get(self.copy))


@dataclass(frozen=True)
class HandedOver:
    """A dataset as Ray sends it.

    Attributes:
        dataset: The dataset without its streamed images, in Ray's object store.
        streamed: These, by split.
    """

    dataset: Any
    streamed: Mapping[str, Streamed]

    def received(self) -> Dataset:
        """Return the dataset as it was before it was handed over."""
        return with_images(ray.get(self.dataset), {name: each.images() for name, each in self.streamed.items()})


@contextlib.contextmanager
def handed_over(dataset: Dataset) -> Iterator[HandedOver]:
    """Give a dataset as Ray is to send it; the files of its streamed images are there until the end.

    Raises:
        DataError: There is no room for a file.
    """
    _ = dataset.pixel_counts  # counted once here, not by each trial
    streamed = {name: split.images for name, split in dataset.splits.items() if isinstance(split.images, np.memmap)}
    several = sum(node["Alive"] for node in ray.nodes()) > 1
    with contextlib.ExitStack() as files:
        handed = {
            name: Streamed(
                path=files.enter_context(in_file(images, name)),
                machine=ray.get_runtime_context().get_node_id(),
                copy=ray.put(np.asarray(images)) if several else None,
            )
            for name, images in streamed.items()
        }
        without = with_images(dataset, {name: np.array(images[:0]) for name, images in streamed.items()})
        yield HandedOver(ray.put(without), handed)


def with_images(dataset: Dataset, images: Mapping[str, np.ndarray]) -> Dataset:
    """Return a dataset, with all that was counted of it, that has other images in some splits."""
    if not images:
        return dataset
    changed = {name: replace(dataset.splits[name], images=of_split) for name, of_split in images.items()}
    clone = copy.copy(dataset)
    object.__setattr__(clone, "splits", {**dataset.splits, **changed})
    return clone


@contextlib.contextmanager
def in_file(images: np.memmap, name: str) -> Iterator[Path]:
    """Give the file of streamed images: the one that they are in, or one of that name that is written and removed."""
    own = getattr(images, "filename", None)
    if own is not None and is_all_of(images, Path(own)):
        yield Path(own)
        return
    folder = cache_folder("sweeps")
    drop_left_over(folder)
    path = folder / f"{of_process()}{name}.npy"
    with writing(folder):
        check_room(folder, images.shape)
        with atomic_write(path) as temporary:
            mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=images.shape)
            for begin in range(0, len(mapped), ROWS):
                mapped[begin : begin + ROWS] = images[begin : begin + ROWS]
            mapped.flush()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def is_all_of(images: np.memmap, path: Path) -> bool:
    """Return whether images are all that a file of `numpy.save` holds, in its order."""
    try:
        return bool(np.load(path, mmap_mode="r").shape == images.shape and images.flags.c_contiguous)
    except (OSError, ValueError):
        return False
