"""Classifiers: a network with all that turns images into decisions, from a run, a registered model or a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cnns import data
from keras_cnns.data.sources import find_kind
from keras_cnns.display.summary import Summarized, Summary
from keras_cnns.errors import DataError, EvaluationError, StoreError
from keras_cnns.evaluation.answering import AnswerChoice, AnswerRule, calibrate
from keras_cnns.evaluation.compatibility import separate_unknown
from keras_cnns.evaluation.conformal import ClassQuantiles
from keras_cnns.evaluation.ensemble import Ensemble, find_runs
from keras_cnns.evaluation.input_images import Images, read_input
from keras_cnns.evaluation.operating_point import Threshold
from keras_cnns.evaluation.prediction import Predictions, make_predictions
from keras_cnns.evaluation.run_images import FOR_OTHER_IMAGES
from keras_cnns.evaluation.run_network import RunNetwork, format_shape, load_run_network, make_run_network
from keras_cnns.evaluation.validation import read_validation
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.conversion import make_run
from keras_cnns.tracking.network_file import describe_run, read_description
from keras_cnns.tracking.registry import MODELS, Registry

CONFIDENCE_LEVELS = (0.8, 0.9, 0.95, 0.99)
"""The levels of prediction sets that are stored with a network."""
SUFFIX = ".keras"
PATH = re.compile(r"[/\\?:]|\.(csv|tsv|txt|parquet|npz)$", re.IGNORECASE)
"""What a source of images can have in its text and a run cannot."""
LICENCE = "weights.licence"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Classifier(Summarized):
    """A network with all that turns images into decisions.

    Attributes:
        network: The network with its class names and how images are converted for it.
        rules: The rule of the prediction sets for each confidence level; empty if they are not known.
    """

    network: RunNetwork
    rules: Mapping[float, AnswerRule] = field(default_factory=dict)

    @property
    def model(self) -> keras.Model:
        """The Keras model, which takes pixel values from 0 to 255."""
        return self.network.model

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes or, in multi-label classification, the labels."""
        return self.network.class_names

    @property
    def run_id(self) -> str:
        """The run that trained it; "" if that is not known."""
        return self.network.run.id

    @property
    def licence(self) -> str:
        """The licence of the weights that training began with; "" if they were random."""
        return self.network.run.tags.get(LICENCE, "")

    @property
    def temperature(self) -> float | None:
        """The divisor of the logits; None if there is none."""
        return self.network.operating_point.temperature

    @property
    def threshold(self) -> Threshold:
        """The probability after temperature scaling from which on class 1 of two classes, or each label, is predicted.

        None if the most probable class is predicted.
        """
        return self.network.operating_point.scaled_threshold

    def summary(self) -> Summary:
        """Return what it predicts, and how."""
        threshold, temperature = self.threshold, self.temperature
        values = threshold if isinstance(threshold, tuple) else () if threshold is None else (threshold,)
        facts = [
            ("run", self.run_id or "not known"),
            ("classes", ", ".join(self.class_names)),
            ("images", f"{format_shape(self.network.image_shape)}, from 0 to 255"),
            ("threshold", ", ".join(f"{value:.4f}" for value in values) or "the most probable class"),
            ("temperature", "none" if temperature is None else f"{temperature:.4f}"),
            ("levels", ", ".join(f"{level:g}" for level in self.rules) or "no prediction sets"),
        ]
        return Summary(title=f"classifier {self.network.run.model or self.network.run.name}", facts=facts)

    @cached_property
    def ensemble(self) -> Ensemble:
        """The network as an ensemble of one."""
        return Ensemble(members=(self.network,))

    def predict(self, images: Images, *, confidence_level: float | None = None) -> Predictions:
        """Predict the classes of images.

        Args:
            images: An array of shape (images, height, width[, 1 or 3]) with values from 0 to 255, of any size and
                numeric type; or a sequence of single images, of encoded files as bytes, or of paths. They are resized
                and converted as for training.
            confidence_level: Return prediction sets, which contain the true class with this probability; one of
                `rules`.

        Raises:
            DataError: Something is not an image, or floats are from 0 to 1.
            EvaluationError: There are no prediction sets for the level, or probabilities are not finite.
        """
        rule = None if confidence_level is None else self.find_rule(confidence_level)
        read = read_input(images, self.network)
        outputs = self.network.predict(read.pixels)
        return make_predictions(self.ensemble, read, outputs, self.network.operating_point, rule)

    def find_rule(self, confidence_level: float) -> AnswerRule:
        """Return the rule for a confidence level.

        Raises:
            EvaluationError: There is none.
        """
        if confidence_level not in self.rules:
            known = ", ".join(f"{level:g}" for level in self.rules)
            hint = f"use {known}." if known else "the network has none, because they need validation images of its own."
            raise EvaluationError(
                f"the network has no prediction sets for confidence_level={confidence_level:g}; {hint}"
            )
        return self.rules[confidence_level]

    def describe(self) -> dict[str, Any]:
        """Return the description that a delivered file contains; names of files and machines are left out."""
        run = self.network.run
        params = {
            "model": run.model,
            "family": run.family,
            **({} if run.seed is None else {"seed": str(run.seed)}),
            **{f"settings.{name}": value for name, value in run.settings.items()},
            **{f"recipe.{name}": value for name, value in run.recipe.items()},
        }
        return {
            "run": describe_run(run.id, run.name, round(run.started.timestamp() * 1000), params, run.tags),
            **describe_network(
                class_names=self.class_names,
                positive=self.network.positive,
                multi_label=self.network.multi_label,
                image_shape=self.network.image_shape,
                reading=self.network.reading,
                ranges=self.network.ranges,
                operating_point=run.metrics,
                rules=self.rules,
            ),
        }


