"""Folders of images: `SPLIT/CLASS/image`, `CLASS/SPLIT/image` or `CLASS/image`, with patients as folders below."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_cnns.data.classes import label_classes
from keras_cnns.data.dataset import SPLITS, Exclusion, Split, list_examples
from keras_cnns.data.decoding.image import is_image
from keras_cnns.data.sources import SourceKind
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.data.split_names import find_split
from keras_cnns.errors import DataError

SYSTEM_FOLDERS = frozenset({
    "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler",
    "__macosx", "lost+found", "__pycache__", "trash", "thumbnails", "system volume information", "network trash folder",
    "temporary items", "thevolumesettingsfolder", "found.000", "lost.dir", "@tmp", "@sharebin", "@appstore", "_gsdata_",
    "_vti_cnf",
})  # fmt: skip
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r"})
"""Folders and files that operating systems and storage devices leave, in lower case."""
PATIENT_FOLDERS = "folders below the classes are regarded as patients"
NO_PATIENTS = frozenset({
    "images", "image", "imgs", "img", "pictures", "pics", "photos", "data", "dicom", "jpg", "jpeg", "png", "bilder",
})  # fmt: skip
"""Names of folders below a class that are not patients."""


@dataclass
class Scan:
    """The files in a folder and its subfolders.

    Attributes:
        files: The files, sorted.
        system: The number of files that were left out, by the name of the system's folder or file.
        hidden: The number of hidden images that were left out.
        linked: Whether any of the files is a link.
    """

    files: list[Path] = field(default_factory=list)
    system: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    linked: bool = False

    def notes(self) -> list[str]:
        """Return notes on the files that were left out."""
        notes = []
        if self.system:
            names = ", ".join(f"{name} ({count:,})" for name, count in sorted(self.system.items()))
            notes.append(f"Ignored files of the operating system or of the storage device: {names}.")
        if self.hidden:
            notes.append(f"Ignored hidden images: {self.hidden:,}.")
        return notes


def list_folder(root: Path) -> ImageFiles:
    """List the images of a folder with their classes, splits and patients.

    Raises:
        DataError: The folder does not contain images, a link leads out of it, or it is not clear which folders are
            splits.
    """
    try:
        scan = scan_folder(root)
        layout = find_layout(root)
    except PermissionError as error:
        raise DataError(f"{error.filename}: cannot be opened; check its permissions.") from None
    entries = [entry for file in scan.files if (entry := layout.place(root, file)) is not None]
    images = sorted((entry for entry in entries if is_image(entry.file)), key=lambda entry: SPLITS.index(entry.split))
    names = check_inside(root, scan, [entry.file for entry in images])
    problems = []
    for split, folder in layout.split_folders.items():
        if not any(split == entry.split for entry in images):
            found = sorted({file.suffix for file in scan.files if file.suffix and file.is_relative_to(folder)})
            endings = f", only files ending in {list_examples(found)}" if found else ""
            problems.append(f"{folder}: contains no images in class folders{endings}; use CLASS/image.png.")
    if problems and not images:
        raise DataError(problems[0])
    empty = sorted({names[-1] for names in layout.class_folders} - {entry.class_name for entry in images})
    labels, class_names, class_notes = label_classes([*(entry.class_name for entry in images), *empty])
    patients, patient_notes = find_patients(images)
    ignored = ignored_notes(root, scan, entries, images)
    left_out = Exclusion("outside class folders", len(find_loose(scan, entries))), Exclusion("hidden file", scan.hidden)
    return ImageFiles(
        name=root.resolve().name,
        source=str(root.absolute()),
        root=root,
        samples=Split(np.arange(len(names)), labels[: len(names)], files=tuple(names), patients=patients),
        splits=np.array([entry.split for entry in images]),
        class_names=class_names,
        notes=(*layout.notes, *scan.notes(), *ignored, *class_notes, *patient_notes),
        problems=tuple(problems),
        exclusions=tuple(exclusion for exclusion in left_out if exclusion.images),
    )


@dataclass(frozen=True)
class Entry:
    """A file of a class.

    Attributes:
        file: The file.
        split: Its split.
        class_name: The name of its class's folder.
        below: The folders between that of its class (and split) and the file.
    """

    file: Path
    split: str
    class_name: str
    below: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What the folders of a source mean.

    Attributes:
        class_folders: The split of each class folder, given by the names of folders from the root.
        split_folders: The folder of each split; if splits are inside the classes, of none.
        splits_inside: Whether class folders contain folders of splits.
        notes: Remarks for reports.
    """

    class_folders: Mapping[tuple[str, ...], str]
    split_folders: Mapping[str, Path]
    splits_inside: bool = False
    notes: tuple[str, ...] = ()

    def place(self, root: Path, file: Path) -> Entry | None:
        """Return what the folders of a file say about it; None if it is not in a class folder."""
        *folders, _ = file.relative_to(root).parts
        key = next((key for depth in (1, 2) if (key := tuple(folders[:depth])) in self.class_folders), None)
        if key is None:
            return None
        split, below = self.class_folders[key], folders[len(key) :]
        if self.splits_inside:
            if not below:
                return None
            split = find_split(below[0]) or split
            below = below[1:]
        return Entry(file, split, key[-1], tuple(below))


