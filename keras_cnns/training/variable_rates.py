"""Optimizers with a learning rate for each variable, and with variables that are first trained at a later step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops


@dataclass(frozen=True, kw_only=True)
class VariableRates:
    """How each variable of an optimizer is trained, in the order of the variables.

    Attributes:
        factors: Factors of the learning rate.
        first_steps: The number of steps before a variable is first trained.
    """

    factors: Sequence[float]
    first_steps: Sequence[int]


def optimized_variables(optimizer: Any) -> list[Any]:
    """Return the variables that an optimizer was built for, in the order of its own variables."""
    return list(optimizer._trainable_variables)  # noqa: SLF001 - Keras has no public access to them


class PerVariable(keras.optimizers.Optimizer):
    """The methods of an optimizer that depend on the variable; `rates` has to be set before the first step."""

    rates: VariableRates

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable, with its own learning rate."""
        index = self._get_variable_index(variable)
        scale = self.rates.factors[index] * self.correction(self.rates.first_steps[index])
        super().update_step(gradient, variable, ops.multiply(learning_rate, scale))

    def correction(self, first_step: int) -> Any:  # noqa: ARG002 - Adam depends on it
        """Return a factor of the learning rate for a variable that was first trained at a later step."""
        return 1.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Decay each variable at its own learning rate, on all devices."""
        if self.weight_decay is None:
            return

        def decay(variable: Any) -> None:
            if self._use_weight_decay(variable):
                factor = self.rates.factors[self._get_variable_index(variable)]
                rate = tf.cast(self.learning_rate * self.weight_decay * factor, variable.dtype)
                variable.assign_sub(variable * rate)

        def decay_all(distribution: Any, values: Sequence[Any]) -> None:
            for value in values:
                distribution.extended.update(value, decay, group=False)

        values = [variable.value if isinstance(variable, keras.Variable) else variable for variable in variables]
        tf.__internal__.distribute.interim.maybe_merge_call(decay_all, self._distribution_strategy, values)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        """Update the moving average such that that of a frozen variable equals the variable, also in the last bit."""
        if self.use_ema:
            weight = ops.where(ops.equal(self.iterations, 0), 1.0, 1.0 - self.ema_momentum)
            for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
                average.assign(ops.add(average, ops.multiply(ops.cast(weight, variable.dtype), variable - average)))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:  # noqa: ARG002 - some of them may be frozen
        """Replace all variables by their moving averages, if there are any."""
        super().finalize_variable_values(self._trainable_variables)


class SGD(PerVariable, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum."""


class AdamW(PerVariable, keras.optimizers.AdamW):
    """AdamW, whose bias correction counts the steps of each variable."""

    def correction(self, first_step: int) -> Any:
        """Return the bias correction for the variable's own steps, divided by that for all steps.

        The moments of a variable are zero before its first step. With the correction for all steps, its first updates
        would be several times too large.
        """
        if not first_step:
            return 1.0

        def correct(step: Any) -> Any:
            return ops.sqrt(1.0 - ops.power(self.beta_2, step)) / (1.0 - ops.power(self.beta_1, step))

        steps = ops.cast(self.iterations + 1, "float32")
        return correct(steps - first_step) / correct(steps)
