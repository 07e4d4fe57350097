"""The result of an inspection: what a dataset contains, and its problems in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cnns.data.dataset import BrokenFile, Dataset, describe_shape, list_examples
from keras_cnns.data.inspection.shortcuts import TOGETHER, Shortcut
from keras_cnns.data.leaks import Leak
from keras_cnns.data.splits import MIN_PER_CLASS
from keras_cnns.display.summary import Summarized, Summary, SummaryTable

MIN_IMBALANCE = 2.0
MAX_SIZES = 10
MAX_CONFLICTS = 100
MAX_CLASSES_SHOWN = 20


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


@dataclass(frozen=True)
class LeftOut:
    """An image that is left out of a clean table.

    Attributes:
        file: Its path, relative to the source.
        reason: Why it is left out.
    """

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Inspection(Summarized):
    """The contents and the problems of a dataset.

    Attributes:
        name: The name of the dataset.
        source: The source as `load` accepts it, with an absolute path.
        fingerprint: Identifies the content of the dataset.
        task: "binary", "multi-class" or "multi-label".
        class_names: The name of each class or label.
        positive: The positive class of two; None if it is not known.
        image_shape: Height, width and channels.
        file_sizes: The number of images of each width and height before they were resized.
        mixed_sizes: Whether training needs an image size, because images have several and none was given.
        splits: The contents of each split.
        exact_duplicates: Groups of identical images.
        near_duplicates: Pairs of nearly identical images.
        leaks: Patients and images that are in two splits.
        broken: Files that cannot be read.
        problems: Other problems, which keep the dataset from being used to train.
        shortcuts: How well facts that are not image content predict the class, shortcuts first.
        notes: Remarks on how the images were read and split.
        left_out: The images that are not in the table that was written; empty if none was.
    """

    name: str
    source: str
    fingerprint: str
    task: str
    class_names: tuple[str, ...]
    positive: str | None
    image_shape: tuple[int, int, int]
    file_sizes: Mapping[tuple[int, int], int]
    mixed_sizes: bool
    splits: Mapping[str, SplitSummary]
    exact_duplicates: tuple[Duplicates, ...]
    near_duplicates: tuple[Duplicates, ...]
    leaks: tuple[Leak, ...]
    broken: tuple[BrokenFile, ...]
    problems: tuple[Finding, ...]
    shortcuts: tuple[Shortcut, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def imbalance(self) -> float:
        """The ratio of the largest to the smallest class (or label) in the first split, the training images if any.

        Classes without images do not count.
        """
        counts = [count for count in next(iter(self.splits.values())).classes if count]
        return max(counts, default=1) / min(counts, default=1)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The problems with advice, the most serious first."""
        return tuple(list_findings(self))

    def summary(self) -> Summary:
        """Return the classes of each split, and the problems with advice."""
        rows = [
            (name, *(f"{split.classes[index]:,}" for split in self.splits.values()))
            for index, name in enumerate(self.class_names[:MAX_CLASSES_SHOWN])
        ]
        table = SummaryTable(columns=("class", *self.splits), rows=rows, more=len(self.class_names) - len(rows))
        images = ", ".join(f"{split.images:,} {name}" for name, split in self.splits.items())
        return Summary(
            title=f"{self.name}: {describe_shape(self.image_shape)}, {self.task}",
            facts=[("images", images), ("fingerprint", self.fingerprint)],
            tables=[table],
            notes=[f"{finding.problem}: {finding.advice}." for finding in self.findings] or ["No problems were found."],
        )

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

    broken, exact, near = inspection.broken, inspection.exact_duplicates, inspection.near_duplicates
    across = [pair for pair in near if pair.across_splits and not pair.conflicting]
    within = [pair for pair in near if not pair.across_splits and not pair.conflicting]
    blank = [name for split in inspection.splits.values() for name in split.blank]
    copies = sum(len(group.samples) for group in exact)
    advice = "fix or remove them, or skip them with --skip-broken"
    yield from find(broken, f"{count_of(broken, 'file')} cannot be read", advice)
    yield from inspection.problems
    yield from size_findings(inspection)
    for leak in inspection.leaks:
        dropped = "training drops them from the earlier split; " if leak.kind == "image" else ""
        yield Finding(str(leak), f"keep each in one split; {dropped}--leaks allow accepts them, and reports note it")
    yield from conflict_findings("group", "identical", [group for group in exact if group.conflicting])
    yield from conflict_findings("pair", "nearly identical", [pair for pair in near if pair.conflicting])
    yield from shortcut_findings(inspection.shortcuts)
    yield from find(exact, f"{copies:,} images in {count_of(exact, 'group')} of identical images", "keep one of each")
    problem = f"{count_of(across, 'pair')} of nearly identical images in different splits"
    yield from find(across, problem, "view them with --sheet FILE.png; images of a patient belong in one split")
    problem = f"{count_of(within, 'pair')} of nearly identical images in one split"
    yield from find(within, problem, "view them with --sheet FILE.png; copies add no information")
    yield from find(blank, f"{count_of(blank, 'image')} of a single colour", "remove blank images")
    yield from count_findings(inspection)