def describe_network(
    *,
    class_names: Sequence[str],
    positive: str | None,
    multi_label: bool,
    image_shape: Sequence[int],
    reading: Mapping[str, Any],
    ranges: Mapping[str, Sequence[float]],
    operating_point: Mapping[str, float],
    rules: Mapping[float, AnswerRule],
) -> dict[str, Any]:
    """Return what turns a network's outputs into answers as JSON-compatible values, which `read_classifier` reads.

    Args:
        class_names: The classes or labels.
        positive: The positive class of two, if it is known.
        multi_label: Whether an image can have several labels.
        image_shape: Height, width and channels of the network's images.
        reading: How images were read, see `RunNetwork`.
        ranges: The ranges of their values.
        operating_point: Metrics, of which the threshold and the temperature are used.
        rules: The rule of the prediction sets for each confidence level.
    """
    return {
        "class_names": list(class_names),
        "positive": positive,
        "multi_label": multi_label,
        "image_shape": list(image_shape),
        "reading": {name: reading[name] for name in FOR_OTHER_IMAGES if name in reading},
        "ranges": {kind: list(limits) for kind, limits in ranges.items()},
        "operating_point": {
            name: value for name, value in operating_point.items() if name.startswith(("threshold", "temperature"))
        },
        "rules": [describe_rule(level, rule) for level, rule in rules.items()],
    }


def describe_rule(level: float, rule: AnswerRule) -> dict[str, Any]:
    """Return a rule of prediction sets as JSON-compatible values; an infinite quantile is None."""
    quantiles = rule.quantiles
    if quantiles is None:
        raise EvaluationError("a rule without prediction sets cannot be stored with a network.")
    return {
        "confidence_level": level,
        "images": rule.images,
        "patients": rule.patients,
        "quantiles": [value if np.isfinite(value) else None for value in quantiles.values.tolist()],
        "shared": quantiles.shared.tolist(),
    }


def read_rule(values: Mapping[str, Any], threshold: Threshold) -> AnswerRule:
    """Return a rule from `describe_rule`."""
    limits = [np.inf if value is None else value for value in values["quantiles"]]
    return AnswerRule(
        choice=AnswerChoice(confidence_level=values["confidence_level"]),
        threshold=threshold,
        images=values["images"],
        patients=values["patients"],
        quantiles=ClassQuantiles(np.array(limits), np.array(values["shared"])),
        min_confidence=None,
    )


