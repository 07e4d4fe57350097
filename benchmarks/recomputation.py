"""Peak memory and time of a training step of DenseNet (L = 100, k = 12) with and without recomputation.

    python benchmarks/recomputation.py

Each runs in a separate process. Memory that the process uses before its first step is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

STEP = """
import json, os, resource, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from keras_cnns import build
model = build("densenet-100", recompute=sys.argv[1] == "True")
model.compile("sgd", "sparse_categorical_crossentropy")
batch = int(sys.argv[2])
images, labels = np.random.default_rng(0).random((batch, 32, 32, 3), "float32"), np.arange(batch) % 10
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
for _ in range(4):
    begun = time.perf_counter()
    model.train_on_batch(images, labels)
    times.append(time.perf_counter() - begun)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"memory": (after - before) / 2**20, "seconds": sorted(times[1:])[1]}))
"""


def main() -> None:
    """Print memory and time of both, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    batch = parser.parse_args().batch
    found = {}
    for recompute in (False, True):
        command = [sys.executable, "-c", STEP, str(recompute), str(batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[recompute] = json.loads(done.stdout)
        memory, seconds = found[recompute]["memory"], found[recompute]["seconds"]
        print(f"recompute={recompute}: {memory:.2f} GiB, {seconds:.2f} s per step")
    for name in ("memory", "seconds"):
        print(f"{name}: {found[True][name] / found[False][name]:.2f} of the value without recomputation")


if __name__ == "__main__":
    main()
