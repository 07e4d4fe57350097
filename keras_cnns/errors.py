"""Errors that a user can cause. Each message is one line that names the mistake, its location and what would work.

All classes derive from `ValueError`. The command line prints the message and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class KerasCnnsError(ValueError):
    """Base class of all errors that a user of keras-cnns can cause."""


class MissingPackageError(KerasCnnsError):
    """A package that is needed is not installed."""


class ModelNameError(KerasCnnsError):
    """No network, variant or family has this name."""


class SettingError(KerasCnnsError):
    """A setting of a network, recipe or search is unknown or not legal."""


class ImageSizeError(SettingError):
    """The images are too small for the network, or their shape is not (height, width, channels)."""


class CountError(KerasCnnsError):
    """The operations of a family count other parameters than its networks have."""


class WeightsError(KerasCnnsError):
    """Weights do not fit a network, or their file cannot be read."""


class DataError(KerasCnnsError):
    """A data source is missing, broken or not usable for classification."""


class StoreError(KerasCnnsError):
    """The tracking store cannot be read or written, or belongs to another program."""


class ClusterError(KerasCnnsError):
    """A Ray cluster cannot be reached or cannot provide the resources of a trial."""


class ResumeError(KerasCnnsError):
    """There is nothing to resume, or it was started with other arguments."""


class TrainingError(KerasCnnsError):
    """Training cannot continue: the loss is not finite, or there is not enough memory."""


class EvaluationError(KerasCnnsError):
    """A run's network and the images do not fit, a metric cannot be computed, or a report cannot be written."""


class ExportError(KerasCnnsError):
    """A network cannot be exported to a format, or what was exported computes something else."""


class ServingError(KerasCnnsError):
    """A server cannot be started."""


class ReportError(KerasCnnsError):
    """A write-up cannot be written, or a lock file cannot be read or repeated."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, or the name of the error if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'a' or 'b'?" for the known words most similar to `word`, or an empty string."""
    matches = difflib.get_close_matches(word, list(dict.fromkeys(known)), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def nearest_or_all(word: str, known: Collection[str]) -> str:
    """Return the suggestion of `nearest`, or a list of all known words if none is similar."""
    return nearest(word, known) or f" There are: {', '.join(known)}."
