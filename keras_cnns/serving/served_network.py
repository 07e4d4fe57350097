"""A network with everything that a server answers: predictions, explanations, similar cases and the model card."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.display.progress import NO_PROGRESS, Progress
from keras_cnns.errors import EvaluationError, KerasCnnsError, ReportError
from keras_cnns.evaluation.classifier import SUFFIX, Classifier, load_classifier
from keras_cnns.evaluation.error_analysis import overlay, to_png
from keras_cnns.evaluation.explanation import find_caveats, select_classes
from keras_cnns.evaluation.grad_cam import GradCamModel, compute_heatmaps, make_grad_cam_model, resize_heatmaps
from keras_cnns.evaluation.prediction import Predictions, ReadImages
from keras_cnns.evaluation.run_network import predict_with_features
from keras_cnns.serving.training_cases import TrainingCases, load_training_cases
from keras_cnns.tracking import Store
from keras_cnns.writing.cards import MODEL_CARD
from keras_cnns.writing.document import Document
from keras_cnns.writing.facts import SPLITS, collect_facts
from keras_cnns.writing.report import compose_documents

CONFIDENCE_LEVEL = 0.9
"""The confidence level of the page's prediction sets."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedNetwork:
    """A network with everything that a server answers.

    Attributes:
        classifier: The network with all that turns images into decisions.
        grad_cam: The network prepared for Grad-CAM; None if it cannot be explained.
        cases: The training images; None unless they are to be shown.
        card: The model card; None if it cannot be written.
        limits: What it cannot do, and why, one sentence each.
    """

    classifier: Classifier
    grad_cam: GradCamModel | None
    cases: TrainingCases | None = None
    card: Document | None = None
    limits: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """The network and the dataset that it was trained on."""
        run = self.classifier.network.run
        name = run.name or run.model or "network"
        return f"{name} for {run.data_name}" if run.data_name else name

    @property
    def confidence_level(self) -> float | None:
        """The confidence level of the page's prediction sets; None if there are none."""
        return CONFIDENCE_LEVEL if CONFIDENCE_LEVEL in self.classifier.rules else None

    def explain(self, read: ReadImages, predictions: Predictions) -> list[dict[str, Any]]:
        """Return the heatmap of the predicted class of each image and, if they are shown, similar training cases.

        Args:
            read: The images as the network reads them.
            predictions: Their predictions.

        Returns:
            A JSON-compatible dictionary for each image; pictures are PNG files as `data:` URIs.
        """
        found: list[dict[str, Any]] = [{"image": to_uri(pixels)} for pixels in read.pixels]
        if self.grad_cam is not None:
            classes = select_classes(predictions, None)
            coarse = compute_heatmaps(self.grad_cam, read.pixels, classes)
            heatmaps = resize_heatmaps(coarse, *read.pixels.shape[1:3])
            for index, each in enumerate(found):
                each["heatmap"] = {
                    "method": "grad-cam",
                    "class": predictions.class_names[classes[index]],
                    "layer": self.grad_cam.layer,
                    "grid": list(coarse.shape[1:]),
                    "overlay": to_uri(overlay(read.pixels[index], heatmaps[index])),
                    "notes": list(find_caveats([coarse[index : index + 1]], None)),
                }
        if self.cases is not None:
            features, _ = predict_with_features(self.classifier.network.with_features, read.pixels)
            for each, of_image in zip(found, features, strict=True):
                each["similar_training_cases"] = [
                    {"classes": list(self.cases.labels[index]), "image": to_uri(self.cases.images[index])}
                    for index in self.cases.find_similar(of_image).tolist()
                ]
        return found


def load_served_network(
    run: str | Path,
    *,
    tracking_uri: str | None = None,
    show_training_cases: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ServedNetwork:
    """Load a network with everything that a server answers; for the arguments see `keras_cnns.serve`.

    Raises:
        DataError: A file or the training images cannot be read.
        StoreError: There is no such run or registered model, or it has no saved network.
        EvaluationError: The network cannot be loaded safely, it is a cross-validation, or the training images are not
            there.
    """
    progress.message(f"loading {run}")
    classifier = load_classifier(str(run), tracking_uri=tracking_uri)
    cases = None
    if show_training_cases:
        progress.message("reading the training images")
        cases = load_training_cases(classifier.network)
    grad_cam, card, missing = None, None, []
    try:
        grad_cam = make_grad_cam_model(classifier.model)
    except EvaluationError as error:
        missing.append(f"There are no heatmaps: {error}")
    if str(run).endswith(SUFFIX):
        missing.append("There is no model card: a file has no evaluation; serve the run instead.")
    else:
        progress.message("writing the model card")
        try:
            card = write_card(Store(tracking_uri, create=False), classifier.run_id)
        except ReportError as error:
            missing.append(f"There is no model card: {error}")
    return ServedNetwork(
        classifier=classifier, grad_cam=grad_cam, cases=cases, card=card,
        limits=(*describe_limits(classifier), *missing),
    )  # fmt: skip


def describe_limits(classifier: Classifier) -> Iterator[str]:
    """Yield a sentence for each part of an answer that a network does not have."""
    network = classifier.network
    if network.detector is None:
        yield (
            "Images unlike the training images are not recognised, because there is no summary of the training images: "
            "the network answers every image, whatever it shows."
        )
    else:
        alarms = network.detector.measured
        yield (
            f"Some images are reported as out of distribution though they are like those of training: "
            f"{alarms.value:.1%} of validation images were ({alarms.low:.1%} to {alarms.high:.1%})."
        )
    if network.multi_label:
        yield "There are no prediction sets, because an image can have several labels."
    elif not classifier.rules:
        yield "There are no prediction sets, because they need validation images that the network was not trained on."
    if classifier.temperature is None:
        yield "Probabilities are not calibrated, because there is no temperature from validation images."


def write_card(store: Store, run_id: str) -> Document:
    """Return the model card of a run, with its evaluation on test images or, if there is none, on validation images.

    Raises:
        ReportError: There is no stored evaluation.
    """
    reasons: list[KerasCnnsError] = []
    for split in SPLITS:
        try:
            return compose_documents(collect_facts(store, run_id, split=split), ())[MODEL_CARD]
        except ReportError as error:
            reasons.append(error)
    raise ReportError(str(reasons[0]))


def to_uri(image: np.ndarray) -> str:
    """Return an image of shape (height, width, 1 or 3), uint8, as the `data:` URI of a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(to_png(image)).decode()}"