def size_findings(inspection: Inspection) -> Iterator[Finding]:
    """Yield the sizes of the images if training needs one and none was given."""
    sizes = [f"{count:,} of {width}x{height}" for (width, height), count in inspection.file_sizes.items()]
    if inspection.mixed_sizes:
        more = f" and {len(sizes) - MAX_SIZES:,} more sizes" if len(sizes) > MAX_SIZES else ""
        problem = f"images of {len(sizes):,} sizes (width x height): {', '.join(sizes[:MAX_SIZES])}{more}"
        yield Finding(problem, "training needs one size, for example --image-size 64")


def conflict_findings(unit: str, kind: str, conflicts: Sequence[Duplicates]) -> Iterator[Finding]:
    """Yield the images with contradicting labels. All are named, because each must be checked, up to 100."""
    if conflicts:
        more = f"; and {len(conflicts) - MAX_CONFLICTS:,} more" if len(conflicts) > MAX_CONFLICTS else ""
        named = "; ".join(map(str, conflicts[:MAX_CONFLICTS]))
        problem = f"{count_of(conflicts, unit)} of {kind} images with different labels: {named}{more}"
        yield Finding(problem, "find out which label is correct")


def shortcut_findings(shortcuts: Sequence[Shortcut]) -> Iterator[Finding]:
    """Yield the shortcuts; that of all facts together only if none of these facts is one itself."""
    found = [shortcut for shortcut in shortcuts if shortcut.tells_class]
    alone = any(shortcut.fact != TOGETHER and not shortcut.content for shortcut in found)
    for shortcut in found:
        if shortcut.fact != TOGETHER or not alone:
            yield Finding(str(shortcut), shortcut.advice)


def count_findings(inspection: Inspection) -> Iterator[Finding]:
    """Yield the classes with very few images, and the imbalance of the classes."""
    pools = [split.classes for name, split in inspection.splits.items() if name != "test"]
    counts = zip(inspection.class_names, map(sum, zip(*pools, strict=True)), strict=True) if pools else ()
    few = [f"{label!r} ({count:,})" for label, count in counts if 0 < count < MIN_PER_CLASS]
    if few:
        what = f"fewer than {MIN_PER_CLASS} training and validation images"
        problem = f"{count_of(few, 'class', 'classes')} with {what}: {', '.join(few)}"
        yield Finding(problem, "add images; a class with so few can neither be learned nor evaluated")
    if inspection.imbalance >= MIN_IMBALANCE:
        problem = f"the largest class has {inspection.imbalance:.1f} times as many images as the smallest"
        yield Finding(problem, "use AUC or balanced accuracy instead of accuracy")


def count_of(items: Sequence[object], unit: str, plural: str | None = None) -> str:
    """Format the number of items: 1 file, 2 files."""
    return f"{len(items):,} {unit if len(items) == 1 else plural or f'{unit}s'}"
