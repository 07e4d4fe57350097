"""Patients: IDs that may mean the same patient, and IDs in the names of files."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np

from keras_cnns.data.dataset import Split, list_examples
from keras_cnns.errors import DataError

WORD_OR_NUMBER = re.compile(r"\d+|[^\W\d_]+")
WHOLE_NUMBER = re.compile(r"(\d+)[.,]0+")
PIECE = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
"""The pieces of the name of a file: numbers, words and separators."""
MIN_GROUPS, MANY_GROUPS = 3, 5


def similar_patient_notes(splits: Mapping[str, Split]) -> list[str]:
    """Return a note if the IDs of two patients differ only in leading zeros, case, spaces or separators.

    Args:
        splits: The splits of a dataset.

    Returns:
        A note that counts the pairs and names the first one, if possible in different splits; empty if all IDs differ
        in more, or if patients are not known.
    """
    splits_of: dict[str, dict[str, None]] = {}
    for name, split in splits.items():
        for patient in [] if split.patients is None else dict.fromkeys(split.patients.tolist()):
            if patient and not patient.startswith("unknown: "):
                splits_of.setdefault(patient, {})[name] = None
    pairs = find_similar_ids(list(splits_of))
    if not pairs:
        return []
    across = [(one, other) for one, other in pairs if len({*splits_of[one], *splits_of[other]}) > 1]
    one, other = (across or pairs)[0]
    named = (f"{patient!r} ({' and '.join(splits_of[patient])})" for patient in (one, other))
    count = "1 pair of patients" if len(pairs) == 1 else f"{len(pairs):,} pairs of patients"
    where = f", {len(across):,} of them in different splits" if across else ""
    reason = "because their IDs differ only in leading zeros, case, spaces or separators"
    advice = "write the ID of a patient in one way"
    return [f"{count} may be the same patient{where}, {reason}: {' and '.join(named)}; {advice}."]


def find_similar_ids(ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of IDs that differ only in leading zeros, case, spaces or separators.

    Separators between numbers are part of an ID, because 1-11 and 11-1 are two patients, unless one ID of the pair has
    none: 12-345 and 12345.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for patient in dict.fromkeys(ids):
        text = unicodedata.normalize("NFKC", patient).casefold().strip()
        whole = WHOLE_NUMBER.fullmatch(text)
        words = WORD_OR_NUMBER.findall(whole[1] if whole else text)
        groups.setdefault(strip_zeros(words) or (text,), []).append(patient)
    pairs = [pair for group in groups.values() for pair in pairwise(group)]
    joined: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for key in groups:
        joined.setdefault(strip_zeros(WORD_OR_NUMBER.findall("".join(key))) or key, []).append(key)
    for keys in joined.values():
        plain = [key for key in keys if not any(one.isdecimal() and other.isdecimal() for one, other in pairwise(key))]
        pairs += [(groups[plain[0]][0], groups[key][0]) for key in keys if plain and key != plain[0]]
    return pairs


def strip_zeros(words: Sequence[str]) -> tuple[str, ...]:
    """Return words with numbers without leading zeros."""
    return tuple((word.lstrip("0") or "0") if word.isdecimal() else word for word in words)


def patients_from_names(files: Sequence[str], pattern: str) -> np.ndarray:
    r"""Return the patient ID of each file, which a regular expression finds in its path.

    Args:
        files: The paths, relative to the source.
        pattern: A regular expression with one group, the ID, such as `(p\d+)_`.

    Returns:
        The IDs, shape (files,).

    Raises:
        DataError: The pattern is not valid, or does not match all files.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"patient pattern '{pattern}' is not a regular expression: {error}.") from None
    if expression.groups != 1:
        problem = f"has {expression.groups or 'no'} groups"
        raise DataError(rf"patient pattern '{pattern}' {problem}; put only the patient ID in (...), as in (p\d+)_.")
    matches = [expression.search(file) for file in files]
    unknown = [file for file, match in zip(files, matches, strict=True) if not (match and match[1])]
    if unknown:
        problem = f"does not find a patient in {len(unknown):,} of {len(files):,} files: {list_examples(unknown)}"
        raise DataError(f"patient pattern '{pattern}' {problem}; change it, or rename these files.")
    return np.array([match[1] for match in matches if match])


