"""Folders of images: `SPLIT/CLASS/image` or `CLASS/image`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import SPLIT_NAMES, SPLITS, Split
from keras_cnns.data.decoding.image import is_image
from keras_cnns.data.sources import SourceKind
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.errors import DataError


def list_folder(root: Path) -> ImageFiles:
    """List the images of a folder with their classes and splits.

    Raises:
        DataError: The folder does not contain images, a link leads out of it, or two folders are the same split.
    """
    try:
        split_folders, ignored = find_splits(root)
        classes = [
            (split, path) for split in SPLITS if split in split_folders for path in subfolders(split_folders[split])
        ]
        files = [(split, folder.name, file) for split, folder in classes for file in list_files(folder)]
        images = [entry for entry in files if is_image(entry[-1])]
        others = [file for *_, file in set(files).difference(images)]
        notes = ignored_notes(ignored, split_folders.values(), others)
    except PermissionError as error:
        raise DataError(f"{error.filename}: cannot be opened; check its permissions.") from None
    names = check_inside(root, [file for *_, file in images])
    for split, folder in split_folders.items():
        if not any(split == other for other, _, _ in images):
            raise DataError(f"{folder}: contains no images in class folders; use CLASS/image.png.")
    class_names = tuple(sorted({folder.name for _, folder in classes}))
    labels = np.array([class_names.index(name) for _, name, _ in images], np.int64)
    return ImageFiles(
        name=root.resolve().name,
        source=str(root.absolute()),
        root=root,
        samples=Split(np.arange(len(names)), labels, files=tuple(names)),
        splits=np.array([split for split, _, _ in images]),
        class_names=class_names,
        notes=tuple(notes),
    )


def find_splits(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and the names of other folders.

    Folders called train, validation or test are splits if one of them contains folders; otherwise they are classes.
    """
    folders = subfolders(root)
    candidates = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    if not any(subfolders(folder) for folder in candidates) and len(candidates) < len(folders):
        return {"train": root}, []
    splits: dict[str, Path] = {}
    for folder in candidates:
        split = SPLIT_NAMES[folder.name.lower()]
        if split in splits:
            raise DataError(f"{root}: {splits[split].name} and {folder.name} are both the {split} split; keep one.")
        splits[split] = folder
    return splits or {"train": root}, [folder.name for folder in folders if splits and folder not in candidates]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, except hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def ignored_notes(folders: Sequence[str], split_folders: Iterable[Path], others: Sequence[Path]) -> list[str]:
    """Return notes on ignored folders, on images outside class folders and on other files in them."""
    notes = [f"Ignored folders that are not splits: {', '.join(folders)}."] if folders else []
    loose = [path for folder in split_folders for path in folder.iterdir() if not path.is_dir() and is_image(path)]
    if loose:
        notes.append(f"Ignored images outside class folders: {len(loose):,}.")
    if others:
        suffixes = ", ".join(sorted({path.suffix.lower() or "no suffix" for path in others}))
        notes.append(f"Ignored files that are not images by their suffix: {len(others):,} ({suffixes}).")
    return notes


def list_images(folder: Path) -> list[Path]:
    """Return the sorted images in a folder and its subfolders; raise a `DataError` if a link leads out of it."""
    files = [path for path in list_files(folder) if is_image(path)]
    check_inside(folder, files)
    return files


def list_files(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, sorted, except hidden ones."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file()
    ]


def check_inside(root: Path, files: Iterable[Path]) -> list[str]:
    """Return files relative to the root, or raise a `DataError` if a link leads out of it."""
    names = [file.relative_to(root).as_posix() for file in files]
    outside = first_outside(root, names)
    if outside is not None:
        raise DataError(f"{root / outside}: links to a file outside {root}; copy it into the folder.")
    return names


def first_outside(root: Path, names: Iterable[str]) -> str | None:
    """Return the first path that is absolute or, after links are resolved, outside the root; None if there is none."""
    top = root.resolve()
    inside: dict[Path, bool] = {}
    for name in names:
        file = root / name
        if Path(name).is_absolute() or "\0" in name:
            return name
        if file.parent not in inside:
            inside[file.parent] = file.parent.resolve().is_relative_to(top)
        if not inside[file.parent] or (file.is_symlink() and not file.resolve().is_relative_to(top)):
            return name
    return None


SOURCE = SourceKind(
    usage="FOLDER",
    description="CLASS/image.png, or train/CLASS/image.png, val/CLASS/image.png, test/...",
    matches=lambda source: Path(source).is_dir(),
    read=lambda source: list_folder(Path(source)),
)
