"""What goes wrong in MLflow, told in one line, or waited for where it passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from mlflow.exceptions import MlflowException

from keras_cnns.errors import StoreError, first_line

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
PATIENCE = 600.0  # seconds that trainings and sweeps have for a store that fails
# What MLflow says of servers that are away, of databases that are locked and of full disks; all else stays wrong.
PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}


class Patience:
    """How long a store that fails is waited for, while it fails in ways that pass.

    Args:
        seconds: How long, for each thing that is to be done.

    Attributes:
        trouble: What it fails with while it is waited for, else "".
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.trouble = ""
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Nothing is waited for."""
        return self._ended.is_set()

    def end(self) -> None:
        """Wait no longer, neither now nor later."""
        self._ended.set()

    def wait(self, attempts: int, since: float) -> bool:
        """Wait a while, longer after each attempt; return whether to try again."""
        left = since + self.seconds - time.monotonic()
        return left > 0 and not self._ended.wait(min(left, LONGEST_WAIT, FIRST_WAIT * 2**attempts))


class Tells(Protocol):
    """What has a place to name and patience."""

    patience: Patience

    @property
    def location(self) -> str:
        """What to call it."""

    def forget(self) -> None:
        """Know no more what has been written: that may have failed half-way."""


Telling = TypeVar("Telling", bound=Tells)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def retry(
    method: Callable[Concatenate[Telling, Arguments], Result],
) -> Callable[Concatenate[Telling, Arguments], Result]:
    """Make a store's method raise StoreError, in one line, for whatever goes wrong in MLflow or on the disk.

    What may pass is tried again while the store has patience, so that a method must do no harm when it is called twice.
    """

    @wraps(method)
    def telling(self: Telling, /, *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        begun, attempts = time.monotonic(), 0
        while True:
            try:
                result = method(self, *arguments, **options)
            except (MlflowException, OSError) as error:
                reason = f"the store {self.location} fails: {first_line(error)}"
                self.forget()
                self.patience.trouble = reason
                if not passing(error) or not self.patience.wait(attempts, begun):
                    raise StoreError(reason) from error
                attempts += 1
            else:
                self.patience.trouble = ""
                return result

    return telling


def passing(error: Exception) -> bool:
    """Return whether what went wrong may be right a while later."""
    return not isinstance(error, MlflowException) or error.error_code in PASSING