def find_rules(store: Store, run_id: str, class_names: Sequence[str], threshold: Threshold) -> dict[float, AnswerRule]:
    """Return the rules of prediction sets, calibrated on the validation predictions of a run; empty if it has none."""
    known = read_validation(store, run_id, class_names)
    if known is None or known.labels.ndim == 2:
        return {}
    patients = separate_unknown(known.patients)
    choices = {level: AnswerChoice(confidence_level=level) for level in CONFIDENCE_LEVELS}
    return {
        level: calibrate(choice, known.labels, known.probabilities, threshold, patients)
        for level, choice in choices.items()
    }


def load(reference: str | Path = "digits", *, tracking_uri: str | None = None, **reading: Any) -> Any:
    """Load labelled images as a `Dataset`, or a trained network as a `Classifier`.

    Args:
        reference: A source of images, such as `"digits"`, a folder of class folders or a table, see
            `keras_cnns.data.load`. Or a network: a run (its id, the beginning of it, or a name that no other run has;
            the id of a sweep for its best trial), a registered model such as `models:/NAME@champion`, or a `.keras`
            file of an export. Other `.keras` files have no class names; they are then numbered.
        tracking_uri: The store of runs and registered models; by default that of MLflow's environment variable, or
            `./mlflow.db`.
        **reading: How images are read, see `keras_cnns.data.load`.

    Raises:
        DataError: There is nothing with this name, or images or a file cannot be read.
        StoreError: The run or registered model has no saved network.
        EvaluationError: The network cannot be loaded safely, or there are several, as of a cross-validation.
    """
    text = str(reference)
    is_network = text.endswith(SUFFIX) or text.startswith(MODELS)
    looks_like_images = bool(reading or PATH.search(text) or find_kind(text) or Path(text).exists())
    if looks_like_images and not is_network:
        return data.load(reference, **reading)
    try:
        return load_classifier(text, tracking_uri=tracking_uri)
    except StoreError as error:
        if is_network:
            raise
        raise DataError(
            f"{text} is not a source of images (keras-cnns inspect --help lists them), and {error}"
        ) from None


def load_classifier(reference: str, *, tracking_uri: str | None = None) -> Classifier:
    """Load a trained network; the arguments are those of `load` for networks.

    Raises:
        DataError: The file does not exist or is not a network.
        StoreError: There is no such run or registered model, or it has no saved network.
        EvaluationError: The network cannot be loaded safely, or there are several, as of a cross-validation.
    """
    if reference.endswith(SUFFIX):
        return read_classifier(Path(reference))
    store = Store(tracking_uri, create=False)
    if reference.startswith(MODELS):
        return load_from_store(store, store.run(Registry(store).find_run(reference)))
    runs, _ = find_runs(store, reference)
    if len(runs) > 1:
        ids = ", ".join(run.id for run in runs)
        raise EvaluationError(f"{reference} is a cross-validation of {len(runs)} networks; use one of its runs: {ids}.")
    return load_from_store(store, runs[0])


def load_from_store(store: Store, run: Run) -> Classifier:
    """Load the network of a run with its rules."""
    network = load_run_network(store, run)
    usable = not run.trained_on_validation
    point = network.operating_point
    return Classifier(
        network=network, rules=find_rules(store, run.id, network.class_names, point.threshold) if usable else {}
    )


def read_classifier(file: Path) -> Classifier:
    """Load a `.keras` file, with its description if it has one.

    Raises:
        DataError: The file is not a network, or its description is not complete.
        EvaluationError: The network cannot be loaded safely.
    """
    found = read_description(file)
    facts = found.get("run", {})
    try:
        run = make_run(
            facts.get("id", ""), facts.get("name", file.stem), "", "FINISHED", facts.get("started", 0),
            facts.get("params", {}), facts.get("tags", {}), found.get("operating_point", {}),
        )  # fmt: skip
        network = make_run_network(run, file, found)
        threshold = network.operating_point.threshold
        rules = {rule["confidence_level"]: read_rule(rule, threshold) for rule in found.get("rules", [])}
    except (AttributeError, KeyError, TypeError, ValueError, StoreError) as error:
        if isinstance(error, DataError | EvaluationError):
            raise
        raise DataError(f"{file}: its description is not complete ({error!r}); export the run again.") from None
    return Classifier(network=network, rules=rules)
