"""What is in a data set, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.data.dataset import Broken, Dataset, Split, chunks
from keras_cnns.data.duplicates import blank, brightness_steps, exact_duplicates, near_duplicates, pixel_hashes
from keras_cnns.data.leaks import Leak, find_leaks, image_name, settle_leaks
from keras_cnns.data.sources import load, split_query
from keras_cnns.data.splits import class_counts

EXAMPLES = 3
IMBALANCED = 2.0


@dataclass(frozen=True, kw_only=True)
class SplitContents:
    """What one split holds.

    Attributes:
        images: How many images.
        classes: How many images of each class, or with each label.
        patients: How many patients; None where they are not known.
        mean: Mean of all pixels, 0 to 255.
        std: Standard deviation of all pixels.
        blank: Names of the images of one colour.
    """

    images: int
    classes: tuple[int, ...]
    patients: int | None
    mean: float
    std: float
    blank: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        split: The split it is in.
        place: Its place there, from 0.
        name: What it is called in its source, or its split and place.
        label: Its class, or its labels with commas between them.
    """

    split: str
    place: int
    name: str
    label: str


@dataclass(frozen=True)
class Duplicates:
    """Images that show the same.

    Attributes:
        samples: Two or more that are the same pixel by pixel, or two that nearly are.
        similarity: 1.0 where pixels are the same, else the correlation that `near_duplicates` describes.
    """

    samples: tuple[Sample, ...]
    similarity: float

    @property
    def exact(self) -> bool:
        """Whether they are the same pixel by pixel."""
        return self.similarity == 1.0

    @property
    def conflicting(self) -> bool:
        """Whether they have different labels."""
        return len({sample.label for sample in self.samples}) > 1

    @property
    def across(self) -> bool:
        """Whether they are in different splits."""
        return len({sample.split for sample in self.samples}) > 1

    def __str__(self) -> str:
        named = [f"{sample.name} ({sample.label})" if self.conflicting else sample.name for sample in self.samples]
        return " and ".join(named)

    def as_dict(self) -> dict[str, Any]:
        """Return them for programs."""
        samples = [dataclasses.asdict(sample) for sample in self.samples]
        return {"samples": samples, "similarity": self.similarity, "conflicting": self.conflicting,
                "across": self.across}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be.

    Attributes:
        what: What was found, with examples.
        advice: What to do about it.
    """

    what: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is in a data set.

    Attributes:
        name: What a person calls the data set.
        source: Where it was read from.
        fingerprint: Tells its content from any other.
        task: "binary", "multi-class" or "multi-label".
        class_names: The classes, by label.
        image_shape: Height, width and channels.
        sizes: How many image files are of which width and height, before they were resized; empty where images are no
            files or were not resized.
        splits: What each split holds.
        exact: Groups of images that are the same pixel by pixel.
        near: Pairs of images that nearly are.
        leaks: Patients and images that are in two splits.
        broken: Files that cannot be read.
        notes: How splits and pixels came about.
    """

    name: str
    source: str
    fingerprint: str
    task: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    sizes: Mapping[tuple[int, int], int]
    splits: Mapping[str, SplitContents]
    exact: tuple[Duplicates, ...]
    near: tuple[Duplicates, ...]
    leaks: tuple[Leak, ...]
    broken: tuple[Broken, ...]
    notes: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """How many times as many training images the largest class has as the smallest; of another split without any.

        With several labels an image, of the labels.
        """
        counts = next(iter(self.splits.values())).classes
        return max(counts) / max(1, min(counts))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, or may be, the worst first, with what to do about it."""
        return tuple(findings(self))

    def as_dict(self) -> dict[str, Any]:
        """Return all that was found, for programs."""
        return {
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "task": self.task,
            "class_names": list(self.class_names),
            "image_shape": list(self.image_shape),
            "sizes": {f"{width}x{height}": count for (width, height), count in self.sizes.items()},
            "splits": {name: dataclasses.asdict(contents) for name, contents in self.splits.items()},
            "imbalance": self.imbalance,
            "exact": [group.as_dict() for group in self.exact],
            "near": [pair.as_dict() for pair in self.near],
            "leaks": [{**dataclasses.asdict(leak), "what": str(leak)} for leak in self.leaks],
            "broken": [dataclasses.asdict(file) for file in self.broken],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def describe(self) -> str:
        """Say in a few lines what there is and what was found."""
        height, width, channels = self.image_shape
        colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        lines = [f"{self.name}: {height}x{width} {colour} images, {self.task}, fingerprint {self.fingerprint}"]
        for name, contents in self.splits.items():
            counts = ", ".join(
                f"{count:,} {label}" for label, count in zip(self.class_names, contents.classes, strict=True)
            )
            lines.append(f"{name}: {contents.images:,} images, {counts}")
        lines += [f"{finding.what}: {finding.advice}." for finding in self.findings] or ["Nothing was found."]
        return "\n".join((*lines, *self.notes))


def inspect(
    source: str | Path = "digits",
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    stream: bool | None = None,
    sheet: str | Path | None = None,
    augmented: str | None = None,
) -> Inspection:
    """Look at what is in a data set, and for what is wrong with it.

    Leaks and files that cannot be read are listed; they are no errors here.

    Args:
        source: As `load` takes it.
        image_size: Resize the images to this height and width, or to this side.
        channels: Make the images grey (1) or colour (3).
        seed: Chooses the images that are held out, and those that are shown.
        fold: Which part of how many to validate on, as `load` takes it.
        stream: Keep the decoded images in a file instead of in memory, as `load` takes it.
        sheet: A PNG file to draw a contact sheet into: images of each class, and those that are there twice.
        augmented: A preset of augmentation to show in the sheet.

    Raises:
        DataError: The source cannot be read at all, or there is no such preset.
        SettingError: The sheet cannot be written.
    """
    from keras_cnns.data.sheet import check_sheet, write_sheet  # noqa: PLC0415 - it imports this module

    path = check_sheet(sheet, augmented)
    dataset = load(
        source,
        image_size=image_size,
        channels=channels,
        seed=seed,
        fold=fold,
        allow_leaks=True,
        skip_broken=True,
        stream=stream,
    )
    inspection = inspect_dataset(dataset, resized=image_size is not None)
    if path is not None:
        write_sheet(dataset, inspection, path, augmented=augmented, seed=seed)
    return inspection


def inspect_dataset(dataset: Dataset, *, resized: bool = False) -> Inspection:
    """Look at images that were loaded; at the sizes of their files too, if they were resized."""
    splits = dataset.splits
    hashes = {name: pixel_hashes(split.images) for name, split in splits.items()}
    together = np.concatenate(list(hashes.values()))
    steps = np.concatenate([brightness_steps(split.images) for split in splits.values()])
    leaks = find_leaks(splits, hashes)
    allowed = settle_leaks(dataset.name, leaks, allowed=True)
    return Inspection(
        name=dataset.name,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        task=dataset.task,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        sizes=file_sizes(dataset) if resized else {},
        splits={name: contents_of(name, split, dataset.classes) for name, split in splits.items()},
        exact=tuple(Duplicates(samples_at(dataset, group), 1.0) for group in exact_duplicates(together)),
        near=tuple(Duplicates(samples_at(dataset, pair), alike) for *pair, alike in near_duplicates(steps, together)),
        leaks=tuple(leaks),
        broken=dataset.broken,
        notes=tuple(note for note in dataset.notes if note not in allowed),
    )


def samples_at(dataset: Dataset, places: Sequence[int] | np.ndarray) -> tuple[Sample, ...]:
    """Return the images at some places of all splits, one behind the other."""
    names = list(dataset.splits)
    starts = np.cumsum([0, *(len(split) for split in dataset.splits.values())])
    indices = np.searchsorted(starts, places, side="right") - 1
    return tuple(
        sample(dataset, names[index], int(place - starts[index])) for index, place in zip(indices, places, strict=True)
    )


def sample(dataset: Dataset, name: str, place: int) -> Sample:
    """Return the image at a place of a split."""
    split = dataset.splits[name]
    labels = np.flatnonzero(split.labels[place]) if split.labels.ndim == 2 else split.labels[place : place + 1]
    label = ", ".join(dataset.class_names[label] for label in labels) or "none"
    return Sample(name, place, image_name(name, split, place), label)


def contents_of(name: str, split: Split, classes: int) -> SplitContents:
    """Count what a split holds."""
    histogram = sum((np.bincount(chunk.reshape(-1), minlength=256) for chunk in chunks(split.images)), np.zeros(256))
    shares, values = histogram / histogram.sum(), np.arange(256)
    mean = float(shares @ values)
    known = None if split.patients is None else len(set(split.patients.tolist()) - {""})
    return SplitContents(
        images=len(split),
        classes=tuple(class_counts(split.labels, classes).tolist()),
        patients=known,
        mean=mean,
        std=float(np.sqrt(shares @ (values - mean) ** 2)),
        blank=tuple(image_name(name, split, place) for place in blank(np.asarray(split.images)).tolist()),
    )


def file_sizes(dataset: Dataset) -> dict[tuple[int, int], int]:
    """Count the image files of each width and height, the most frequent first; only headers are read."""
    from keras_cnns.data.decoding import read_size  # noqa: PLC0415 - seldom needed

    source, _ = split_query(dataset.source)
    root = source if source.is_dir() else source.parent
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom|PIL")
        sizes = Counter(read_size(root / file) for split in dataset.splits.values() for file in split.files)
    return dict(sizes.most_common())


def findings(inspection: Inspection) -> Iterator[Finding]:
    """Yield what is wrong, or may be, the worst first."""
    if inspection.broken:
        files = examples(inspection.broken)
        yield Finding(f"{counted(len(inspection.broken), 'file')} cannot be read: {files}",
                      "mend or remove them, or leave them out with --skip-broken")  # fmt: skip
    for leak in inspection.leaks:
        yield Finding(str(leak), "keep each in one split; --allow-leaks trains all the same, and reports say so")
    conflicts = [group for group in inspection.exact if group.conflicting]
    if conflicts:
        groups = f"{counted(len(conflicts), 'group')} of identical images with different labels"
        yield Finding(f"{groups}: {examples(conflicts)}", "find out which label is right")
    if inspection.exact:
        images = sum(len(group.samples) for group in inspection.exact)
        yield Finding(f"{images:,} images are only {len(inspection.exact):,} different ones: "
                      f"{examples(inspection.exact)}", "keep one of each")  # fmt: skip
    across = [pair for pair in inspection.near if pair.across]
    if across:
        yield Finding(f"{counted(len(across), 'pair')} of nearly equal images in different splits: {examples(across)}",
                      "look at them with --sheet FILE.png; of one patient, they belong in one split")  # fmt: skip
    inside = [pair for pair in inspection.near if not pair.across]
    if inside:
        yield Finding(f"{counted(len(inside), 'pair')} of nearly equal images in one split: {examples(inside)}",
                      "look at them with --sheet FILE.png; copies teach nothing new")  # fmt: skip
    blanks = [name for contents in inspection.splits.values() for name in contents.blank]
    if blanks:
        yield Finding(f"{counted(len(blanks), 'image')} of one colour: {examples(blanks)}", "remove what shows nothing")
    if len(inspection.sizes) > 1:
        widths, heights = zip(*inspection.sizes, strict=True)
        yield Finding(f"files of {len(inspection.sizes):,} sizes, {min(widths)} to {max(widths)} pixels wide and "
                      f"{min(heights)} to {max(heights)} high", "check that size does not tell the class")  # fmt: skip
    if inspection.imbalance >= IMBALANCED:
        yield Finding(f"the largest class has {inspection.imbalance:.1f} times as many images as the smallest",
                      "judge by AUC or balanced accuracy, not by accuracy")  # fmt: skip


def counted(count: int, unit: str) -> str:
    """Write a number of things: 1 file, 2 files."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def examples(things: Sequence[object]) -> str:
    """Write the first few of many."""
    more = len(things) - EXAMPLES
    return "; ".join(map(str, things[:EXAMPLES])) + (f"; and {more:,} more" if more > 0 else "")
