"""Pseudonyms of patients in everything that is logged.

A pseudonym is a keyed hash of the patient ID (HMAC with SHA-256). Without the key it cannot be traced back to an ID,
not even by hashing all possible IDs. The key is a file in the project folder, next to the store of the runs, so that a
patient has the same pseudonym in all runs of a project. It is never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import Dataset, Split
from keras_cnns.errors import DataError

KEY_FILE = ".keras-cnns-pseudonyms.key"
KEY_BYTES = 32
DIGITS = 12
MIN_LENGTH_IN_TEXT = 3
"""Shorter IDs, such as 7, cannot be distinguished from other numbers in a text."""


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms of patient IDs.

    Attributes:
        key: The secret key; None keeps the IDs.
    """

    key: bytes | None = None

    def pseudonym(self, patient: str) -> str:
        """Return the pseudonym of a patient, such as "P-3f9a60c2b1d4"; an unknown patient stays ""."""
        if not patient or self.key is None:
            return patient
        return f"P-{hmac.new(self.key, patient.encode(), hashlib.sha256).hexdigest()[:DIGITS]}"

    def hide(self, text: str, patients: Iterable[str]) -> str:
        """Replace the IDs of these patients in a text, such as the name of a file, by their pseudonyms."""
        if self.key is None:
            return text
        for patient in sorted({*patients} - {""}, key=len, reverse=True):
            if len(patient) >= MIN_LENGTH_IN_TEXT and patient in text:
                text = replace_whole(text, patient, self.pseudonym(patient))
        return text

    def hide_split(self, split: Split) -> Split:
        """Return a split with the pseudonyms of its patients, also in the names of its files."""
        if split.patients is None or self.key is None:
            return split
        patients = list(map(str, split.patients))
        files = tuple(
            self.hide(file, [patient]) for file, patient in zip(split.files, patients, strict=bool(split.files))
        )
        return replace(split, files=files, patients=np.array([self.pseudonym(patient) for patient in patients]))

    def hide_dataset(self, dataset: Dataset) -> Dataset:
        """Return a dataset with pseudonyms instead of patient IDs, also in the names of files and in notes."""
        if self.key is None:
            return dataset
        patients = known_patients(dataset)
        return replace(
            dataset,
            splits={name: self.hide_split(split) for name, split in dataset.splits.items()},
            notes=tuple(self.hide(note, patients) for note in dataset.notes),
        )


def replace_whole(text: str, old: str, new: str) -> str:
    """Replace a part of a text wherever it is not a part of a longer word or number."""
    found, *rest = text.split(old)
    for before, after in zip([found, *rest], rest, strict=False):
        inside = before[-1:].isalnum() or after[:1].isalnum()
        found += (old if inside else new) + after
    return found


def known_patients(dataset: Dataset) -> set[str]:
    """Return the IDs of all patients of a dataset."""
    splits = [split.patients for split in dataset.splits.values() if split.patients is not None]
    return {str(patient) for patients in splits for patient in np.unique(patients)} - {""}


def load_pseudonyms(folder: Path, dataset: Dataset) -> Pseudonyms:
    """Return the pseudonyms of a project, whose key is created if there is none and the dataset has patients.

    Args:
        folder: The project folder.
        dataset: The dataset; its patients keep their IDs if it says so (`Dataset.keep_ids`).

    Raises:
        DataError: The key cannot be read or written, or is not a key.
    """
    if dataset.keep_ids or not known_patients(dataset):
        return Pseudonyms()
    path = folder / KEY_FILE
    try:
        create_key(path)
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: the key for pseudonyms of patients cannot be used ({error}); restore it, or keep the IDs with "
            f"--keep-ids (keep_ids)."
        ) from error
    if len(key) != KEY_BYTES:
        raise DataError(
            f"{path}: not a key for pseudonyms of patients; restore it, or delete it for other pseudonyms from now on."
        )
    return Pseudonyms(key)


def create_key(path: Path) -> None:
    """Create the file of the key, which only its owner can read, unless it exists."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
    try:
        os.link(temporary, path)  # fails if another process has created it
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
