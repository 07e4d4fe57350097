"""Chance that depends on a place in the training alone, not on what was drawn before."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Draws(keras.random.SeedGenerator):
    """The random numbers of one batch, for layers that take a seed generator.

    Keras's own generator counts what it has drawn, so a training that goes on from a checkpoint would draw other
    numbers than one that never stopped, and batches that are made side by side would draw in any order.

    Args:
        start: Whole numbers that say where in the training this is, shape (2,), int32.
    """

    def __init__(self, start: Any) -> None:
        # Without `super().__init__`, which would make the variable that counts.
        self.start = start
        self.drawn = 0

    def next(self, ordered: bool = True) -> Any:  # noqa: ARG002 - as Keras calls it
        """Return the seed of the next draw, shape (2,), int32."""
        self.drawn += 1
        return tf.random.experimental.stateless_fold_in(self.start, self.drawn)
