"""How long a network takes for one image on this machine, told from its settings alone.

The time is the sum over kinds of work (`keras_cnns.latency.Work`) of how much there is of each and what the machine
needs for it: the fit to a few dozen small networks of all families that were built and timed
(`tuning.candidates.timing`), once for each machine and size of images. How far off it is for networks that it was not
fitted to is kept with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_cnns.errors import SettingError, TrainingError
from keras_cnns.latency import KINDS, Work
from keras_cnns.settings import FloatRange, Maybe, checked
from keras_cnns.tracking.runs import Run
from keras_cnns.training.checkpoints import write_text
from keras_cnns.units import human_seconds, read_seconds

LATENCY = "latency.json"
LIMIT = Maybe(FloatRange(1e-6, 3600.0))
PARTS = 8
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class Observer(Protocol):
    """Whoever wants to see what is done."""

    def doing(self, words: str) -> None:
        """Something is done that is no trial."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Predicts how long a network takes for one image.

    Attributes:
        image_shape: Height, width and channels of the images that it was measured with.
        seconds: What one of each kind of work takes, by the kind's name in `KINDS`.
        networks: How many networks were timed.
        typical_factor: By what factor the prediction is off for half of the networks that it was not fitted to.
        usual_factor: The same for nine in ten.
    """

    image_shape: tuple[int, int, int]
    seconds: Mapping[str, float]
    networks: int
    typical_factor: float
    usual_factor: float

    def predict(self, work: Work) -> float:
        """Return the seconds that a network with this work takes for one image."""
        return sum(amount * self.seconds[kind] for kind, amount in zip(KINDS, work.amounts(), strict=True))

    def describe(self) -> str:
        """Say how sure the predictions are."""
        return (
            f"latency is predicted from {self.networks} networks that were timed on this machine, within a factor of "
            f"{self.usual_factor:.2f} for nine in ten that were not (half are within {self.typical_factor:.2f}); "
            f"that of each trial was measured."
        )

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        write_text(path, json.dumps(asdict(self), indent=2))


def read_latency(path: Path) -> Latency:
    """Return what was kept in a file."""
    kept = json.loads(path.read_text("utf-8"))
    return Latency(**{**kept, "image_shape": tuple(kept["image_shape"])})


def read_limit(value: object) -> float | None:
    """Return a limit in seconds, which may be written as "5ms" or "0.1s".

    Raises:
        SettingError: It is none.
    """
    if isinstance(value, str):
        try:
            value = read_seconds(value)
        except ValueError as error:
            raise SettingError(f"max_latency: {error}") from None
    limit: float | None = checked("max_latency", LIMIT, value)
    return limit


def learn(amounts: Sequence[Sequence[int]], times: Sequence[float], image_shape: tuple[int, int, int]) -> Latency:
    """Return what predicts the times of networks with these amounts of work.

    Args:
        amounts: By network, how much there is of each kind in `KINDS`.
        times: By network, the seconds that it took.
        image_shape: Height, width and channels of the images.
    """
    work, seconds = np.asarray(amounts, float), np.asarray(times, float)
    factors = held_out_factors(work, seconds)
    return Latency(
        image_shape=image_shape,
        seconds=dict(zip(KINDS, map(float, fit_seconds(work, seconds)), strict=True)),
        networks=len(seconds),
        typical_factor=float(np.median(factors)),
        usual_factor=float(np.quantile(factors, 0.9)),
    )


def fit_seconds(work: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return what each kind of work takes, none less than nothing, so that relative errors are least in square."""
    from scipy.optimize import nnls  # noqa: PLC0415 - only where something is calibrated

    scale = np.maximum(work.max(axis=0), 1.0)
    found, _ = nnls(work / scale / seconds[:, None], np.ones(len(seconds)))
    needed: np.ndarray = found / scale
    return needed


def held_out_factors(work: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return by what factor each network's time is off, predicted from the others' (in eight parts)."""
    part = np.arange(len(seconds)) % PARTS
    predicted = np.empty(len(seconds))
    for held_out in range(PARTS):
        fitted = fit_seconds(work[part != held_out], seconds[part != held_out])
        predicted[part == held_out] = work[part == held_out] @ fitted
    ratio = np.maximum(predicted, 1e-9) / seconds
    factors: np.ndarray = np.maximum(ratio, 1 / ratio)
    return factors


def predictor(
    limit: float | None,
    against: str | None,
    image_shape: tuple[int, int, int],
    threads: int,
    observer: Observer | None,
) -> Latency | None:
    """Return what predicts the latency of a sweep's candidates, or None where none is limited or searched for.

    Args:
        limit: The most seconds that are allowed, if any.
        against: The cost that is searched for together with the score, if any.
        image_shape: Height, width and channels of the images.
        threads: Threads of a trial.
        observer: Told what is being done.
    """
    if limit is None and against != "latency":
        return None
    return calibrated(image_shape, threads, observer.doing if observer is not None else None)


def calibrated(
    image_shape: tuple[int, int, int], threads: int = 1, tell: Callable[[str], None] | None = None
) -> Latency:
    """Return what predicts latencies on this machine, as it was measured before or, in about a minute, now.

    It is measured in a process of its own, with as many threads as trials have, and kept for this machine.

    Args:
        image_shape: Height, width and channels of the images.
        threads: Threads of a network.
        tell: Told what is being done.

    Raises:
        TrainingError: No networks could be timed.
    """
    kept = ""
    for line in lines_of(image_shape, threads):
        said = json.loads(line)
        kept = said.get("kept", "")
        if tell is not None and "timed" in said:
            tell(f"measuring this machine once: network {said['timed']} of {said['of']}")
    return read_latency(Path(kept))


def lines_of(image_shape: tuple[int, int, int], threads: int) -> Iterator[str]:
    """Yield what the process prints that times networks."""
    command = [sys.executable, "-m", "tuning.candidates.timing", *map(str, (*image_shape, threads))]
    limited = dict.fromkeys(THREADS, str(threads))
    environment = {**os.environ, **limited, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            try:
                yield from process.stdout or ()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise TrainingError(f"the latency of networks cannot be measured on this machine: {last}")


def keep_latency(latency: Latency | None, place: Path) -> Latency | None:
    """Keep with a sweep what it predicts with, and return that which it began with."""
    if latency is None:
        return None
    kept = place / LATENCY
    if not kept.exists():
        latency.write(kept)
    return read_latency(kept)


def latency_notes(latency: Latency | None, limit: float | None, best: Run | None) -> tuple[str, ...]:
    """Say how sure the predictions of a sweep were, and how long its best network really takes.

    Args:
        latency: What predicted, if anything did.
        limit: The most seconds that were allowed.
        best: The best run.
    """
    if latency is None:
        return ()
    notes = [latency.describe()]
    if best is not None and "latency" in best.metrics:
        measured = best.metrics["latency"]
        above = f", more than the {human_seconds(limit)} allowed" if limit and measured > limit else ""
        notes.append(f"the best network takes {human_seconds(measured)} for an image{above}.")
    return tuple(notes)
