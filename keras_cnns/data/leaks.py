"""Leaks: patients or images that are in two splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from keras_cnns.data.dataset import SPLITS, Exclusion, Split, list_examples
from keras_cnns.data.duplicates import BLANK, exact_duplicates, pixel_hashes
from keras_cnns.data.flow import exclude
from keras_cnns.errors import DataError, nearest

LEAKS = ("drop", "error", "allow")
"""What to do about images that are in two splits."""


@dataclass(frozen=True)
class Leak:
    """Patients or images that are in two splits.

    Attributes:
        kind: "image" or "patient".
        splits: The two splits, in the order train, validation, test.
        example: The names of the first shared image in both splits, after the patient if patients are shared.
        pairs: For each shared image of the second split, or each shared patient, the index of an image in the first
            split and of one in the second.
    """

    kind: str
    splits: tuple[str, str]
    example: str
    pairs: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        count = f"{len(self.pairs):,} {self.kind}{'s are' if len(self.pairs) > 1 else ' is'}"
        return f"{count} in both {self.splits[0]} and {self.splits[1]} ({self.example})"


def hash_images(splits: Mapping[str, Split]) -> dict[str, np.ndarray]:
    """Return the `pixel_hashes` of the images of each split."""
    return dict(zip(splits, pixel_hashes(*(split.images for split in splits.values())), strict=True))


def find_leaks(splits: Mapping[str, Split], hashes: Mapping[str, np.ndarray]) -> list[Leak]:
    """Find the images and patients that any two splits share.

    Args:
        splits: The splits.
        hashes: The `pixel_hashes` of the images of each split.
    """
    leaks = []
    for names in combinations([name for name in SPLITS if name in splits], 2):
        first, second = (splits[name] for name in names)
        pairs = shared_values(hashes[names[0]], hashes[names[1]], BLANK)
        if pairs:
            leaks.append(Leak("image", names, name_pair(splits, names, pairs[0]), pairs))
        if first.patients is None or second.patients is None:
            continue
        patients, indices = np.unique(second.patients, return_index=True)
        pairs = tuple((one, int(indices[other])) for one, other in shared_values(first.patients, patients, ""))
        if pairs:
            patient = str(first.patients[pairs[0][0]])
            leaks.append(Leak("patient", names, f"{patient!r}: {name_pair(splits, names, pairs[0])}", pairs))
    return leaks


def shared_values(first: np.ndarray, second: np.ndarray, unknown: object) -> tuple[tuple[int, int], ...]:
    """Return, for each value of the second array that is in the first, its first index there and its own index."""
    values, indices = np.unique(first, return_index=True)
    shared = np.flatnonzero(np.isin(second, values) & (second != unknown))
    return tuple(zip(indices[np.searchsorted(values, second[shared])].tolist(), shared.tolist(), strict=True))


def name_pair(splits: Mapping[str, Split], names: tuple[str, str], pair: tuple[int, int]) -> str:
    """Name an image of one split and one of another."""
    one, other = (splits[name].image_name(name, index) for name, index in zip(names, pair, strict=True))
    return f"{one} and {other}"


def check_choice(leaks: str) -> None:
    """Raise a `DataError` if there is no such way to treat leaks."""
    if leaks not in LEAKS:
        raise DataError(f"leaks {leaks!r} is not possible; use {', '.join(LEAKS)}.{nearest(leaks, LEAKS)}")


def check_leaks(name: str, found: Sequence[Leak], choice: str) -> list[str]:
    """Return notes on leaks that are accepted, or raise a `DataError`.

    Images in two splits may be dropped from one; patients in two splits cannot be separated.
    """
    wrong = [] if choice == "allow" else [leak for leak in found if choice == "error" or leak.kind == "patient"]
    if wrong:
        raise DataError(
            f"{name}: {'; '.join(map(str, wrong))}, which would make the results too optimistic; keep each in one "
            f"split, or accept the leak with --leaks allow (leaks='allow'), which reports will note."
        )
    return [f"Leak, allowed: {leak}." for leak in found] if choice == "allow" else []


def drop_shared_images(
    splits: Mapping[str, Split], hashes: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]
) -> tuple[dict[str, Split], dict[str, np.ndarray], list[str], list[Exclusion]]:
    """Remove the images of a split that are also in a later split, and return splits, hashes, notes and exclusions.

    Args:
        splits: The splits.
        hashes: The `pixel_hashes` of the images of each split.
        pairs: The pairs of splits to compare; images are removed from the first.
    """
    kept, kept_hashes, notes, exclusions = dict(splits), dict(hashes), list[str](), list[Exclusion]()
    for first, second in pairs:
        shared = np.isin(kept_hashes[first], hashes[second]) & (kept_hashes[first] != BLANK)
        if not shared.any():
            continue
        names = (kept[first].image_name(first, index) for index in np.flatnonzero(shared).tolist())
        count = f"{int(shared.sum()):,} {first} image{'s are' if shared.sum() > 1 else ' is'}"
        notes.append(f"Leak: {count} also in {second} and left out of {first}: {list_examples(names)}.")
        remaining, before = np.flatnonzero(~shared), kept[first].patients
        kept[first], kept_hashes[first] = kept[first].take(remaining), kept_hashes[first][remaining]
        reason = f"identical to an image of the {second} split"
        exclusions.append(exclude(reason, first, before, kept[first].patients, int(shared.sum())))
    return kept, kept_hashes, notes, exclusions


def conflict_notes(
    splits: Mapping[str, Split], hashes: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> list[str]:
    """Return a note on identical images with different labels, in one split or in several."""
    positions = [(name, index) for name, split in splits.items() for index in range(len(split))]
    together = np.concatenate([hashes[name] for name in splits])
    conflicts = []
    for group in exact_duplicates(together):
        members = [positions[index] for index in group.tolist()]
        labels = {tuple(np.atleast_1d(splits[name].labels[index]).tolist()) for name, index in members}
        if len(labels) > 1:
            conflicts.append(" and ".join(describe(splits[name], name, index, class_names) for name, index in members))
    if not conflicts:
        return []
    images = f"{len(conflicts):,} image{'s have' if len(conflicts) > 1 else ' has'}"
    return [
        f"{images} different labels in different places: {list_examples(conflicts, '; ')}; find out which is right."
    ]


def describe(split: Split, name: str, index: int, class_names: Sequence[str]) -> str:
    """Name an image and its label or labels."""
    label = split.labels[index]
    labels = (
        [class_names[int(label)]] if np.ndim(label) == 0 else [class_names[i] for i in np.flatnonzero(label).tolist()]
    )
    return f"{split.image_name(name, index)} ({', '.join(labels) or 'none'})"
