"""Logistic recalibration of the probability of the positive class: calibration slope and intercept.

Both are maximum-likelihood estimates of logistic regressions on the logit of the predicted probability (Cox 1958;
Van Calster et al. 2016, "A Calibration Hierarchy for Risk Models Was Defined"; TRIPOD):

- slope b of logit P(positive) = a + b * logit. It is 1 for calibrated probabilities, below 1 if they are too extreme.
- intercept a of logit P(positive) = a + logit, also called calibration-in-the-large: the slope is fixed at 1. It is 0
  for calibrated probabilities, below 0 if they are too high on average.

All functions take the weight of each image in each of several resamples, shape (images, resamples).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

MAX_LOGIT = 25 * float(np.log(2))  # of a probability of 1 - 2 ** -25, which float32 cannot distinguish from 1
MAX_STEPS = 100
MAX_STEP = 3.0
TOLERANCE = 1e-6  # of a step, after which the error is about its square
END_IMAGES = 50
MIN_INFORMATION = 1 / 3**2
SMALLEST = 1e-10  # of the information, so that it can be inverted


def binary_logits(probabilities: np.ndarray) -> np.ndarray:
    """Return the logit of class 1 of two classes, shape (images,), at most 17 in absolute value.

    Args:
        probabilities: Shape (images, 2); the smaller one of both determines the logit, so that none is rounded.
    """
    smallest = np.finfo(np.float64).tiny
    logits = np.log(np.maximum(probabilities[:, 1], smallest)) - np.log(np.maximum(probabilities[:, 0], smallest))
    return np.asarray(np.clip(logits, -MAX_LOGIT, MAX_LOGIT))


def calibration_intercepts(logits: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the calibration intercept in each resample, shape (resamples,).

    It is NaN if there are images of only one class, or if the classes are so well separated by probabilities so near to
    0 and 1 that the images hardly determine it (a standard error above 3).
    """
    both = have_both_classes(positive, weights)
    found = np.full(weights.shape[1], np.nan)
    found[both] = fit_logistic(np.ones((len(logits), 1)), positive, weights[:, both], offset=logits)[0]
    predicted = expit(found + logits[:, np.newaxis])
    predicted *= 1 - predicted
    predicted *= weights
    found[predicted.sum(axis=0) < MIN_INFORMATION] = np.nan
    return found


def calibration_slopes(logits: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the calibration slope in each resample, shape (resamples,).

    It is infinite if a logit separates the classes, with the sign of their difference, and NaN if there are images of
    only one class or if all logits are equal.
    """
    found = separation(logits, positive, weights)
    overlap = np.isfinite(found)
    found[overlap] = np.nan
    spread = logits.std()
    if overlap.any() and spread > 0:
        design = np.stack([np.ones(len(logits)), (logits - logits.mean()) / spread], axis=1)
        found[overlap] = fit_logistic(design, positive, weights[:, overlap])[1] / spread
    return found


def have_both_classes(positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return whether each resample has positive and negative images, shape (resamples,)."""
    return np.asarray((weights[positive] > 0).any(axis=0) & (weights[~positive] > 0).any(axis=0))


def separation(logits: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return whether a logit separates the classes in each resample, shape (resamples,).

    The value is infinite if all positive images have a logit at or above (negative: at or below) those of all negative
    images, NaN if there are images of only one class or if all logits are equal, and otherwise 0.
    """
    found = np.zeros(weights.shape[1])
    ordered = [np.flatnonzero(chosen)[np.argsort(logits[chosen], kind="stable")] for chosen in (~positive, positive)]
    # Few images at the ends are enough to show that the classes overlap in most resamples.
    undecided = np.arange(weights.shape[1])
    for rows in (END_IMAGES, len(logits)):
        lowest, highest = (
            [extreme_logits(logits, order[:rows] if rows_first else order[::-1][:rows], weights, undecided)
             for order in ordered]
            for rows_first in (True, False)
        )  # fmt: skip
        overlap = (highest[0] > lowest[1]) & (highest[1] > lowest[0])
        undecided, lowest, highest = (
            undecided[~overlap], [ends[~overlap] for ends in lowest], [ends[~overlap] for ends in highest]
        )  # fmt: skip
    found[undecided] = np.where(highest[0] <= lowest[1], np.inf, -np.inf)
    constant = np.fmin(*lowest) == np.fmax(*highest)
    missing = np.isnan(lowest[0]) | np.isnan(lowest[1])
    found[undecided[constant | missing]] = np.nan
    return found


def extreme_logits(logits: np.ndarray, order: np.ndarray, weights: np.ndarray, resamples: np.ndarray) -> np.ndarray:
    """Return the logit of the first of these images that is in each of these resamples; NaN if none is."""
    if not len(order):
        return np.full(len(resamples), np.nan)
    chosen = weights[np.ix_(order, resamples)] > 0
    return np.asarray(np.where(chosen.any(axis=0), logits[order][chosen.argmax(axis=0)], np.nan))


def fit_logistic(
    design: np.ndarray, positive: np.ndarray, weights: np.ndarray, offset: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return the maximum-likelihood coefficients of a logistic regression in each resample.

    They are found by Newton's method, from those of all images. Steps are limited and, after one that went beyond the
    maximum along its direction, halved. The classes must overlap. Coefficients that are not found are NaN.

    Args:
        design: The predictors, shape (images, coefficients).
        positive: Whether each image is positive, shape (images,).
        weights: Shape (images, resamples).
        offset: What is added to the sum of the weighted predictors, shape (images,).

    Returns:
        Shape (coefficients, resamples).
    """
    ones = np.ones((len(design), 1))
    start = maximise_likelihood(design, positive, ones, offset, np.zeros((design.shape[1], 1)))
    return maximise_likelihood(design, positive, weights, offset, np.repeat(start, weights.shape[1], axis=1))


def maximise_likelihood(
    design: np.ndarray, positive: np.ndarray, weights: np.ndarray, offset: np.ndarray | float, start: np.ndarray
) -> np.ndarray:
    """Return the coefficients of `fit_logistic`, given those to start from, shape (coefficients, resamples)."""
    number = design.shape[1]
    products = (design[:, :, np.newaxis] * design[:, np.newaxis]).reshape(len(design), -1)
    coefficients = start.copy()
    step, progress = np.zeros_like(coefficients), np.zeros(weights.shape[1])
    active = np.arange(weights.shape[1])
    for _ in range(MAX_STEPS):
        if not len(active):
            break
        predicted = expit(design @ coefficients[:, active] + np.reshape(offset, (-1, 1)))
        gradient = design.T @ (weights * (positive[:, np.newaxis] - predicted))
        predicted *= 1 - predicted
        predicted *= weights
        information = (products.T @ predicted).T.reshape(-1, number, number)
        newton = np.linalg.solve(information + SMALLEST * np.eye(number), gradient.T[..., np.newaxis])[..., 0].T
        newton *= np.minimum(1.0, MAX_STEP / np.maximum(np.abs(newton).max(axis=0), TOLERANCE))
        passed = (gradient * step).sum(axis=0) < -progress / 2
        step = np.where(passed, -step / 2, newton)
        progress = (gradient * step).sum(axis=0)
        coefficients[:, active] += step
        going = np.abs(step).max(axis=0) > TOLERANCE
        if not going.all():
            active, weights, step, progress = active[going], weights[:, going], step[:, going], progress[going]
    coefficients[:, active] = np.nan
    return coefficients
