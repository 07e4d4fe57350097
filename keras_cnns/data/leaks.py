"""Leaks: patients or images that are in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from keras_cnns.data.dataset import SPLITS, Split
from keras_cnns.data.duplicates import BLANK
from keras_cnns.errors import DataError


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


def check_leaks(name: str, leaks: Sequence[Leak], *, allowed: bool) -> list[str]:
    """Return notes on leaks, or raise a `DataError` if there are any and they are not allowed."""
    if leaks and not allowed:
        raise DataError(
            f"{name}: {'; '.join(map(str, leaks))}, which would make the results too optimistic; keep each in one "
            f"split, or accept the leak with --allow-leaks (allow_leaks=True), which reports will note."
        )
    return [f"Leak, allowed: {leak}." for leak in leaks]
