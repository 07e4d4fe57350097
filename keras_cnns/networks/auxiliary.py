"""Auxiliary classifiers: heads in the middle of a network whose loss counts in training, and nowhere else.

A network with heads is a functional model with one output, the main one. Its last layer, `MainOutput`, also gets what
the heads say and hands that to the model's loss, which adds each head's, weighted, while training. Whatever else is
done with the model sees the main output alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import keras

from keras_cnns.networks.graph import graph_steps, inputs_of

PACKAGE = "keras_cnns"


@keras.saving.register_keras_serializable(PACKAGE)
class MainOutput(keras.layers.Layer):
    """Passes its first input on and keeps the others, the heads' outputs, for the loss of the step.

    Shapes: [(batch, classes), ...] -> (batch, classes). Source: Szegedy et al. 2015, section 5.

    Args:
        weight: What the loss of each head counts.
    """

    def __init__(self, weight: float, **options: Any) -> None:
        super().__init__(**options)
        self.weight = weight
        # Each replica of a MirroredStrategy traces in a thread of its own.
        self.kept = threading.local()

    def call(self, inputs: Sequence[Any], *, training: bool | None = None) -> Any:
        """Return the main output."""
        main, *heads = inputs
        self.kept.heads = tuple(heads) if training else ()
        return main

    def take_heads(self) -> tuple[Any, ...]:
        """Return the heads' outputs of the call before, once."""
        heads = getattr(self.kept, "heads", ())
        self.kept.heads = ()
        return tuple(heads)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Return the main output's shape."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(PACKAGE)
class AuxiliaryModel(keras.Model):
    """A functional model with a `MainOutput`: the loss of each head is added, weighted, while training."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the main output's loss, in training with the heads' added."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        join = next(layer for layer in self.layers if isinstance(layer, MainOutput))
        heads = join.take_heads()
        if not training:
            return loss
        # What `compute_loss` adds beside the outputs' loss, such as weight regularisation, counts once.
        beside = sum(self.losses)
        for head in heads:
            loss += join.weight * (super().compute_loss(x, y, head, sample_weight, training) - beside)
        return loss


def connect(images: Any, main: Any, heads: Sequence[Any], *, weight: float, name: str) -> Any:
    """Return the model from images to the main output, trained with the heads where there are any."""
    if not heads:
        return keras.Model(images, main, name=name)
    return AuxiliaryModel(images, MainOutput(weight, dtype="float32", name="main_output")([main, *heads]), name=name)


def strip_auxiliary(model: Any) -> Any:
    """Return the network without its auxiliary classifiers; it shares all weights and gives equal outputs.

    Args:
        model: A network as `build` makes it; one without auxiliary classifiers is returned as it is.
    """
    for operation, inputs, _ in graph_steps(model):
        if isinstance(operation, MainOutput):
            return keras.Model(inputs_of(model), inputs[0], name=model.name)
    return model
