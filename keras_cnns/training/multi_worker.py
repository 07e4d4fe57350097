"""Training steps for several workers. Those of Keras 3.15 fail: they sum metrics over an axis that scalars lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_cnns.networks.graph import model_inputs


def rebuild_outside_scope(model: keras.Model) -> keras.Model:
    """Return a model that shares all variables with one that was built in a strategy's scope.

    For a model that was built in the scope, `fit` would reduce metrics by summing a batch axis over the workers.
    """
    return type(model)(model_inputs(model), model.outputs[0], name=model.name)


def make_train_function(model: keras.Model, strategy: Any) -> Any:
    """Return a train function that takes one step on an iterator and returns the mean metrics of the workers."""

    @tf.function(reduce_retracing=True)
    def step(batch: Any) -> Any:
        outputs = strategy.run(model.train_step, args=(batch,))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in outputs.items()}

    return lambda iterator: step(next(iterator))


class BatchNormSyncCallback(keras.callbacks.Callback):
    """Averages the batch norm statistics over all workers after each epoch, so that all validate the same network."""

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
        """Average the statistics."""
        for variable, mean in zip(self.variables, self.means(), strict=True):
            variable.assign(mean)
