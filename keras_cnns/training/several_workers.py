"""What `fit` lacks for several workers in Keras 3.15: its own step sums each metric over an axis that numbers lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_cnns.networks.graph import inputs_of


def taken_outside(model: keras.Model) -> keras.Model:
    """Return a model that was made in a strategy's scope as one made outside, which shares all variables.

    Of one made inside, `fit` would make the metrics by summing a batch over workers as if it were one tensor.
    """
    return type(model)(inputs_of(model), model.outputs[0], name=model.name)


def step_together(model: keras.Model, strategy: Any) -> Any:
    """Return a function that takes one step on the next batch of an iterator and returns the workers' mean metrics."""

    @tf.function(reduce_retracing=True)
    def step(batch: Any) -> Any:
        outputs = strategy.run(model.train_step, args=(batch,))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in outputs.items()}

    return lambda iterator: step(next(iterator))


class Agreement(keras.callbacks.Callback):
    """After each epoch gives all workers the mean of their batch norm statistics, so that all measure one network."""

    def __init__(self, model: keras.Model, strategy: Any) -> None:
        super().__init__()
        self.variables = model.non_trainable_weights
        self.means = tf.function(
            lambda: [
                strategy.reduce("MEAN", strategy.run(tf.identity, (variable.value,)), axis=None)
                for variable in self.variables
            ]
        )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Agree."""
        for variable, mean in zip(self.variables, self.means(), strict=True):
            variable.assign(mean)
