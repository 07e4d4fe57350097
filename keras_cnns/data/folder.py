"""Images in a folder: `SPLIT/CLASS/image`, or `CLASS/image`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import SPLITS
from keras_cnns.data.decoding import is_image
from keras_cnns.data.files import Cases
from keras_cnns.data.raw import SPLIT_NAMES
from keras_cnns.errors import DataError


def list_folder(root: Path) -> Cases:
    """Find the images of a folder, their classes and their splits.

    Raises:
        DataError: There are no images, a link leads out of the folder, or two folders are one split.
    """
    try:
        tops, left_out = find_splits(root)
        places = [(split, place) for split in SPLITS if split in tops for place in subfolders(tops[split])]
        files = [(split, place.name, file) for split, place in places for file in files_in(place)]
        found = [entry for entry in files if is_image(entry[-1])]
        notes = left_out_notes(left_out, tops.values(), [file for *_, file in set(files).difference(found)])
    except PermissionError as error:
        raise DataError(f"{error.filename}: may not be read; check its permissions.") from None
    check_inside([file for *_, file in found], root)
    for split, top in tops.items():
        if not any(split == of for of, _, _ in found):
            raise DataError(f"{top}: no images in folders of classes; put them in CLASS/image.png.")
    class_names = tuple(sorted({place.name for _, place in places}))
    return Cases(
        name=root.resolve().name,
        root=root,
        files=tuple(file.relative_to(root).as_posix() for _, _, file in found),
        splits=np.array([split for split, _, _ in found]),
        labels=np.array([class_names.index(name) for _, name, _ in found], np.int64),
        class_names=class_names,
        notes=tuple(notes),
    )


def find_splits(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and the names of folders that are none.

    A folder called train, validation or test is a split where one of them has folders of classes in it; otherwise
    such a name is that of a class.
    """
    places = subfolders(root)
    named = [place for place in places if place.name.lower() in SPLIT_NAMES]
    if not any(subfolders(place) for place in named) and len(named) < len(places):
        return {"train": root}, []
    tops: dict[str, Path] = {}
    for place in named:
        split = SPLIT_NAMES[place.name.lower()]
        if split in tops:
            raise DataError(f"{root}: {tops[split].name} and {place.name} are both the {split} split; keep one.")
        tops[split] = place
    return tops or {"train": root}, [place.name for place in places if tops and place not in named]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def left_out_notes(folders: Sequence[str], tops: Iterable[Path], others: Sequence[Path]) -> list[str]:
    """Say what in a folder is not read: folders that are no split, files in no class, and files that are no images."""
    notes = [f"Folders that are no split were left out: {', '.join(folders)}."] if folders else []
    loose = [path for top in tops for path in top.iterdir() if not path.is_dir() and is_image(path)]
    if loose:
        notes.append(f"Images that are in no folder of a class were left out: {len(loose):,}.")
    if others:
        endings = ", ".join(sorted({path.suffix.lower() or "none" for path in others}))
        notes.append(f"Files that are no images by their endings were left out: {len(others):,} ({endings}).")
    return notes


def images_in(folder: Path, root: Path) -> list[Path]:
    """Return the images in a folder and in those below it, in order.

    Raises:
        DataError: A link points outside the root.
    """
    files = [path for path in files_in(folder) if is_image(path)]
    check_inside(files, root)
    return files


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below it, in order, hidden ones left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file()
    ]


def check_inside(files: Iterable[Path], root: Path) -> None:
    """Raise a `DataError` where a link leads out of the root."""
    outside = first_outside(files, root)
    if outside is not None:
        raise DataError(f"{outside}: links to a file outside {root}; copy it into the folder.")


def first_outside(files: Iterable[Path], root: Path) -> Path | None:
    """Return the first file that is not inside a folder when links are followed, if there is one."""
    top = root.resolve()
    inside: dict[Path, bool] = {}
    for file in files:
        folder = file.parent
        if folder not in inside:
            inside[folder] = folder.resolve().is_relative_to(top)
        if not inside[folder] or (file.is_symlink() and not file.resolve().is_relative_to(top)):
            return file
    return None
