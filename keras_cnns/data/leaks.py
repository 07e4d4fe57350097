"""Patients and images that are in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from keras_cnns.data.dataset import SPLITS, Split
from keras_cnns.data.duplicates import UNIDENTIFIED
from keras_cnns.errors import DataError

# The column that names images without names, once they are parted otherwise than in their source.
IMAGE = "image"


@dataclass(frozen=True)
class Leak:
    """What two splits share.

    Attributes:
        kind: "image" or "patient".
        splits: The two splits, in the order train, validation, test.
        names: The first shared image, as it is called in both splits, or the first shared patient and such images.
        pairs: A place in the first split and one in the second, for each shared image of the second, or for each
            shared patient.
    """

    kind: str
    splits: tuple[str, str]
    names: str
    pairs: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        count = f"{len(self.pairs):,} {self.kind}{'s are' if len(self.pairs) > 1 else ' is'}"
        return f"{count} in both {self.splits[0]} and {self.splits[1]} ({self.names})"


def find_leaks(splits: Mapping[str, Split], hashes: Mapping[str, np.ndarray]) -> list[Leak]:
    """Return what any two splits share.

    Args:
        splits: The splits.
        hashes: What `pixel_hashes` returns for the images of each.
    """
    found = []
    for first, second in combinations([name for name in SPLITS if name in splits], 2):
        pairs = shared(hashes[first], hashes[second], UNIDENTIFIED)
        if pairs:
            found.append(Leak("image", (first, second), both_names(splits, (first, second), pairs[0]), pairs))
        mine, theirs = splits[first].patients, splits[second].patients
        if mine is None or theirs is None:
            continue
        known, places = np.unique(theirs, return_index=True)
        pairs = tuple((one, int(places[other])) for one, other in shared(mine, known, ""))
        if pairs:
            names = f"{str(mine[pairs[0][0]])!r}: {both_names(splits, (first, second), pairs[0])}"
            found.append(Leak("patient", (first, second), names, pairs))
    return found


def shared(first: np.ndarray, second: np.ndarray, unknown: object) -> tuple[tuple[int, int], ...]:
    """Return, for each value of the second that the first has too, where it is first found and where it is."""
    values, places = np.unique(first, return_index=True)
    there = np.flatnonzero(np.isin(second, values) & (second != unknown))
    return tuple(zip(places[np.searchsorted(values, second[there])].tolist(), there.tolist(), strict=True))


def both_names(splits: Mapping[str, Split], names: tuple[str, str], pair: tuple[int, int]) -> str:
    """Name an image of one split and one of another."""
    one, other = (image_name(name, splits[name], place) for name, place in zip(names, pair, strict=True))
    return f"{one} and {other}"


def image_name(name: str, split: Split, place: int) -> str:
    """Return what an image is called in its source; one without a name, by split and place there: train[17]."""
    if split.files:
        return split.files[place]
    return str(split.columns[IMAGE][place]) if IMAGE in split.columns else f"{name}[{place}]"


def settle_leaks(name: str, leaks: Sequence[Leak], *, allowed: bool) -> list[str]:
    """Return what a report must say of leaks that are allowed.

    Raises:
        DataError: There are leaks that are not allowed.
    """
    if leaks and not allowed:
        raise DataError(
            f"{name}: {'; '.join(map(str, leaks))}, so that a figure would be too good; keep them in one of the two, "
            f"or accept it with --allow-leaks (allow_leaks=True), and reports will say so."
        )
    return [f"Leak, allowed: {leak}." for leak in leaks]
