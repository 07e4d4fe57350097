"""Auxiliary classifiers: heads on intermediate layers whose loss is added during training only.

A network with auxiliary classifiers is a functional model with a single output. Its last layer, `MainOutput`, also
receives the outputs of the heads and passes them to the model's `compute_loss`, which adds their weighted losses during
training. Evaluation, prediction and export see the main output only.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_cnns.errors import SettingError
from keras_cnns.networks.graph import graph_nodes, model_inputs

PACKAGE = "keras_cnns"


@keras.saving.register_keras_serializable(PACKAGE)
class MainOutput(keras.layers.Layer):
    """Return the first input and keep the others, the outputs of the heads, for the loss of the training step.

    Shapes: [(batch, classes), ...] -> (batch, classes). Source: Szegedy et al. 2015, section 5.

    Args:
        weight: Weight of each head's loss.
    """

    def __init__(self, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight
        # MirroredStrategy traces each replica in a separate thread.
        self.pending = threading.local()

    def call(self, inputs: Sequence[Any], *, training: bool | None = None) -> Any:
        """Return the main output, and warn if the model that is trained ignores the heads."""
        main, *heads = inputs
        if training and self.is_nested():
            warnings.warn(
                "this training ignores the auxiliary classifiers of a nested network; nest "
                "keras_cnns.auxiliary_outputs(network) and set loss_weights to train them, or "
                "keras_cnns.strip_auxiliary(network) to leave them out.",
                stacklevel=2,
            )
        self.pending.heads = heads if training else []
        return main

    def is_nested(self) -> bool:
        """Return whether the current call comes from another model than the `AuxiliaryModel` of this layer."""
        outermost = self._get_call_context().entry_layer
        if isinstance(outermost, AuxiliaryModel) and self in outermost.layers:
            # On JAX, training calls the layers of a model, but not the model; only a model that contains it does.
            return bool(keras.src.backend.in_stateless_scope())
        return outermost is not self

    def take_heads(self) -> list[Any]:
        """Return the outputs of the heads in the last call and forget them."""
        heads: list[Any] = getattr(self.pending, "heads", [])
        self.pending.heads = []
        return heads


@keras.saving.register_keras_serializable(PACKAGE)
class AuxiliaryModel(keras.Model):
    """A functional model that ends in a `MainOutput` and adds the weighted losses of its heads during training."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the loss of the main output, plus the weighted losses of the heads during training."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        main_output = next(layer for layer in self.layers if isinstance(layer, MainOutput))
        heads = main_output.take_heads()
        if training:
            # `compute_loss` also adds losses such as weight regularization, which must be counted only once.
            added = sum(self.losses)
            for head in heads:
                loss += main_output.weight * (super().compute_loss(x, y, head, sample_weight, training) - added)
        return loss


def find_outputs(model: Any) -> list[Any]:
    """Return the main output and the outputs of the auxiliary classifiers; an empty list if there are none."""
    return next((inputs for layer, inputs, _ in graph_nodes(model) if isinstance(layer, MainOutput)), [])


def strip_auxiliary(model: Any) -> Any:
    """Return the network without its auxiliary classifiers.

    The result shares all weights with `model` and returns the same outputs.

    Args:
        model: A network from `build`. A network without auxiliary classifiers is returned unchanged.
    """
    outputs = find_outputs(model)
    return keras.Model(model_inputs(model), outputs[0], name=model.name) if outputs else model


def auxiliary_outputs(model: Any) -> Any:
    """Return a network that outputs its auxiliary classifiers too, to nest it in another model.

    A network from `build` adds the losses of its auxiliary classifiers only if it is trained itself, not as part of
    another model. This model has ordinary outputs instead, whose losses Keras weights with `loss_weights`. It shares
    all weights with `model`.

    Args:
        model: A network from `build` with `auxiliary_classifiers=True`.

    Returns:
        A `keras.Model` with a dictionary of outputs: `"main"`, `"auxiliary1"`, `"auxiliary2"`, ...

    Raises:
        SettingError: The network has no auxiliary classifiers.

    Example:
        >>> network = auxiliary_outputs(build("googlenet", classes=10, auxiliary_classifiers=True))
        >>> loss_weights = {"main": 1.0, "auxiliary1": 0.3, "auxiliary2": 0.3}
        >>> network.compile("sgd", {name: "sparse_categorical_crossentropy" for name in loss_weights}, loss_weights)
    """
    outputs = find_outputs(model)
    if not outputs:
        raise SettingError(f"{model.name} has no auxiliary classifiers; build it with auxiliary_classifiers=True.")
    names = ["main", *(f"auxiliary{number}" for number in range(1, len(outputs)))]
    return keras.Model(model_inputs(model), dict(zip(names, outputs, strict=True)), name=model.name)
