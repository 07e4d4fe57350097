"""Times small networks of all families, in a process that `tuning.candidates.latency` runs.

It is `python -m tuning.candidates.timing HEIGHT WIDTH CHANNELS THREADS`, and prints a line of JSON for each network
that was timed, and last one that names the file with what was learnt of them.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator

import keras
import tensorflow as tf
from filelock import FileLock

from keras_cnns import Recipe, build
from keras_cnns.errors import SettingError
from keras_cnns.latency import KINDS, Work
from keras_cnns.registry import all_families, tally_network
from keras_cnns.training.job import as_used
from keras_cnns.training.recipe import SEARCH as RECIPE_SEARCH
from keras_cnns.training.speed import file_of, machine, seconds_an_image
from tuning.candidates.latency import Latency, learn
from tuning.candidates.space import Candidate, make_space

EACH = 8  # networks of a family
FEWEST = 2 * len(KINDS)
CLASSES = 10
LONGEST = 50.0  # seconds, where there are networks enough


def main() -> None:
    """Time networks unless that was done, and print where the result is."""
    height, width, channels, threads = map(int, sys.argv[1:])
    shape = (height, width, channels)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    known = file_of("latency", {"image_shape": shape, "kinds": KINDS, **machine()})
    with FileLock(known.with_suffix(".lock")):
        if not known.exists():
            measure(shape).write(known)
    print(json.dumps({"kept": str(known)}), flush=True)


def measure(image_shape: tuple[int, int, int], seed: int = 0) -> Latency:
    """Time networks of all families and return what was learnt of them."""
    begun = time.perf_counter()
    chosen = list(draw_networks(image_shape, seed))
    amounts: list[tuple[int, ...]] = []
    times: list[float] = []
    for candidate in chosen:
        if len(times) >= FEWEST and time.perf_counter() - begun > LONGEST:
            break
        amounts.append(work_of(candidate, image_shape).amounts())
        times.append(time_of(candidate, image_shape))
        print(json.dumps({"timed": len(times), "of": len(chosen)}), flush=True)
    return learn(amounts, times, image_shape)


def draw_networks(image_shape: tuple[int, int, int], seed: int) -> Iterator[Candidate]:
    """Yield networks that fit the images from what families search by themselves, a family after the other."""
    drawn = (draw_of_family(name, image_shape, seed) for name in all_families())
    for round_of_families in itertools.zip_longest(*drawn):
        yield from filter(None, round_of_families)


def draw_of_family(name: str, image_shape: tuple[int, int, int], seed: int) -> list[Candidate]:
    """Return some networks of a family, as many as there are where they are fewer."""
    recipe = Recipe()
    found: list[Candidate] = []
    try:
        fixed = {part: getattr(recipe, part) for part in RECIPE_SEARCH}
        space = make_space(name, recipe=recipe, fixed=fixed, image_shape=image_shape, classes=CLASSES)
        found.extend(candidate for _, candidate in itertools.islice(space.shuffled(seed), EACH))
    except SettingError:
        pass  # no more fit the images
    return found


def work_of(candidate: Candidate, image_shape: tuple[int, int, int]) -> Work:
    """Count what a network has to do."""
    work = Work()
    family = next(family for family in all_families().values() if candidate.model in family.variants)
    tally_network(family, candidate.settings, image_shape, CLASSES, work)
    return work


def time_of(candidate: Candidate, image_shape: tuple[int, int, int]) -> float:
    """Build a network and return the seconds that it takes for one image."""
    keras.backend.clear_session()
    return seconds_an_image(
        build(candidate.model, input_shape=image_shape, classes=CLASSES, **as_used(candidate.settings))
    )


if __name__ == "__main__":
    main()
