"""What happens beside the steps of `fit`."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_cnns.errors import TrainingError
from keras_cnns.networks.auxiliary import strip_auxiliary
from keras_cnns.networks.recipe import Recipe
from keras_cnns.training.checkpoints import BATCH_PARTS, NEW_BEST, Progress, is_better, patience_over, save_checkpoint

DRAWS_AN_EPOCH = 2**20
FIRST_BROKEN = "first_broken_step"


class ProgressCallback(Protocol):
    """Whoever wants to see a training go on."""

    def step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the present epoch are done."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Epoch `number`, the first being 1, is done and has these metrics."""


class FirstBrokenStep(keras.metrics.Metric):
    """The first step of an epoch, from 1, in which the network gave no numbers; 0 where it always did.

    A loss is told to Python only once in several steps, and then it is the mean over all before.
    """

    def __init__(self) -> None:
        super().__init__(name=FIRST_BROKEN, dtype="int32")
        self.steps = self.add_variable((), "zeros", dtype="int32", name="steps")
        self.first = self.add_variable((), "zeros", dtype="int32", name="first")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # noqa: ARG002
        """Look at the outputs of one step."""
        self.steps.assign_add(1)
        broken = keras.ops.logical_not(keras.ops.all(keras.ops.isfinite(y_pred)))
        new = keras.ops.logical_and(broken, self.first == 0)
        self.first.assign(keras.ops.where(new, self.steps, self.first))

    def result(self) -> Any:
        """Return the step."""
        return keras.ops.convert_to_tensor(self.first)


class EpochClock(keras.callbacks.Callback):
    """Sets all chance by the epoch alone: the order of the images, and what each dropout layer draws.

    Keras does not save the state of its seed generators, so without this a resumed training would drop out other
    values than one that never stopped.

    Args:
        epoch: The variable that the training batches read their order from.
        network: The network whose layers draw at random.
    """

    def __init__(self, epoch: Any, network: Any) -> None:
        super().__init__()
        self.epoch = epoch
        layers = network.layers
        self.generators = [found for layer in layers if (found := getattr(layer, "seed_generator", None))]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Set the epoch before its first batch."""
        self.epoch.assign(epoch)
        for generator in self.generators:
            seed = int(keras.ops.convert_to_numpy(generator.state)[0])
            generator.state.assign(np.array([seed, epoch * DRAWS_AN_EPOCH % 2**32], np.uint32))


class CheckpointCallback(keras.callbacks.Callback):
    """Checks each step's loss; after each epoch validates, keeps checkpoint and network, and tells the observer.

    Args:
        folder: Where checkpoints are kept.
        start: How far the training came before.
        recipe: What says which network is kept, and when training stops.
        steps: Steps of an epoch.
        parts: In how many parts each device's batch comes; more than one is told with the metrics.
        validate: Measures a network on the validation images.
        describe_step: Says which images an epoch's step was on, by their numbers from 0.
        progress_callback: Who is told.
    """

    def __init__(
        self,
        folder: Path,
        start: Progress,
        recipe: Recipe,
        *,
        steps: int,
        parts: int,
        validate: Callable[[Any], Mapping[str, float]],
        describe_step: Callable[[int, int], str],
        progress_callback: ProgressCallback | None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.progress = start
        self.recipe = recipe
        self.validate = validate
        self.describe_step = describe_step
        self.progress_callback = progress_callback
        self.steps = steps
        self.told = {BATCH_PARTS: float(parts)} if parts > 1 else {}

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self.begun = time.perf_counter() - self.progress.seconds

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Check the loss, tell the observer."""
        logs = logs or {}
        if not math.isfinite(logs["loss"]):
            self.stop_broken(int(logs.get(FIRST_BROKEN, 0)) or batch + 1)
        if self.progress_callback is not None:
            self.progress_callback.step(batch + 1, self.steps)

    def stop_broken(self, step: int) -> None:
        """Say where the network broke: its outputs in `step`, its weights in the step before."""
        epoch = self.progress.epoch
        raise TrainingError(
            f"epoch {epoch + 1}, step {step} of {self.steps}: the loss is no longer finite, on "
            f"{self.describe_step(epoch, step - 1)}; a lower learning_rate than {self.recipe.learning_rate:g}, or "
            f"clip_norm=1, would help. The networks of the {epoch} epochs before are kept in {self.folder}."
        )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keep what this epoch brought."""
        metrics = {name: float(value) for name, value in (logs or {}).items() if name != FIRST_BROKEN} | self.told
        metrics["learning_rate"] = float(self.model.optimizer.learning_rate)
        with averaged(self.model):
            metrics |= self.validate(self.model)
            if not math.isfinite(metrics.get("val_loss", 0.0)):
                self.stop_broken(self.steps)
            best = is_better(metrics, self.progress.best_score, self.recipe)
            if best:
                strip_auxiliary(self.model).save(self.folder / NEW_BEST)
        metrics["seconds"] = time.perf_counter() - self.begun
        self.progress = Progress(
            epoch=epoch + 1,
            seconds=metrics["seconds"],
            best_score=max(metrics.get(self.recipe.monitor, -math.inf), self.progress.best_score),
            history=(*self.progress.history, metrics),
        )
        save_checkpoint(self.folder, self.model, self.progress, new_best=best)
        if self.progress_callback is not None:
            self.progress_callback.epoch(epoch + 1, metrics)
        if patience_over(self.progress.history, self.recipe):
            self.model.stop_training = True


@contextlib.contextmanager
def averaged(model: Any) -> Iterator[None]:
    """Let a model have the average of its weights for a while, where its optimizer keeps one."""
    if not model.optimizer.use_ema:
        yield
        return
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
