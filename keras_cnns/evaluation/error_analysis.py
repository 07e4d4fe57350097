"""Misclassified images, the most confident first, with Grad-CAM heatmaps of the predicted class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.plot_style import HEATMAP_COLORMAP, HEATMAP_OPACITY
from keras_cnns.evaluation.results import Mistake

MAX_MISTAKES = 12


def find_mistakes(
    ensemble: Ensemble | None,
    predictions: LabelledPredictions,
    split: Split,
    split_name: str,
    class_names: Sequence[str],
) -> tuple[tuple[Mistake, ...], int]:
    """Return the most confident mistakes, and the number of all.

    Args:
        ensemble: The networks; the first one is explained. None for no explanations.
        predictions: The predictions for the images.
        split: The images, with pseudonyms of the patients.
        split_name: The name of the split.
        class_names: The classes or labels, in the order of the predictions.
    """
    point = predictions.operating_point
    probabilities = point.scale(predictions.probabilities, multi_label=predictions.multi_label)
    predicted = predictions.predicted
    wrong = np.argwhere(predicted != predictions.labels)
    images = wrong[:, 0]
    if predictions.multi_label:
        columns = wrong[:, 1]
        positive = probabilities[images, columns]
        confidence = np.where(predicted[images, columns] == 1, positive, 1 - positive)
    else:
        columns = predicted[images]
        confidence = probabilities[images, columns]
    order = np.argsort(-confidence, kind="stable")[:MAX_MISTAKES]
    mistakes = []
    for index, column, own in zip(images[order].tolist(), columns[order].tolist(), confidence[order], strict=True):
        name = class_names[column]
        if predictions.multi_label:
            names = (f"not {name}", name)
            true_class, predicted_class = (names[values[index, column]] for values in (predictions.labels, predicted))
        else:
            true_class, predicted_class = class_names[predictions.labels[index]], name
        mistakes.append(
            Mistake(
                name=split.image_name(split_name, index),
                patient="" if split.patients is None else str(split.patients[index]),
                true_class=true_class,
                predicted_class=predicted_class,
                probability=float(own),
                image=to_png(split.images[index]),
            )
        )
    if ensemble is None:
        return tuple(mistakes), len(wrong)
    explained = [class_names[column] for column in columns[order].tolist()]
    return explain_mistakes(ensemble, mistakes, split.images[images[order]], explained), len(wrong)


def explain_mistakes(
    ensemble: Ensemble, mistakes: Sequence[Mistake], images: np.ndarray, class_names: Sequence[str]
) -> tuple[Mistake, ...]:
    """Return the mistakes with the heatmaps of these classes, where the network can be explained."""
    from keras_cnns.evaluation.grad_cam import compute_heatmaps, make_grad_cam_model, resize_heatmaps  # noqa: PLC0415

    if not mistakes:
        return ()
    network = ensemble.first
    try:
        model = make_grad_cam_model(network.model)
    except EvaluationError:
        return tuple(mistakes)
    classes = np.array([network.class_names.index(name) for name in class_names])
    heatmaps = resize_heatmaps(compute_heatmaps(model, images, classes), *network.image_shape[:2])
    overlays = zip(mistakes, images, heatmaps, strict=True)
    return tuple(replace(mistake, heatmap=to_png(overlay(image, heatmap))) for mistake, image, heatmap in overlays)


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return an image with a heatmap over it, more opaque where the heatmap is higher, shape (height, width, 3)."""
    from matplotlib import colormaps  # noqa: PLC0415 - only reports need matplotlib

    opacity = HEATMAP_OPACITY * heatmap[..., np.newaxis]
    coloured = 255 * colormaps[HEATMAP_COLORMAP](heatmap)[..., :3]
    return np.asarray((1 - opacity) * image + opacity * coloured).round().astype(np.uint8)


def to_png(image: np.ndarray) -> bytes:
    """Return an image of shape (height, width, 1 or 3), uint8, as PNG."""
    memory = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(memory, "png")
    return memory.getvalue()
