"""CPU time of drawing, counting and rejecting a candidate, for each family and for all families.

python benchmarks/rejecting.py
"""

from __future__ import annotations

import argparse
import random
import time

from keras_cnns import Recipe
from keras_cnns.networks.registry import all_families
from tuning.candidates.space import Limits, make_space


def main() -> None:
    """Print the mean and the slowest of each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--image-size", type=int, default=64)
    arguments = parser.parse_args()
    shape = (arguments.image_size, arguments.image_size, 3)
    for name in (*all_families(), "all"):
        space = make_space(name, recipe=Recipe(), image_shape=shape, classes=10, limits=Limits(parameters=200_000))
        source = random.Random(0)  # noqa: S311
        times, rejected = [], 0
        for _ in range(arguments.candidates):
            begun = time.process_time()
            candidate = space.make_candidate(space.draw_values(source))
            rejected += candidate is None or space.excess(candidate) > 0
            times.append(1000 * (time.process_time() - begun))
        print(f"{name:10} mean {sum(times) / len(times):.3f} ms, slowest {max(times):.3f} ms; "
              f"{rejected} of {len(times)} rejected")  # fmt: skip


if __name__ == "__main__":
    main()
