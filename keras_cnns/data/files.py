"""Images in files: who is who is known before, then all are decoded, into memory or into a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_cnns.data.cached import decode_once
from keras_cnns.data.dataset import SPLITS, Broken, Split
from keras_cnns.data.raw import Raw
from keras_cnns.data.reading import Decoded, Wanted, decode_all, decoded_size
from keras_cnns.data.streaming import fits_in_memory
from keras_cnns.errors import DataError

SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """What is known of images before they are decoded.

    Attributes:
        name: What a person calls them all.
        root: The folder that files are relative to.
        files: The file of each image.
        splits: The split of each image, in the order of SPLITS.
        labels: As in `Split`.
        class_names: The classes, by label.
        patients: Whose image each one is; None where only DICOM headers can tell.
        columns: What else is known of each image.
        notes: What a report must say.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    splits: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    patients: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_cases(cases: Cases, wanted: Wanted) -> Raw:
    """Decode all files.

    Raises:
        DataError: Some cannot be read, or they are of mixed sizes.
    """
    size = decoded_size(cases.root, cases.files, wanted) if wanted.stream is None else 0
    large = not fits_in_memory(size)
    if wanted.stream or large:
        decoded = decode_once(cases.root, cases.files, wanted)
    else:
        decoded = decode_all(cases.root, cases.files, wanted, lambda shape: np.empty(shape, np.uint8))
    if decoded.broken and not (wanted.skip_broken and decoded.kept):
        raise DataError(refusal(cases, decoded.broken))
    notes = [*cases.notes, *noted(cases, decoded)]
    if large:
        notes.append(f"Decoded images ({size / 1e9:.2f} GB) are kept in a file, not in memory.")
    kept = np.array(decoded.kept)
    patients, columns, said = known(cases, kept, decoded.facts)
    splits = {}
    for split in SPLITS:
        places = np.flatnonzero(cases.splits[kept] == split)
        if len(places):
            part = slice(int(places[0]), int(places[-1]) + 1)
            splits[split] = Split(
                decoded.images[part],
                cases.labels[kept][part],
                files=tuple(cases.files[place] for place in kept[part]),
                patients=None if patients is None else patients[part],
                columns={name: values[part] for name, values in columns.items()},
            )
    return Raw(
        name=cases.name,
        splits=splits,
        class_names=cases.class_names,
        notes=(*notes, *said),
        broken=tuple(decoded.broken),
    )


def noted(cases: Cases, decoded: Decoded) -> list[str]:
    """Say what was left out, and which pixels are not as the file has them."""
    notes = []
    if decoded.broken:
        names = ", ".join(broken.file for broken in decoded.broken[:SHOWN])
        more = ", ..." if len(decoded.broken) > SHOWN else ""
        count = f"{len(decoded.broken)} of {len(cases.files)} files"
        notes.append(f"Left out, because they cannot be read: {count}: {names}{more}.")
    if decoded.stretched:
        notes.append(
            f"DICOM images without a window, whose own lowest and highest value became 0 and 255: {decoded.stretched}."
        )
    return notes


def refusal(cases: Cases, broken: Sequence[Broken]) -> str:
    """Say which files cannot be read."""
    first = "; ".join(map(str, broken[:SHOWN]))
    rest = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    way = "mend or remove them"
    if len(broken) < len(cases.files):
        way += ", or leave them out with --skip-broken (skip_broken=True)"
    return f"{cases.name}: {len(broken)} of {len(cases.files)} files cannot be read: {first}{rest}; {way}."


def known(
    cases: Cases, kept: np.ndarray, facts: Sequence[Mapping[str, str]]
) -> tuple[np.ndarray | None, dict[str, np.ndarray], list[str]]:
    """Return patients and columns of the images that were kept, those of DICOM headers where no others are known."""
    patients = None if cases.patients is None else cases.patients[kept]
    columns = {name: values[kept] for name, values in cases.columns.items()}
    if not any(facts):
        return patients, columns, []
    from keras_cnns.data.dicom import AGE, FACTS, PATIENT, years  # noqa: PLC0415 - slow to import, seldom needed

    said = {keyword: [fact.get(keyword, "") for fact in facts] for keyword in FACTS}
    notes = []
    if patients is None and any(said[PATIENT]):
        names = said[PATIENT]
        unnamed = names.count("")
        if len(set(names)) == 1 and len(names) > 1:
            notes.append(f"All DICOM files have the PatientID {names[0]!r}: patients are taken for not known.")
        else:
            files = [cases.files[place] for place in kept]
            patients = np.array([name or f"unknown: {file}" for name, file in zip(names, files, strict=True)])
            if unnamed:
                notes.append(f"{unnamed} images have no PatientID: each is taken for one of a patient of its own.")
    for keyword in FACTS[1:]:
        if any(said[keyword]) and keyword not in columns:
            columns[keyword] = np.array([years(age) for age in said[AGE]] if keyword == AGE else said[keyword])
    return patients, columns, notes
