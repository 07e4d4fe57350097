"""A metric of an evaluation: its name, meaning and range, and the function that computes it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_cnns.errors import EvaluationError, first_line
from keras_cnns.evaluation.outcomes import Outcomes, WeightedOutcomes

TOLERANCE = 1e-6  # for rounding errors at the ends of the range of a metric


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of an evaluation.

    Attributes:
        name: The name in Python, in `--json` and, after the split, in MLflow; lower-case letters, digits, underscores.
        title: The name in tables and plots.
        description: What it measures. `{positive}` is replaced by the positive class or label.
        function: Computes the value in each resample, shape (resamples,), NaN where it is not defined.
        minimum: The lowest possible value.
        maximum: The highest possible value.
        higher_is_better: Whether higher values are better.
        best: The best value, if it is between the lowest and the highest one.
        needs_positive: Whether it depends on which of two classes is the positive one; it is then left out if that is
            unknown.
        only_two_classes: Whether it is defined for two classes only, and left out for more.
        one_versus_rest: Whether it is, for more than two classes, the mean over classes, each against the rest.
        after_scaling: Whether it is computed from the probabilities after temperature scaling; it is then left out if
            there is no temperature.
        absolute_sum: Whether it is a sum of absolute terms, which chance increases; see `absolute_sum_interval`. Its
            function returns the signed terms, shape (terms, resamples).
        proportion: Returns which images count, and among which images, both boolean of shape (images,), if the metric
            is the fraction of images that count. It then has the interval of a proportion instead of a bootstrap
            interval. It is not used if the metric is a mean over classes.

    Raises:
        EvaluationError: The name cannot be stored, or there is no value between minimum and maximum.
    """

    name: str
    title: str
    description: str
    function: Callable[[WeightedOutcomes], np.ndarray]
    minimum: float = 0.0
    maximum: float = 1.0
    higher_is_better: bool = True
    best: float | None = None
    needs_positive: bool = False
    only_two_classes: bool = False
    one_versus_rest: bool = False
    after_scaling: bool = False
    absolute_sum: bool = False
    proportion: Callable[[Outcomes], tuple[np.ndarray, np.ndarray]] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name) or self.name.endswith(("_low", "_high")):
            raise EvaluationError(
                f"metric {self.name!r}: a name consists of lower-case letters, digits and underscores, and does not "
                f"end in _low or _high, which are the ends of intervals."
            )
        if not self.minimum < self.maximum:
            raise EvaluationError(f"metric {self.name}: minimum={self.minimum} must be below maximum={self.maximum}.")

    @property
    def range(self) -> str:
        """The range of its values, such as "0 to 1" or "at least 0"."""
        if math.isinf(self.maximum):
            return "any" if math.isinf(self.minimum) else f"at least {self.minimum:g}"
        return f"at most {self.maximum:g}" if math.isinf(self.minimum) else f"{self.minimum:g} to {self.maximum:g}"

    def clip(self, value: float) -> float:
        """Return the nearest value in its range."""
        return min(max(value, self.minimum), self.maximum)

    def compute(self, outcomes: WeightedOutcomes) -> np.ndarray:
        """Return what its function returns.

        Raises:
            EvaluationError: The function raises an error, or returns an array of another shape or values that are not
                in the range.
        """
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.asarray(self.function(outcomes), np.float64)
        except Exception as error:  # the code of another package can raise anything
            raise self.failure(f"raises {type(error).__name__}: {first_line(error)}") from error
        resamples = outcomes.weights.shape[1]
        if values.ndim != 1 + self.absolute_sum or values.shape[-1] != resamples:
            expected = f"(terms, {resamples})" if self.absolute_sum else f"({resamples},)"
            raise self.failure(f"returns an array of shape {values.shape} instead of {expected}")
        totals = sum_terms(values)
        outside = totals[(totals < self.minimum - TOLERANCE) | (totals > self.maximum + TOLERANCE)]
        if len(outside):
            raise self.failure(f"returns {outside[0]:g}, and its range is {self.range}")
        return values

    def failure(self, reason: str) -> EvaluationError:
        """Return the error for a function that cannot be used."""
        solution = "correct it, or uninstall the package that provides it"
        return EvaluationError(f"metric {self.name}: its function {reason}; {solution}.")


def sum_terms(values: np.ndarray) -> np.ndarray:
    """Return the value in each resample, shape (resamples,), given these or, shape (terms, resamples), their terms."""
    return np.asarray(np.abs(values).sum(axis=0)) if values.ndim == 2 else values
