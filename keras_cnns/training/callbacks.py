"""What happens beside the steps of `fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_cnns.auxiliary import strip_auxiliary
from keras_cnns.errors import TrainingError
from keras_cnns.evaluation import scores
from keras_cnns.training.checkpoints import Progress, save_checkpoint

DRAWS_AN_EPOCH = 2**20


class Observer(Protocol):
    """Whoever wants to see a training go on."""

    def step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the present epoch are done."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Epoch `number`, the first being 1, is done and has these metrics."""


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


class ValidationScores(keras.callbacks.Callback):
    """Adds `val_loss`, `val_accuracy` and, where defined, `val_auc` to each epoch's metrics.

    One pass over the validation images gives all of them, the area under the curve exactly instead of from
    thresholds.
    """

    def __init__(self, batches: Any, labels: np.ndarray) -> None:
        super().__init__()
        self.batches = batches
        self.labels = labels

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Predict the validation images and score them."""
        if logs is not None:
            probabilities = self.model.predict(self.batches, verbose=0)
            measured = scores(self.labels, probabilities)
            logs.update({f"val_{name}": value for name, value in measured.items()})


class Keeper(keras.callbacks.Callback):
    """After each epoch: checks the loss, keeps checkpoint and best network, tells the observer."""

    def __init__(
        self,
        folder: Path,
        start: Progress,
        monitor: str,
        observer: Observer | None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.progress = start
        self.monitor = monitor
        self.observer = observer
        self.steps = 1

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self.steps = self.params["steps"] or 1
        self.begun = time.perf_counter() - self.progress.seconds

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Tell the observer."""
        if self.observer is not None:
            self.observer.step(batch + 1, self.steps)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keep what this epoch brought."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(metrics["loss"]):
            raise TrainingError(
                f"the loss is {metrics['loss']} after epoch {epoch + 1}: a lower learning_rate would help; the "
                f"networks of earlier epochs are kept in {self.folder}."
            )
        metrics["learning_rate"] = float(self.model.optimizer.learning_rate)
        metrics["seconds"] = time.perf_counter() - self.begun
        score = metrics[self.monitor]
        best = strip_auxiliary(self.model) if score > self.progress.best_score else None
        self.progress = Progress(
            epoch=epoch + 1,
            seconds=metrics["seconds"],
            best_score=max(score, self.progress.best_score),
            history=(*self.progress.history, metrics),
        )
        save_checkpoint(self.folder, self.model, self.progress, best=best)
        if self.observer is not None:
            self.observer.epoch(epoch + 1, metrics)
