"""Checkpoints in a storage that all machines of a cluster reach: a shared file system or an object store.

    URI/SWEEP/trials/0007/epoch-0003/    a checkpoint, as `keras_cnns.training.checkpoints` writes it
    URI/SWEEP/trials/0007/speed.json     the precision and step settings of the training

Object stores cannot rename a folder once it is complete, so a checkpoint is valid only if it has an empty file
`complete`, which is written last.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fsspec.core import url_to_fs
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem, copy_files

from keras_cnns.errors import StoreError, first_line
from keras_cnns.training.checkpoints import list_checkpoints

COMPLETE = "complete"
EXAMPLES = "s3://bucket/folder or file:///mnt/shared"
MAX_ATTEMPTS = 8
MAX_PAUSE = 60.0


@functools.cache
def open_filesystem(uri: str) -> tuple[FileSystem, str]:
    """Return the file system of a URI, and the path in it.

    Args:
        uri: A URI that pyarrow or fsspec supports (s3, gs, abfs, hdfs, file, ...), or an absolute path.

    Raises:
        StoreError: The URI is not valid, or a package for it is missing.
    """
    if "://" not in uri and not uri.startswith("/"):
        raise StoreError(f"storage {uri!r} is not a URI; write one like {EXAMPLES}.")
    try:
        filesystem, path = FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        try:
            found, path = url_to_fs(uri)
        except (ValueError, ImportError, OSError) as other:
            reason = brief(other if isinstance(other, ImportError) else error)
            raise StoreError(f"storage {uri}: {reason}; write one like {EXAMPLES}.") from None
        filesystem = PyFileSystem(FSSpecHandler(found))
    if not path.strip("/"):
        raise StoreError(f"storage {uri} does not name a folder; write one like {EXAMPLES}.")
    return filesystem, path.rstrip("/")


def brief(error: Exception) -> str:
    """Return the first line of an error message, without its full stop."""
    return first_line(error).rstrip(".")


def retry(method: Callable[[CheckpointStorage, int, Path], None]) -> Callable[[CheckpointStorage, int, Path], None]:
    """Retry a copy after errors of the storage, with growing pauses of two minutes in total."""

    @functools.wraps(method)
    def wrapper(self: CheckpointStorage, number: int, folder: Path) -> None:
        for attempt in range(MAX_ATTEMPTS):
            try:
                return method(self, number, folder)
            except OSError as error:
                if attempt == MAX_ATTEMPTS - 1:
                    raise StoreError(f"storage {self.uri} fails: {brief(error)}") from error
                time.sleep(min(MAX_PAUSE, 2.0**attempt))
        return None

    return wrapper


@dataclass(frozen=True)
class CheckpointStorage:
    """The storage of a sweep's checkpoints when its machines do not share a folder.

    Args:
        uri: A URI that `open_filesystem` accepts.
        sweep: Name of the sweep's folder.
    """

    uri: str
    sweep: str

    def trial_path(self, number: int) -> tuple[FileSystem, str]:
        """Return the file system, and the path of a trial's checkpoints in it."""
        filesystem, path = open_filesystem(self.uri)
        return filesystem, f"{path}/{self.sweep}/trials/{number:04d}"

    @retry
    def upload(self, number: int, folder: Path) -> None:
        """Upload the newest checkpoint in a trial's folder, then remove older ones from the storage.

        Raises:
            StoreError: The storage still fails after two minutes of attempts.
        """
        filesystem, target = self.trial_path(number)
        newest = list_checkpoints(folder)[-1]
        filesystem.create_dir(target)
        for path in (path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
            copy_files(str(path), f"{target}/{path.name}", destination_filesystem=filesystem)
        filesystem.create_dir(f"{target}/{newest.name}")
        # Several threads that write to S3 can deadlock (Arrow issue 32372).
        copy_files(str(newest), f"{target}/{newest.name}", destination_filesystem=filesystem, use_threads=False)
        with filesystem.open_output_stream(f"{target}/{newest.name}/{COMPLETE}"):
            pass
        for older in self.checkpoint_names(number):
            if older < newest.name:
                filesystem.delete_dir(f"{target}/{older}")

    def checkpoint_names(self, number: int) -> list[str]:
        """Return the names of a trial's checkpoints in the storage, complete or not, oldest first."""
        filesystem, source = self.trial_path(number)
        found = filesystem.get_file_info(FileSelector(source, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == FileType.Directory)

    @retry
    def download(self, number: int, folder: Path) -> None:
        """Download a trial's newest complete checkpoint into a folder, if there is one, in place of older ones.

        Raises:
            StoreError: The storage still fails after two minutes of attempts.
        """
        filesystem, source = self.trial_path(number)
        complete = [
            name
            for name in self.checkpoint_names(number)
            if filesystem.get_file_info(f"{source}/{name}/{COMPLETE}").type == FileType.File
        ]
        if not complete or (folder / complete[-1]).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        older = list_checkpoints(folder)
        for info in filesystem.get_file_info(FileSelector(source)):
            if info.type == FileType.File:
                copy_files(info.path, str(folder / info.base_name), source_filesystem=filesystem)
        temporary = folder / f".{complete[-1]}.download"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        copy_files(f"{source}/{complete[-1]}", str(temporary), source_filesystem=filesystem)
        (temporary / COMPLETE).unlink()
        temporary.replace(folder / complete[-1])
        for checkpoint in older:
            shutil.rmtree(checkpoint, ignore_errors=True)
