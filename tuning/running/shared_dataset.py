"""Share a sweep's images with the worker processes, with one copy per machine.

Arrays go through Ray's object store, whose copy all processes of a machine share. Images that are streamed from a file
may not fit into memory: processes on the driver's machine map the file too, and only other machines, which do not have
the file, receive the images through the object store.
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
from keras_cnns.cache import cache_folder, catch_write_errors
from keras_cnns.data import Dataset
from keras_cnns.data.streaming import check_disk_space
from tuning.running.scratch import process_prefix, remove_stale_files

ROWS_PER_WRITE = 256


@dataclass(frozen=True)
class StreamedImages:
    """Images in a file of the driver's machine.

    Attributes:
        path: The file, as `numpy.save` writes it.
        node_id: Ray's id of the driver's machine.
        reference: The same images in Ray's object store; None if there are no other machines.
    """

    path: Path
    node_id: str
    reference: Any

    def load(self) -> np.ndarray:
        """Return the images on any machine, shape (images, height, width, channels)."""
        if ray.get_runtime_context().get_node_id() == self.node_id:
            return np.asanyarray(np.load(self.path, mmap_mode="r"))
        return np.asarray(ray.get(self.reference))


@dataclass(frozen=True)
class SharedDataset:
    """A dataset that worker processes can load.

    Attributes:
        reference: The dataset without its streamed images, in Ray's object store.
        streamed: The streamed images, by split.
    """

    reference: Any
    streamed: Mapping[str, StreamedImages]

    def load(self) -> Dataset:
        """Return the dataset."""
        return replace_images(ray.get(self.reference), {name: images.load() for name, images in self.streamed.items()})


@contextlib.contextmanager
def share_dataset(dataset: Dataset) -> Iterator[SharedDataset]:
    """Share a dataset with worker processes; files of streamed images exist until the context ends.

    Raises:
        DataError: The disk is too small for a file.
    """
    _ = dataset.pixel_counts  # computed once here instead of in every trial
    streamed = {name: split.images for name, split in dataset.splits.items() if isinstance(split.images, np.memmap)}
    several_machines = sum(node["Alive"] for node in ray.nodes()) > 1
    with contextlib.ExitStack() as files:
        shared = {
            name: StreamedImages(
                path=files.enter_context(image_file(images, name)),
                node_id=ray.get_runtime_context().get_node_id(),
                reference=ray.put(np.asarray(images)) if several_machines else None,
            )
            for name, images in streamed.items()
        }
        rest = replace_images(dataset, {name: np.array(images[:0]) for name, images in streamed.items()})
        yield SharedDataset(ray.put(rest), shared)


def replace_images(dataset: Dataset, images: Mapping[str, np.ndarray]) -> Dataset:
    """Return a dataset with other images in some splits, including everything that was computed for the dataset."""
    if not images:
        return dataset
    changed = {name: replace(dataset.splits[name], images=of_split) for name, of_split in images.items()}
    clone = copy.copy(dataset)
    object.__setattr__(clone, "splits", {**dataset.splits, **changed})
    return clone


@contextlib.contextmanager
def image_file(images: np.memmap, name: str) -> Iterator[Path]:
    """Yield a file with streamed images: the file that they are in, or a temporary one if that holds others too."""
    own = getattr(images, "filename", None)
    if own is not None and is_whole_file(images, Path(own)):
        yield Path(own)
        return
    folder = cache_folder("sweeps")
    remove_stale_files(folder)
    path = folder / f"{process_prefix()}{name}.npy"
    with catch_write_errors(folder):
        check_disk_space(folder, images.shape)
        with atomic_write(path) as temporary:
            mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=images.shape)
            for begin in range(0, len(mapped), ROWS_PER_WRITE):
                mapped[begin : begin + ROWS_PER_WRITE] = images[begin : begin + ROWS_PER_WRITE]
            mapped.flush()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def is_whole_file(images: np.memmap, path: Path) -> bool:
    """Return whether a file of `numpy.save` holds exactly these images, in the same order."""
    try:
        return bool(np.load(path, mmap_mode="r").shape == images.shape and images.flags.c_contiguous)
    except (OSError, ValueError):
        return False
