"""Reuse the results of earlier, identical trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_cnns.networks.baselines.code import CHECKSUM_TAG
from keras_cnns.networks.baselines.names import BASELINE
from keras_cnns.networks.registry import find_variant
from keras_cnns.pretrained.starting_weights import CHECKSUM
from keras_cnns.tracking import Store
from keras_cnns.tracking.runs import monitored_metric
from tuning.candidates.space import Candidate
from tuning.running.journal import COSTS

Key = tuple[str, frozenset[tuple[str, str]], frozenset[tuple[str, str]], str, int]


class ReusableResults:
    """The results of a store that can be reused: finished runs on the same images with the same versions.

    Runs that a scheduler stopped early are not included, because another sweep may need all of their epochs.

    Args:
        store: The store.
        fingerprint: Fingerprint of the images and their splits.
    """

    def __init__(self, store: Store, fingerprint: str) -> None:
        self.store = store
        self.runs = {
            make_key(
                identify_network(run.family, run.model, run.tags),
                run.settings,
                run.recipe,
                run.tags.get(CHECKSUM, ""),
                run.seed,
            ): run
            for run in store.reusable_runs(fingerprint)
            if run.seed is not None and f"best_{monitored_metric(run)}" in run.metrics and not run.cross_validation
        }

    def find(self, candidate: Candidate, family: str, seed: int) -> dict[str, Any] | None:
        """Return run, curve and costs of an earlier training of a candidate with a seed; None if there is none."""
        weights = "" if candidate.weights is None else candidate.weights.file.sha256
        code = find_variant(candidate.model)[0].code
        network = identify_network(family, candidate.model, {} if code is None else code.to_tags())
        key = make_key(network, candidate.settings.to_strings(), candidate.recipe.to_strings(), weights, seed)
        run = self.runs.get(key)
        if run is None:
            return None
        curves = {name: dict(curve) for name, curve in self.store.curves(run.id).items()}
        epochs = range(1, int(run.metrics["epochs"]) + 1)
        curve = [{name: values[epoch] for name, values in curves.items() if epoch in values} for epoch in epochs]
        costs = {name: run.metrics[name] for name in COSTS if name in run.metrics}
        return {"run": run.id, "curve": curve, "costs": costs}


def identify_network(family: str, model: str, tags: Mapping[str, str]) -> str:
    """Return what identifies a network together with its settings: its family or, for a baseline, name and code."""
    return f"{model} {tags.get(CHECKSUM_TAG, '')}" if family == BASELINE else family


def make_key(network: str, settings: Mapping[str, Any], recipe: Mapping[str, Any], weights: str, seed: int) -> Key:
    """Return what identifies a training on given images, with values as text, as MLflow stores them.

    `network` is from `identify_network`, and `weights` is the SHA-256 of the weights that training begins with, "" for
    random ones.
    """
    settings_text, recipe_text = (
        frozenset((name, str(value)) for name, value in values.items()) for values in (settings, recipe)
    )
    return network, settings_text, recipe_text, weights, seed
