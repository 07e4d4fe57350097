"""A thread that predicts the images of concurrent requests together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.run_network import MAX_IMAGES_WITHOUT_PIPELINE, NetworkOutputs, RunNetwork

WAIT_SECONDS = 0.002
"""How long the first of several requests waits for others."""
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Prediction:
    """A request for the outputs of the network for images, shape (images, height, width, channels), uint8."""

    pixels: np.ndarray
    future: Future[NetworkOutputs] = field(default_factory=Future)


@dataclass(frozen=True, eq=False)
class Computation:
    """A request for the result of a function that uses the network."""

    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class NetworkThread:
    """The only thread that uses a network, so that requests do not compete for cores.

    It takes the images of all waiting requests, up to `MAX_IMAGES_WITHOUT_PIPELINE`, and predicts them in one call.

    Args:
        network: The network.
    """

    def __init__(self, network: RunNetwork) -> None:
        self._network = network
        self._queue: queue.SimpleQueue[Prediction | Computation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()
        self.warm_up()

    def warm_up(self) -> None:
        """Predict batches of each size, which compiles the network before the first request."""
        sizes = [1 << power for power in range(MAX_IMAGES_WITHOUT_PIPELINE.bit_length())]
        shape = self._network.image_shape
        for size in sizes:
            self.predict(np.zeros((size, *shape), np.uint8)).result()

    def predict(self, pixels: np.ndarray) -> Future[NetworkOutputs]:
        """Return the future outputs of the network for images, shape (images, height, width, channels), uint8."""
        request = Prediction(pixels)
        self._queue.put(request)
        return request.future

    def compute(self, function: Callable[[], Result]) -> Future[Result]:
        """Return the future result of a function that uses the network."""
        request = Computation(function)
        self._queue.put(request)
        return request.future

    def close(self) -> None:
        """End the thread after the requests that wait."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (request := self._queue.get()) is not None:
            predictions, computations, ends = self._collect(request)
            if predictions:
                self._predict_together(predictions)
            for computation in computations:
                answer(computation.future, computation.function)
            if ends:
                return

    def _collect(self, first: Prediction | Computation) -> tuple[list[Prediction], list[Computation], bool]:
        """Return the first request and others that arrive soon, and whether the thread is to end."""
        predictions: list[Prediction] = []
        computations: list[Computation] = []
        deadline = time.monotonic() + WAIT_SECONDS
        request: Prediction | Computation | None = first
        while True:
            if request is None:
                return predictions, computations, True
            if request.future.set_running_or_notify_cancel():
                if isinstance(request, Computation):
                    computations.append(request)
                else:
                    predictions.append(request)
            if sum(len(each.pixels) for each in predictions) >= MAX_IMAGES_WITHOUT_PIPELINE:
                return predictions, computations, False
            try:
                request = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return predictions, computations, False

    def _predict_together(self, requests: Sequence[Prediction]) -> None:
        try:
            outputs = self._network.predict(np.concatenate([request.pixels for request in requests]))
        except EvaluationError:  # the probabilities of some image are not finite, which must not fail the others
            for request in requests:
                answer(request.future, partial(self._network.predict, request.pixels))
            return
        except Exception as error:  # noqa: BLE001 - the thread must live on
            for request in requests:
                request.future.set_exception(error)
            return
        begin = 0
        for request in requests:
            part = slice(begin, begin + len(request.pixels))
            begin = part.stop
            unusual = None if outputs.unusual is None else outputs.unusual[part]
            request.future.set_result(NetworkOutputs(probabilities=outputs.probabilities[part], unusual=unusual))


def answer(future: Future[Result], function: Callable[[], Result]) -> None:
    """Set the result of a future to that of a function, or to the error that it raises."""
    try:
        future.set_result(function())
    except Exception as error:  # noqa: BLE001 - the thread must live on
        future.set_exception(error)
