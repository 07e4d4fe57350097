"""Checkpoints where all machines of a cluster reach them: a file system that they share, or an object store.

    URI/SWEEP/trials/0007/epoch-0003/    a checkpoint, as `keras_cnns.training.checkpoints` keeps it
    URI/SWEEP/trials/0007/speed.json     what the training settled when it began

A checkpoint holds an empty file `whole` that is written last, for object stores rename nothing.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem, copy_files

from keras_cnns.errors import StoreError, first_line
from keras_cnns.training.checkpoints import checkpoints

WHOLE = "whole"
EXAMPLES = "s3://bucket/folder or file:///mnt/shared"
ATTEMPTS = 8
LONGEST_PAUSE = 60.0


@functools.cache
def reach(uri: str) -> tuple[FileSystem, str]:
    """Return the file system that a URI is in, and the URI's path there.

    Args:
        uri: One that pyarrow or fsspec knows (s3, gs, abfs, hdfs, file, ...), or an absolute path.

    Raises:
        StoreError: It is none, or a package for it is missing.
    """
    import fsspec  # noqa: PLC0415 - only where pyarrow does not know the URI

    if "://" not in uri and not uri.startswith("/"):
        raise StoreError(f"storage {uri!r} is no URI; write one like {EXAMPLES}.")
    try:
        filesystem, path = FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        try:
            found, path = fsspec.core.url_to_fs(uri)
        except (ValueError, ImportError, OSError) as other:
            reason = said(other if isinstance(other, ImportError) else error)
            raise StoreError(f"storage {uri}: {reason}; write one like {EXAMPLES}.") from None
        filesystem = PyFileSystem(FSSpecHandler(found))
    if not path.strip("/"):
        raise StoreError(f"storage {uri} names no folder; write one like {EXAMPLES}.")
    return filesystem, path.rstrip("/")


def said(error: Exception) -> str:
    """Return the first line of what an error says, to go on after it."""
    return first_line(error).rstrip(".")


@dataclass(frozen=True)
class Storage:
    """Where a sweep's trials keep their checkpoints when machines have no folder in common.

    Args:
        uri: What `reach` reads.
        sweep: The name of the sweep's folder.
    """

    uri: str
    sweep: str

    def trial(self, number: int) -> tuple[FileSystem, str]:
        """Return the file system, and where the candidate of this number keeps its checkpoints."""
        filesystem, path = reach(self.uri)
        return filesystem, f"{path}/{self.sweep}/trials/{number:04d}"

    def keep(self, number: int, folder: Path) -> None:
        """Copy a trial's newest checkpoint here, and then drop the older ones.

        Args:
            number: The trial's.
            folder: The one that it trains in.

        Raises:
            StoreError: The store fails, also when it is tried again for two minutes.
        """
        self.patiently(self.copy_to, number, folder)

    def fetch(self, number: int, folder: Path) -> None:
        """Copy a trial's newest whole checkpoint from here; nothing where there is none.

        Args:
            number: The trial's.
            folder: Where to; the older checkpoints that it has are dropped.

        Raises:
            StoreError: The store fails, also when it is tried again for two minutes.
        """
        self.patiently(self.copy_from, number, folder)

    def patiently(self, copy: Callable[[int, Path], None], number: int, folder: Path) -> None:
        """Copy, and while the store fails wait and copy again."""
        for attempt in range(ATTEMPTS):
            try:
                copy(number, folder)
            except OSError as error:
                if attempt == ATTEMPTS - 1:
                    raise StoreError(f"storage {self.uri} fails: {said(error)}") from error
                time.sleep(min(LONGEST_PAUSE, 2.0**attempt))
            else:
                return

    def copy_to(self, number: int, folder: Path) -> None:
        """Copy a trial's newest checkpoint here, in one attempt."""
        filesystem, place = self.trial(number)
        newest = checkpoints(folder)[-1]
        filesystem.create_dir(place)
        for path in (path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
            copy_files(str(path), f"{place}/{path.name}", destination_filesystem=filesystem)
        filesystem.create_dir(f"{place}/{newest.name}")
        # Several threads that write to S3 at once can wait for each other for ever (Arrow's issue 32372).
        copy_files(str(newest), f"{place}/{newest.name}", destination_filesystem=filesystem, use_threads=False)
        with filesystem.open_output_stream(f"{place}/{newest.name}/{WHOLE}"):
            pass
        for older in self.epochs(number):
            if older < newest.name:
                filesystem.delete_dir(f"{place}/{older}")

    def epochs(self, number: int) -> list[str]:
        """Return the names of a trial's checkpoints here, whole or not, the oldest first."""
        filesystem, place = self.trial(number)
        found = filesystem.get_file_info(FileSelector(place, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == FileType.Directory)

    def copy_from(self, number: int, folder: Path) -> None:
        """Copy a trial's newest whole checkpoint from here, in one attempt."""
        filesystem, place = self.trial(number)
        whole = [
            name
            for name in self.epochs(number)
            if filesystem.get_file_info(f"{place}/{name}/{WHOLE}").type == FileType.File
        ]
        if not whole or (folder / whole[-1]).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        before = checkpoints(folder)
        for info in filesystem.get_file_info(FileSelector(place)):
            if info.type == FileType.File:
                copy_files(info.path, str(folder / info.base_name), source_filesystem=filesystem)
        temporary = folder / f".{whole[-1]}.fetched"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        copy_files(f"{place}/{whole[-1]}", str(temporary), source_filesystem=filesystem)
        (temporary / WHOLE).unlink()
        temporary.replace(folder / whole[-1])
        for older in before:
            shutil.rmtree(older, ignore_errors=True)
