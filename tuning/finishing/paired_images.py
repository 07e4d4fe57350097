"""How far the difference of two finalists could be from what it would be on other images like these.

A test over seeds says whether one would come out above the other if both were trained again, on the same validation
images. Other images would give other scores too, so the difference of means over seeds has an interval over images, or
over patients where they are known: the bootstrap of `keras_cnns.evaluation.intervals`, the same draws for all networks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_cnns.data.dataset import Split
from keras_cnns.evaluation.intervals import intervals
from keras_cnns.evaluation.metrics import measures_of
from tuning.finishing.finals import Finalist, Finals


def compare_on_images(finals: Finals, split: Split, predictions: Mapping[int, Sequence[np.ndarray]]) -> Finals:
    """Return the finals with, for each finalist but the first, the interval of the first's lead over images.

    Args:
        finals: The finalists.
        split: The validation images.
        predictions: By finalist, the probabilities that each of its repeats gives the images, shape (images, classes).
    """
    metric = finals.monitor.removeprefix("val_")
    measures = {
        number: [measures_of(split.labels, found) for found in of_repeats]
        for number, of_repeats in predictions.items()
        if all(np.isfinite(found).all() for found in of_repeats)
    }
    first, *others = finals.finalists
    rivals = {str(other.number): other for other in others if {first.number, other.number} <= measures.keys()}
    if not rivals:
        return finals

    def leads(counts: np.ndarray) -> dict[str, np.ndarray]:
        means = {
            number: np.mean([measure(counts)[metric] for measure in measures[number]], axis=0)
            for number in (first.number, *(other.number for other in rivals.values()))
        }
        return {name: means[first.number] - means[other.number] for name, other in rivals.items()}

    found = intervals(leads, len(split), groups=split.patients)
    unit = "images" if split.patients is None else "patients"

    def with_lead(finalist: Finalist) -> Finalist:
        interval = found.get(str(finalist.number))
        return finalist if interval is None else replace(finalist, lead=(interval.low, interval.high))

    told = replace(finals, finalists=(first, *map(with_lead, others)))
    return replace(told, verdict=f"{finals.verdict} {in_words(told, unit)}".rstrip())


def in_words(finals: Finals, unit: str) -> str:
    """Say from which finalists the first's lead would hold on other images."""
    measured = [finalist for finalist in finals.finalists if finalist.lead is not None]
    if not measured:
        return ""
    open_ones = [finalist.name for finalist in measured if finalist.lead is not None and finalist.lead[0] <= 0]
    if not open_ones:
        return f"On other {unit} like these it would be ahead of each too (95 % intervals)."
    return f"On other {unit} like these it could be behind {' and '.join(open_ones)} (95 % intervals)."


def predict_all(
    finals: Finals, images: np.ndarray, network_of: Callable[[int, int], Path], tell: Callable[[str], None] | None
) -> dict[int, list[np.ndarray]]:
    """Return what each repeat of each finalist makes of images.

    Args:
        finals: The finalists.
        images: Shape (images, height, width, channels), uint8.
        network_of: The file of a repeat's network, by finalist and seed.
        tell: Told what is being done.
    """
    import keras  # noqa: PLC0415 - the driver of a sweep loads a backend last

    from keras_cnns.evaluation.network import probabilities  # noqa: PLC0415

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # that each network is traced anew is no news
    found: dict[int, list[np.ndarray]] = {}
    for finalist in finals.finalists:
        for seed in finalist.scores:
            if tell is not None:
                tell(f"{finalist.name}, trained with seed {seed}: validation images")
            network = keras.saving.load_model(network_of(finalist.number, seed), compile=False)
            found.setdefault(finalist.number, []).append(probabilities(network, images))
            keras.backend.clear_session()
    return found
