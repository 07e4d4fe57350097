"""Split conformal prediction: sets of classes that contain the true class with a chosen probability.

The score of a class is 1 minus its predicted probability, as in the least ambiguous set-valued classifier (LAC) of
Sadinle, Lei and Wasserman (2019, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels"), which has the
smallest sets on average. A set contains the classes whose score is at most a quantile of the scores of the true
classes of held-out images. Adaptive scores (APS and RAPS: Romano, Sesia and Candès 2020; Angelopoulos et al. 2021) are
not used: without random numbers, which would give an image another set each time, their sets are larger than necessary.

Each class has a quantile of its own ("Mondrian" conformal prediction: Vovk, Gammerman and Shafer 2005, section 4.5), so
that the chosen probability holds for each class. A single quantile for all classes holds on average only: the true
class is then in the set far less often for a rare disease than for a frequent one. It also depends on the prevalence,
which differs at another site; quantiles by class do not.

The guarantee holds for a new patient who is exchangeable with those of the held-out images. The images of a patient are
not exchangeable with those of others, so each patient has the same total weight, divided among the images (Lee, Barber
and Willett 2023, "Distribution-Free Inference With Hierarchical Data", arXiv 2306.06342). The guarantee then refers to
an image drawn at random from those of a new patient, for any number of patients. If patients with many images are more
difficult than others, the level should also hold for an image drawn from those of all patients. So the quantile is the
larger one of this and of that with the same weight for every image, which is valid for many patients ("pooling" of
Dunn, Wasserman and Ramdas 2022, "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models"). Their
subsampling of one image per patient depends on random numbers. If every patient has one image, the quantile is the
usual one, the ceil((n + 1) * level)-th smallest of n scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ClassQuantiles:
    """The largest score with which each class is in a prediction set.

    Attributes:
        values: The quantiles, shape (classes,). A class with an infinite quantile is in every set.
        shared: Whether a class shares its quantile with other classes, because there are too few images for a quantile
            of its own, shape (classes,).
    """

    values: np.ndarray
    shared: np.ndarray


def conformal_quantile(scores: np.ndarray, level: float, groups: np.ndarray | None = None) -> float:
    """Return a score that a new image exceeds with a probability of at most 1 - `level`.

    Args:
        scores: The scores of held-out images, shape (images,).
        level: The probability, between 0 and 1.
        groups: The group of each image, such as its patient; by default each image is a group.

    Returns:
        One of the scores, or infinity if there are fewer than level / (1 - level) groups, too few for any score.
    """
    if not len(scores):
        return float("inf")
    order = np.argsort(scores, kind="stable")
    by_group = np.ones(len(scores)) if groups is None else equal_weights(groups)
    number = by_group.sum()
    quantiles = []
    for weights in (by_group, np.full(len(scores), number / len(scores))):
        reached = np.flatnonzero(weights[order].cumsum() >= level * (number + 1) - ROUNDING)
        quantiles.append(float(scores[order[reached[0]]]) if len(reached) else float("inf"))
    return max(quantiles)


def equal_weights(groups: np.ndarray) -> np.ndarray:
    """Return a weight for each image such that the images of each group have a total weight of 1."""
    _, group_of_image, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1 / sizes[group_of_image])


def true_class_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the score of the true class of each image, shape (images,)."""
    return np.asarray(1 - probabilities[np.arange(len(labels)), labels])


def class_quantiles(
    labels: np.ndarray, probabilities: np.ndarray, level: float, groups: np.ndarray | None = None
) -> ClassQuantiles:
    """Compute the quantile of the scores of each class.

    The classes with too few images or groups for a quantile of their own (fewer than nine for a level of 0.9) share
    one, for which the level holds on average over the images of these classes. If they have too few together, the next
    rarest classes share it, too. If all classes together have too few, it is infinite.

    Args:
        labels: The true class of each held-out image, shape (images,).
        probabilities: Shape (images, classes).
        level: The probability with which a set contains the true class, between 0 and 1.
        groups: The group of each image, such as its patient; by default each image is a group.
    """
    scores = true_class_scores(labels, probabilities)
    groups = np.arange(len(labels)) if groups is None else groups
    classes = range(probabilities.shape[1])

    def quantile(images: np.ndarray) -> float:
        return conformal_quantile(scores[images], level, groups[images])

    values = np.array([quantile(labels == label) for label in classes])
    shared = np.isinf(values)
    sizes = [len(np.unique(groups[labels == label])) for label in classes]
    for label in np.argsort(sizes, kind="stable"):
        if shared.any() and np.isinf(quantile(shared[labels])):
            shared[label] = True
    values[shared] = quantile(shared[labels])
    return ClassQuantiles(values, shared)


def prediction_sets(probabilities: np.ndarray, quantiles: ClassQuantiles, predicted: np.ndarray) -> np.ndarray:
    """Return which classes are in the prediction set of each image.

    A set without any class, which would contradict the prediction, contains the predicted class. This only makes it
    more probable that the true class is in the set.

    Args:
        probabilities: Shape (images, classes).
        quantiles: The `class_quantiles`.
        predicted: The predicted class of each image, shape (images,).

    Returns:
        Boolean, shape (images, classes).
    """
    sets = np.asarray(1 - probabilities <= quantiles.values)
    empty = np.flatnonzero(~sets.any(axis=1))
    sets[empty, predicted[empty]] = True
    return sets
