"""The result of an inspection: what a dataset contains, and its problems in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cnns.data.dataset import BrokenFile, Dataset, describe_shape, list_examples
from keras_cnns.data.leaks import Leak

MIN_IMBALANCE = 2.0


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """The contents of a split.

    Attributes:
        images: The number of images.
        classes: The number of images of each class or with each label.
        patients: The number of patients; None if they are not known.
        mean: The mean of all pixels, 0 to 255.
        std: The standard deviation of all pixels.
        blank: The names of the images of a single colour.
    """

    images: int
    classes: tuple[int, ...]
    patients: int | None
    mean: float
    std: float
    blank: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Attributes:
        split: Its split.
        index: Its index in the split.
        name: Its file or, if it is not a file, its split and index in the source.
        label: Its class, or its labels separated by commas.
    """

    split: str
    index: int
    name: str
    label: str

    @classmethod
    def of(cls, dataset: Dataset, name: str, index: int) -> Sample:
        """Describe the image at an index of a split."""
        split = dataset.splits[name]
        labels = np.flatnonzero(split.labels[index]) if split.labels.ndim == 2 else split.labels[index : index + 1]
        label = ", ".join(dataset.class_names[label] for label in labels) or "none"
        return cls(name, index, split.image_name(name, index), label)


@dataclass(frozen=True)
class Duplicates:
    """A group of duplicate images.

    Attributes:
        samples: Two or more identical images, or two nearly identical ones.
        similarity: 1.0 for identical images, otherwise their correlation as in `near_duplicates`.
    """

    samples: tuple[Sample, ...]
    similarity: float

    @property
    def exact(self) -> bool:
        """Whether the images are identical."""
        return self.similarity == 1.0

    @property
    def conflicting(self) -> bool:
        """Whether the images have different labels."""
        return len({sample.label for sample in self.samples}) > 1

    @property
    def across_splits(self) -> bool:
        """Whether the images are in different splits."""
        return len({sample.split for sample in self.samples}) > 1

    def __str__(self) -> str:
        return " and ".join(f"{one.name} ({one.label})" if self.conflicting else one.name for one in self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Return the group as JSON-compatible values."""
        return {**dataclasses.asdict(self), "conflicting": self.conflicting, "across_splits": self.across_splits}


@dataclass(frozen=True)
class Finding:
    """A certain or possible problem of a dataset.

    Attributes:
        problem: The problem, with examples.
        advice: What to do about it.
    """

    problem: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The contents and the problems of a dataset.

    Attributes:
        name: The name of the dataset.
        source: The source as `load` accepts it, with an absolute path.
        fingerprint: Identifies the content of the dataset.
        task: "binary", "multi-class" or "multi-label".
        class_names: The name of each class or label.
        image_shape: Height, width and channels.
        file_sizes: The number of image files of each width and height before they were resized; empty if the images
            are not files or were not resized.
        splits: The contents of each split.
        exact_duplicates: Groups of identical images.
        near_duplicates: Pairs of nearly identical images.
        leaks: Patients and images that are in two splits.
        broken: Files that cannot be read.
        notes: Remarks on how the images were read and split.
    """

    name: str
    source: str
    fingerprint: str
    task: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    file_sizes: Mapping[tuple[int, int], int]
    splits: Mapping[str, SplitSummary]
    exact_duplicates: tuple[Duplicates, ...]
    near_duplicates: tuple[Duplicates, ...]
    leaks: tuple[Leak, ...]
    broken: tuple[BrokenFile, ...]
    notes: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """The ratio of the largest to the smallest class (or label) in the first split, the training images if any."""
        counts = next(iter(self.splits.values())).classes
        return max(counts) / max(1, min(counts))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The problems with advice, the most serious first."""
        return tuple(list_findings(self))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-compatible values."""
        return {
            **dataclasses.asdict(self),
            "file_sizes": {f"{width}x{height}": count for (width, height), count in self.file_sizes.items()},
            "imbalance": self.imbalance,
            "exact_duplicates": [group.as_dict() for group in self.exact_duplicates],
            "near_duplicates": [pair.as_dict() for pair in self.near_duplicates],
            "leaks": [{**dataclasses.asdict(leak), "description": str(leak)} for leak in self.leaks],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }

    def describe(self) -> str:
        """Summarise the contents and the problems in a few lines."""
        lines = [f"{self.name}: {describe_shape(self.image_shape)}, {self.task}, fingerprint {self.fingerprint}"]
        for name, split in self.splits.items():
            counts = (f"{count:,} {label}" for label, count in zip(self.class_names, split.classes, strict=True))
            lines.append(f"{name}: {split.images:,} images, {', '.join(counts)}")
        lines += [f"{finding.problem}: {finding.advice}." for finding in self.findings] or ["No problems were found."]
        return "\n".join((*lines, *self.notes))


def list_findings(inspection: Inspection) -> Iterator[Finding]:
    """Yield the problems of a dataset, the most serious first."""

    def find(items: Sequence[object], problem: str, advice: str) -> Iterator[Finding]:
        if items:
            yield Finding(f"{problem}: {list_examples(items, '; ')}", advice)

    broken, exact = inspection.broken, inspection.exact_duplicates
    conflicts = [group for group in exact if group.conflicting]
    across = [pair for pair in inspection.near_duplicates if pair.across_splits]
    within = [pair for pair in inspection.near_duplicates if not pair.across_splits]
    blank = [name for split in inspection.splits.values() for name in split.blank]
    copies = sum(len(group.samples) for group in exact)
    sizes, imbalance = inspection.file_sizes, inspection.imbalance
    advice = "fix or remove them, or skip them with --skip-broken"
    yield from find(broken, f"{count_of(broken, 'file')} cannot be read", advice)
    for leak in inspection.leaks:
        yield Finding(str(leak), "keep each in one split; --allow-leaks accepts them, and reports note it")
    problem = f"{count_of(conflicts, 'group')} of identical images with different labels"
    yield from find(conflicts, problem, "find out which label is correct")
    yield from find(exact, f"{copies:,} images in {count_of(exact, 'group')} of identical images", "keep one of each")
    problem = f"{count_of(across, 'pair')} of nearly identical images in different splits"
    yield from find(across, problem, "view them with --sheet FILE.png; images of a patient belong in one split")
    problem = f"{count_of(within, 'pair')} of nearly identical images in one split"
    yield from find(within, problem, "view them with --sheet FILE.png; copies add no information")
    yield from find(blank, f"{count_of(blank, 'image')} of a single colour", "remove blank images")
    if len(sizes) > 1:
        widths, heights = zip(*sizes, strict=True)
        ranges = f"{min(widths)} to {max(widths)} pixels wide and {min(heights)} to {max(heights)} high"
        yield Finding(f"files of {len(sizes):,} sizes, {ranges}", "check that the size does not reveal the class")
    if imbalance >= MIN_IMBALANCE:
        problem = f"the largest class has {imbalance:.1f} times as many images as the smallest"
        yield Finding(problem, "use AUC or balanced accuracy instead of accuracy")


def count_of(items: Sequence[object], unit: str) -> str:
    """Format the number of items: 1 file, 2 files."""
    return f"{len(items):,} {unit}{'' if len(items) == 1 else 's'}"
