"""Keras callbacks and metrics of a training."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_cnns.errors import TrainingError
from keras_cnns.networks.auxiliary import strip_auxiliary
from keras_cnns.networks.graph import model_inputs, raised_recursion_limit
from keras_cnns.networks.recipe import Recipe
from keras_cnns.training.checkpoints import MICRO_BATCHES, NEW_BEST, Progress, is_better, save_checkpoint, should_stop
from keras_cnns.training.fine_tuning import FineTuning, all_trainable
from keras_cnns.training.variable_rates import optimized_variables

SEEDS_PER_EPOCH = 2**20
FIRST_NON_FINITE = "first_non_finite_step"


class ProgressCallback(Protocol):
    """Receives the progress of a training."""

    def step(self, done: int, total: int) -> None:
        """Receive that `done` of `total` steps of the current epoch are done."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Receive the metrics of epoch `number`, counted from 1."""


class FirstNonFiniteStep(keras.metrics.Metric):
    """The first step of an epoch, from 1, in which the network's outputs are not finite; 0 if they always are.

    Keras reports the loss only once per execution of several steps, and as the mean of all steps before.
    """

    def __init__(self) -> None:
        super().__init__(name=FIRST_NON_FINITE, dtype="int32")
        self.steps = self.add_variable((), "zeros", dtype="int32", name="steps")
        self.first = self.add_variable((), "zeros", dtype="int32", name="first")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # noqa: ARG002
        """Check the outputs of one step."""
        self.steps.assign_add(1)
        broken = keras.ops.logical_not(keras.ops.all(keras.ops.isfinite(y_pred)))
        is_first = keras.ops.logical_and(broken, self.first == 0)
        self.first.assign(keras.ops.where(is_first, self.steps, self.first))

    def result(self) -> Any:
        """Return the step."""
        return keras.ops.convert_to_tensor(self.first)


class EpochSeedCallback(keras.callbacks.Callback):
    """Derives all randomness from the epoch: the order of the images and the state of each dropout layer.

    Keras does not save the states of seed generators, so without this a resumed training would use other dropout
    masks than an uninterrupted one.

    Args:
        epoch: The variable from which the training batches read the epoch.
        network: The network, which may have dropout layers.
    """

    def __init__(self, epoch: Any, network: Any) -> None:
        super().__init__()
        self.epoch = epoch
        generators = (getattr(layer, "seed_generator", None) for layer in network.layers)
        self.generators = [generator for generator in generators if generator is not None]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Set the epoch and the seed states."""
        self.epoch.assign(epoch)
        for generator in self.generators:
            seed = int(keras.ops.convert_to_numpy(generator.state)[0])
            generator.state.assign(np.array([seed, epoch * SEEDS_PER_EPOCH % 2**32], np.uint32))


class UnfreezeCallback(keras.callbacks.Callback):
    """Freezes what is frozen in each epoch, and lets Keras build a training step for what is trained.

    Args:
        fine_tuning: How the blocks of the network are trained.
    """

    def __init__(self, fine_tuning: FineTuning) -> None:
        super().__init__()
        self.fine_tuning = fine_tuning

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Freeze and unfreeze blocks."""
        if self.fine_tuning.freeze(epoch):
            self.model.make_train_function(force=True)


class CheckpointCallback(keras.callbacks.Callback):
    """Checks the loss at each step; at the end of each epoch validates, saves a checkpoint and reports the metrics.

    Args:
        folder: The folder of the checkpoints.
        start: The progress at the start.
        recipe: The recipe, which determines the network to save and early stopping.
        steps: Steps per epoch.
        micro_batches: Micro-batches per batch; recorded with the metrics if there is more than one.
        validate: Returns the validation metrics of a network.
        describe_step: Describes the images of a step, given an epoch and a step from 0.
        progress_callbacks: Receive the progress.
    """

    def __init__(
        self,
        folder: Path,
        start: Progress,
        recipe: Recipe,
        *,
        steps: int,
        micro_batches: int,
        validate: Callable[[Any], Mapping[str, float]],
        describe_step: Callable[[int, int], str],
        progress_callbacks: Sequence[ProgressCallback],
    ) -> None:
        super().__init__()
        self.folder = folder
        self.progress = start
        self.recipe = recipe
        self.validate = validate
        self.describe_step = describe_step
        self.progress_callbacks = progress_callbacks
        self.steps = steps
        self.constant_metrics = {MICRO_BATCHES: float(micro_batches)} if micro_batches > 1 else {}

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self.start_time = time.perf_counter() - self.progress.seconds

    def validate_once(self, model: Any) -> None:
        """Validate and save a network that is not trained, as after a first epoch."""
        self.set_model(model)
        self.on_train_begin()
        self.on_epoch_end(0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Check the loss and report the step."""
        logs = logs or {}
        if not math.isfinite(logs["loss"]):
            self.raise_non_finite(int(logs.get(FIRST_NON_FINITE, 0)) or batch + 1)
        for callback in self.progress_callbacks:
            callback.step(batch + 1, self.steps)

    def raise_non_finite(self, step: int) -> None:
        """Raise a TrainingError for a step, from 1, with outputs that are not finite."""
        epoch = self.progress.epoch
        raise TrainingError(
            f"epoch {epoch + 1}, step {step} of {self.steps}: the loss is not finite, on "
            f"{self.describe_step(epoch, step - 1)}; try a learning_rate below {self.recipe.learning_rate:g}, or "
            f"clip_norm=1. The checkpoint of the {epoch} epochs before is in {self.folder}."
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Validate, save a checkpoint, report the metrics, and stop early if the recipe asks for it."""
        metrics = {name: float(value) for name, value in (logs or {}).items() if name != FIRST_NON_FINITE}
        rate = self.model.optimizer.learning_rate * 1.0  # a constant one is a variable, maybe on several devices
        metrics |= {**self.constant_metrics, "learning_rate": float(rate)}
        with averaged_weights(self.model):
            metrics |= self.validate(self.model)
            if not math.isfinite(metrics.get("val_loss", 0.0)):
                self.raise_non_finite(self.steps)
            best = is_better(metrics, self.progress.best_score, self.recipe)
            if best:
                with all_trainable(self.model):
                    without_training(self.model).save(self.folder / NEW_BEST)
        metrics["seconds"] = time.perf_counter() - self.start_time
        self.progress = Progress(
            epoch=epoch + 1,
            seconds=metrics["seconds"],
            best_score=max(metrics.get(self.recipe.monitor, -math.inf), self.progress.best_score),
            history=(*self.progress.history, metrics),
        )
        save_checkpoint(self.folder, self.model, self.progress, new_best=best)
        if logs is not None:
            logs |= {name: value for name, value in metrics.items() if name.startswith("val_")}
        for callback in self.progress_callbacks:
            callback.epoch(epoch + 1, metrics)
        if should_stop(self.progress.history, self.recipe):
            self.model.stop_training = True


def without_training(model: Any) -> Any:
    """Return a network that shares the weights of a compiled one, and has neither a loss nor auxiliary classifiers."""
    network = strip_auxiliary(model)
    with raised_recursion_limit():
        return keras.Model(model_inputs(network), network.outputs[0], name=network.name)


@contextlib.contextmanager
def averaged_weights(model: Any) -> Iterator[None]:
    """Temporarily give a model the moving average of its weights, if its optimizer has one after the first step."""
    if not model.optimizer.use_ema or not int(model.optimizer.iterations + 0):
        yield
        return
    variables = optimized_variables(model.optimizer)
    weights = [keras.ops.convert_to_numpy(variable) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, weight in zip(variables, weights, strict=True):
            variable.assign(weight)
