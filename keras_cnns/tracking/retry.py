"""Retries for temporary failures of a store, and one-line errors for all other failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from mlflow.exceptions import MlflowException

from keras_cnns.errors import StoreError, first_line

INITIAL_WAIT, MAX_WAIT = 0.5, 10.0  # seconds
RETRY_SECONDS = 600.0  # the retry timeout of trainings and sweeps
# MLflow's error codes for unreachable servers, locked databases and full disks. All others are permanent.
TRANSIENT_CODES = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}


class RetryTimeout:
    """The time for which a failing call to a store is retried.

    Args:
        seconds: The time limit of each call.

    Attributes:
        last_error: The error of the call that is being retried, or "".
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last_error = ""
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether retries have been cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop retrying, now and for later calls. Can be called from any thread."""
        self._cancelled.set()

    def wait(self, attempts: int, since: float) -> bool:
        """Wait with exponential backoff and return whether to retry."""
        left = since + self.seconds - time.monotonic()
        return left > 0 and not self._cancelled.wait(min(left, MAX_WAIT, INITIAL_WAIT * 2**attempts))


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def retry(method: Callable[Concatenate[Any, Arguments], Result]) -> Callable[Concatenate[Any, Arguments], Result]:
    """Retry a method after temporary failures of a store, and raise a one-line StoreError for all other failures.

    The method has to be idempotent, because a call that failed may have been carried out. Its object needs the
    attributes `location`, for the error message, and `retry_timeout`.
    """

    @wraps(method)
    def wrapper(self: Any, /, *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        start, attempts = time.monotonic(), 0
        while True:
            try:
                result = method(self, *arguments, **options)
            except (MlflowException, OSError) as error:
                message = f"the store {self.location} fails: {first_line(error)}"
                self.retry_timeout.last_error = message
                transient = not isinstance(error, MlflowException) or error.error_code in TRANSIENT_CODES
                if not transient or not self.retry_timeout.wait(attempts, start):
                    raise StoreError(message) from error
                attempts += 1
            else:
                self.retry_timeout.last_error = ""
                return result

    return wrapper
