"""Sources of image files: everything is known before decoding but the pixels and the headers of DICOM files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_cnns.data.conversion import Conversion
from keras_cnns.data.dataset import SPLITS, Dataset, Exclusion, Split, list_examples
from keras_cnns.data.decoding.cache import decode_cached
from keras_cnns.data.decoding.decoded_image import COLUMNS, PATIENT_AGE, PATIENT_ID, age_in_years
from keras_cnns.data.decoding.image import count_frames
from keras_cnns.data.decoding.parallel import DecodedFiles, decode_files, estimate_size
from keras_cnns.data.flow import exclude_broken
from keras_cnns.data.streaming import fits_in_memory
from keras_cnns.data.value_range import RangeOptions, ValueRange
from keras_cnns.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFiles:
    """The image files of a source.

    Attributes:
        name: The name of the dataset in reports.
        source: The source as `load` accepts it, with an absolute path.
        root: The folder that the files are relative to.
        samples: Everything about the images but their pixels; instead of these, `images` has an index for each file.
        splits: The split of each image, in the order of SPLITS.
        class_names: The name of each class or label.
        notes: Remarks for reports.
        problems: What makes `load` raise an error, and `inspect` report a problem.
        exclusions: Images that were left out before files are read.
    """

    name: str
    source: str
    root: Path
    samples: Split
    splits: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()


def read_files(
    files: ImageFiles, conversion: Conversion, options: RangeOptions, *, skip_broken: bool, stream: bool | None
) -> Dataset:
    """Decode and convert all files.

    Args:
        files: The files.
        conversion: The size and the channels.
        options: How the range of values is chosen.
        skip_broken: Skip files that cannot be read.
        stream: Keep the images in a file of the cache; None to do so if they do not fit in memory.

    Raises:
        DataError: Files cannot be read and are not skipped, or the images have different sizes.
    """
    if conversion.frames == "all":
        files = expand_frames(files)
    names, splits = files.samples.files, files.splits.tolist()
    size = estimate_size(files.root, names, conversion) if stream is None else 0
    too_large = not fits_in_memory(size)
    if stream or too_large:
        decoded = decode_cached(files.root, names, conversion, splits=splits, options=options)
    else:
        decoded = decode_files(
            files.root, names, conversion, lambda shape: np.empty(shape, np.uint8), splits=splits, options=options
        )
    if decoded.broken and not (skip_broken and decoded.kept):
        raise DataError(describe_broken(files, decoded))
    kept = np.array(decoded.kept)
    samples, header_notes = add_headers(files.samples.take(kept), decoded.headers)
    samples = replace(samples, images=decoded.images)
    ends = np.cumsum([(files.splits[kept] == name).sum() for name in SPLITS])
    slices = {name: slice(start, end) for name, start, end in zip(SPLITS, (0, *ends), ends, strict=False)}
    notes = [*files.notes, *broken_notes(files, decoded), *decoded.notes]
    if too_large:
        notes.append(f"The decoded images ({size / 1e9:.2f} GB) are streamed from a file: they do not fit in memory.")
    return Dataset(
        name=files.name,
        source=files.source,
        splits={name: samples.take(part) for name, part in slices.items() if part.stop > part.start},
        class_names=files.class_names,
        notes=(*notes, *header_notes),
        broken=tuple(decoded.broken),
        exclusions=(*files.exclusions, *exclude_broken(files.samples, files.splits, kept, decoded.broken)),
        root=files.root.absolute(),
        ranges={kind: ValueRange(*limits) for kind, limits in decoded.ranges.items()},
    )


def expand_frames(files: ImageFiles) -> ImageFiles:
    """Make each frame of files with several an image; if patients are not known, each file is one."""
    names = files.samples.files
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        counts = np.array([*pool.map(lambda name: count_frames(files.root / name), names)], np.int64)
    if (counts <= 1).all():
        return files
    indices = np.repeat(np.arange(len(names)), counts)
    expanded = files.samples.take(indices)
    frames = [number for count in counts.tolist() for number in range(1, count + 1)]
    of_several = (counts > 1)[indices]
    patients = np.array(expanded.files) if expanded.patients is None else expanded.patients
    new_names = tuple(
        f"{name}#{frame}" if several else name
        for name, frame, several in zip(expanded.files, frames, of_several, strict=True)
    )
    note = (
        f"{int((counts > 1).sum()):,} files have {int(counts[counts > 1].sum()):,} frames, each of which is an image "
        f"of the same patient."
    )
    samples = replace(expanded, files=new_names, patients=patients, images=np.arange(len(new_names)))
    return replace(files, samples=samples, splits=files.splits[indices], notes=(*files.notes, note))


def describe_broken(files: ImageFiles, decoded: DecodedFiles) -> str:
    """Return the error message for files that cannot be read."""
    broken, total = decoded.broken, len(files.samples)
    skip = ", or skip them with --skip-broken (skip_broken=True)" if len(broken) < total else ""
    reasons = list_examples(broken, "; ")
    return f"{files.name}: {len(broken)} of {total} files cannot be read: {reasons}; fix or remove them{skip}."


def broken_notes(files: ImageFiles, decoded: DecodedFiles) -> list[str]:
    """Return a note on skipped files."""
    if not decoded.broken:
        return []
    names = list_examples(f"{file.file} ({file.reason})" for file in decoded.broken)
    return [f"Skipped because they cannot be read: {len(decoded.broken)} of {len(files.samples)} files: {names}."]


def add_headers(samples: Split, headers: Sequence[Mapping[str, str]]) -> tuple[Split, list[str]]:
    """Add the patients and columns of DICOM headers unless they are known already, and return notes."""
    patients, columns, notes = samples.patients, dict(samples.columns), []
    ids = [header.get(PATIENT_ID, "") for header in headers]
    if patients is None and any(ids):
        if len(ids) > 1 and len(set(ids)) == 1:
            notes.append(f"Patients are unknown: all DICOM files have the same PatientID {ids[0]!r}.")
        else:
            patients = np.array([name or f"unknown: {file}" for name, file in zip(ids, samples.files, strict=True)])
            if "" in ids:
                notes.append(f"{ids.count('')} images have no PatientID; each is treated as a separate patient.")
    for keyword in COLUMNS:
        values = [header.get(keyword, "") for header in headers]
        if any(values) and keyword not in columns:
            columns[keyword] = np.array([age_in_years(age) for age in values] if keyword == PATIENT_AGE else values)
    return replace(samples, patients=patients, columns=columns), notes