def guess_patient_groups(files: Sequence[str]) -> str | None:
    """Return a note if the names of files begin alike in groups, which may be the images of a patient.

    Args:
        files: The paths, relative to the source.

    Returns:
        The note, with a pattern for `patients_from_names` that finds these groups; None if there are no such groups.
    """
    names = [PIECE.findall(PurePosixPath(file).stem) for file in files]
    candidates = []
    for count in range(1, min(map(len, names), default=0)):
        starts = ["".join(pieces[:count]) for pieces in names]
        pattern = find_pattern(files, names, count) if is_grouping(files, names, count) else None
        if pattern is not None:
            separators = {pieces[count] for pieces in names}
            shown = separators.pop() if len(separators) == 1 else ""
            candidates.append(([start + shown for start in starts], pattern))
    if not candidates:
        return None
    several = [candidate for candidate in candidates if len(set(candidate[0])) >= MANY_GROUPS]
    starts, pattern = several[0] if several else max(candidates, key=lambda candidate: len(set(candidate[0])))
    groups = list(dict.fromkeys(starts))
    size = round(len(files) / len(groups))
    return (
        f"Patients are not known. File names begin alike in groups of about {size} ({groups[0]}, {groups[1]}, ...): if "
        f"these are patients, say so with --patient-pattern {shlex.quote(pattern)} (patient_pattern=...)."
    )


def is_grouping(files: Sequence[str], names: Sequence[Sequence[str]], count: int) -> bool:
    """Return whether the first pieces of the names of files may be patients.

    They contain a number and end where a separator or a last word begins, most of them have several files, and they
    are not the names of the folders.
    """
    for pieces in names:
        after = pieces[count]
        ends = not WORD_OR_NUMBER.fullmatch(after) or (count == len(pieces) - 1 and not after.isdecimal())
        if not ends or not WORD_OR_NUMBER.fullmatch(pieces[count - 1]) or not any(map(str.isdecimal, pieces[:count])):
            return False
    starts = ["".join(pieces[:count]) for pieces in names]
    sizes = Counter(starts)
    in_folder_names = all(start in PurePosixPath(file).parts[:-1] for start, file in zip(starts, files, strict=True))
    several = sum(size > 1 for size in sizes.values())
    return len(sizes) >= MIN_GROUPS and several >= len(sizes) / 2 and not in_folder_names


def find_pattern(files: Sequence[str], names: Sequence[Sequence[str]], count: int) -> str | None:
    """Return a regular expression whose group finds the first pieces of the names of all files; None if none does."""
    starts = ["".join(pieces[:count]) for pieces in names]
    shapes = {tuple(map(describe_piece, pieces[:count])) for pieces in names}
    shape = r"[^/]*\d"
    if len(shapes) == 1:
        columns = (set(column) for column in zip(*(pieces[:count] for pieces in names), strict=True))
        shape = "".join(describe_piece(min(column), constant=len(column) == 1) for column in columns)
    after = {pieces[count] for pieces in names}
    end = escape(after.pop()) if len(after) == 1 else ""
    for pattern in (f"({shape}){end}", f"(?:^|/)({shape}){end}[^/]*$"):
        try:
            if patients_from_names(files, pattern).tolist() == starts:
                return pattern
        except DataError:
            continue
    return None


def describe_piece(piece: str, *, constant: bool = False) -> str:
    """Return a regular expression for any number, for any word unless it is constant, or for a separator."""
    if piece.isdecimal():
        return r"\d+"
    if constant or not piece.isalpha():
        return escape(piece)
    return "[A-Za-z]+" if piece.isascii() else r"[^\W\d_]+"


def escape(text: str) -> str:
    """Escape the special characters of a regular expression, and no others."""
    return re.sub(r"([.^$*+?{}\[\]|()\\])", r"\\\1", text)