def find_layout(root: Path) -> Layout:
    """Return what the folders of a source mean.

    Folders called train, validation or test are splits if one of them contains folders; otherwise they are classes.

    Raises:
        DataError: Two folders are the same split, or other folders are beside splits.
    """
    folders = subfolders(root)
    inside = {folder: subfolders(folder) for folder in folders}
    are_splits = [split_or_none(folder.name) is not None for folder in folders]
    if any(is_split and inside[folder] for folder, is_split in zip(folders, are_splits, strict=True)) or (
        folders and all(are_splits)
    ):
        splits = name_splits(root, folders)
        nested: dict[tuple[str, ...], str] = {
            (splits[split].name, folder.name): split for split in splits for folder in inside[splits[split]]
        }
        return Layout(nested, splits)
    classes: dict[tuple[str, ...], str] = {(folder.name,): "train" for folder in folders}
    inner = {folder.name for each in inside.values() for folder in each}
    known = {name for name in inner if split_or_none(name)}
    if known and (known == inner or any(split_or_none(name) == "train" for name in known)):
        for folder in folders:
            name_splits(folder, inside[folder])
        note = f"The splits are folders inside the classes: {', '.join(sorted(known))}."
        return Layout(classes, {}, splits_inside=True, notes=(note,))
    check_classes_of_folders(root, inside)
    return Layout(classes, {"train": root})


def check_classes_of_folders(root: Path, inside: Mapping[Path, Sequence[Path]]) -> None:
    """Raise a `DataError` if folders are probably not classes: those in them are, or those above."""
    names = {folder: [inner.name for inner in each] for folder, each in inside.items()}
    first = next(iter(names.values()), [])
    if len(first) < 2 or any(character.isdecimal() for name in first for character in name):
        return
    if len(names) == 1:
        (folder,) = names
        raise DataError(
            f"{root}: its only folder is {folder.name}, which contains {list_examples(first)}; if these are the "
            f"classes or splits, use {folder}."
        )
    if all(each == first for each in names.values()):
        every = ", ".join(folder.name for folder in names)
        raise DataError(
            f"{root}: {every} contain the same folders {list_examples(first)}; if these are the classes, rename "
            f"{next(iter(names)).name} and the others to train, val and test; otherwise list the images in a table."
        )


