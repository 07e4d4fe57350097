"""What a user can do wrong, each mistake with a line that says what, where and what would work.

Every class is a `ValueError`: in Python it is caught as one; on the command line it becomes a single
line and exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KerasCnnsError(ValueError):
    """Base of every mistake that a user of keras-cnns can make."""


class ModelNameError(KerasCnnsError):
    """No network, variant or family has this name."""


class SettingError(KerasCnnsError):
    """A setting of a network, recipe or search lies outside what is legal."""


class ImageSizeError(SettingError):
    """The images are too small, or of the wrong rank, for this network."""


class WeightsError(KerasCnnsError):
    """Weights do not fit a network, or are in a file that is not read."""


class DataError(KerasCnnsError):
    """A data source is missing, broken, or not what a classifier can learn from."""


class StoreError(KerasCnnsError):
    """The place where runs are kept cannot be read or written, or belongs to another program."""


class ClusterError(KerasCnnsError):
    """The machines cannot be reached, or cannot give a trial what it is to have."""


class ResumeError(KerasCnnsError):
    """There is nothing to resume, or it was begun with other arguments."""


class TrainingError(KerasCnnsError):
    """A training cannot go on: its loss is no longer a finite number, or memory is too small for it."""


class EvaluationError(KerasCnnsError):
    """A run's network and these images do not fit, or a report cannot be written."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'a' or 'b'?" for the known words nearest to `word`, or ""."""
    matches = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