def name_splits(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the folder of each split; raise a `DataError` if folders are no split, or two are the same."""
    splits: dict[str, Path] = {}
    unknown = [folder.name for folder in folders if split_or_none(folder.name) is None]
    if unknown:
        known = ", ".join(folder.name for folder in folders if split_or_none(folder.name))
        raise DataError(
            f"{root}: {', '.join(map(repr, unknown))} is beside {known} but is not a split; rename it to train, val or "
            f"test, or move it out of {root.name}."
        )
    for folder in folders:
        split = find_split(folder.name) or ""
        if split in splits:
            raise DataError(f"{root}: {splits[split].name} and {folder.name} are both the {split} split; keep one.")
        splits[split] = folder
    return splits


def split_or_none(name: str) -> str | None:
    """Return the split of a name, "ambiguous" if it may be one of two, or None."""
    try:
        return find_split(name)
    except DataError:
        return "ambiguous"


def find_patients(images: Sequence[Entry]) -> tuple[np.ndarray | None, list[str]]:
    """Return the patient of each image if the folders below the classes are patients, and a note."""
    below = (next((name for name in entry.below if name.lower() not in NO_PATIENTS), "") for entry in images)
    ids = np.array([*below])
    names = sorted(set(ids.tolist()) - {""})
    pairs = {(entry.class_name, name) for entry, name in zip(images, ids.tolist(), strict=True) if name}
    if not names or max(Counter(class_name for class_name, _ in pairs).values()) < 2:
        return None, []
    note = f"The {len(names):,} {PATIENT_FOLDERS}: {list_examples(names)}."
    loose = int((ids == "").sum())
    if loose:
        note += f" {loose:,} images are in none of them, so their patients are unknown."
    return ids, [note]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, except hidden ones and those of the system."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_skipped(path.name))


def is_skipped(name: str) -> bool:
    """Return whether a file or folder is hidden or belongs to the system, by its name."""
    return name.startswith(".") or is_of_system(name)


def is_of_system(name: str) -> bool:
    """Return whether a file or folder belongs to the operating system or the storage device, by its name."""
    lower = name.lower()
    return (
        lower in SYSTEM_FOLDERS or lower in SYSTEM_FILES or "@syno" in lower
        or lower.startswith(("._", "~$", ".ds_store", ".trash"))
    )  # fmt: skip


def scan_folder(folder: Path) -> Scan:
    """Return the files in a folder and its subfolders, except hidden ones and those of the system.

    Raises:
        DataError: A link leads to a folder outside.
    """
    scan = Scan()
    top = folder.resolve()

    def walk(parent: Path, above: tuple[Path, ...], of_system: str, hidden: bool) -> None:
        for entry in sorted(os.scandir(parent), key=lambda entry: entry.name):
            path = parent / entry.name
            system = of_system or (entry.name if is_of_system(entry.name) else "")
            skipped = hidden or entry.name.startswith(".")
            if entry.is_dir():
                resolved = path.resolve() if entry.is_symlink() else above[-1] / entry.name
                if not resolved.is_relative_to(top):
                    raise DataError(f"{path}: links to a folder outside {folder}; copy it into the folder.")
                if resolved not in above:
                    walk(path, (*above, resolved), system, skipped)
            elif system:
                scan.system["._*" if system.startswith("._") else system] += 1
            elif skipped:
                scan.hidden += is_image(path)
            elif entry.is_file() or entry.is_symlink():  # a link to a missing file is a broken image
                scan.files.append(path)
                scan.linked |= entry.is_symlink()

    walk(folder, (top,), "", hidden=False)
    return scan


def find_loose(scan: Scan, entries: Sequence[Entry]) -> list[Path]:
    """Return the images that are not in a class folder."""
    placed = {entry.file for entry in entries}
    return [file for file in scan.files if file not in placed and is_image(file)]


def ignored_notes(root: Path, scan: Scan, entries: Sequence[Entry], images: Sequence[Entry]) -> list[str]:
    """Return notes on images outside class folders and on other files in them."""
    notes = []
    loose = find_loose(scan, entries)
    if loose:
        notes.append(
            f"Ignored images outside class folders: {len(loose):,}, such as {loose[0].relative_to(root).as_posix()}."
        )
    used = {entry.file for entry in images}
    others = [entry.file for entry in entries if entry.file not in used]
    if others:
        suffixes = ", ".join(sorted({path.suffix.lower() or "no suffix" for path in others}))
        notes.append(f"Ignored files that are not images by their suffix: {len(others):,} ({suffixes}).")
    return notes


def list_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the sorted images in a folder and its subfolders, and notes; a `DataError` if a link leads out of it."""
    scan = scan_folder(folder)
    files = [path for path in scan.files if is_image(path)]
    check_inside(folder, scan, files)
    notes = scan.notes()
    used = set(files)
    others = sorted({path.suffix.lower() or "no suffix" for path in scan.files if path not in used})
    if others:
        count = len(scan.files) - len(files)
        notes.append(f"{folder}: ignored files that are not images by their suffix: {count:,} ({', '.join(others)}).")
    return files, notes


def check_inside(root: Path, scan: Scan, files: Iterable[Path]) -> list[str]:
    """Return files of a scan relative to the root, or raise a `DataError` if a link leads out of it."""
    names = [file.relative_to(root).as_posix() for file in files]
    outside = first_outside(root, names) if scan.linked else None
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
    description="CLASS/image.png, CLASS/PATIENT/image.png, or train/CLASS/image.png, val/CLASS/..., test/CLASS/...",
    matches=lambda source: Path(source).is_dir(),
    read=lambda source: list_folder(Path(source)),
)
