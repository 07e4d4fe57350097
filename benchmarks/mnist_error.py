"""Test error and time of the modern LeNet-5 on MNIST, with `keras-cnns train`, over several seeds.

    python benchmarks/mnist_error.py mnist.npz

The recipe was settled on validation images; each training looks at the test images once, at its end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

RECIPES = {
    "none": ("--epochs", "15"),
    "light": ("--epochs", "30", "--set", "augmentation=light", "--set", "ema=0.99"),
}


def main() -> None:
    """Train with each seed and print the mean test error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="MNIST as an .npz file with a test split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--augmentation", choices=list(RECIPES), default="light")
    arguments = parser.parse_args()
    errors, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        keeping = ("--folder", folder, "--tracking-uri", f"sqlite:///{folder}/mlflow.db")
        for seed in range(arguments.seeds):
            begun = time.perf_counter()
            command = (sys.executable, "-m", "keras_cnns", "train", "lenet5", "--data", arguments.data, *keeping)
            how = (*RECIPES[arguments.augmentation], "--seed", str(seed), "--test", "--json")
            done = subprocess.run((*command, *how), capture_output=True, text=True, check=True)
            times.append(time.perf_counter() - begun)
            found = json.loads(done.stdout)
            errors.append(1 - found["test_accuracy"])
            print(
                f"seed {seed}: test error {errors[-1]:.2%}, validation error {1 - found['best_val_accuracy']:.2%}, "
                f"{times[-1]:.0f} s of which {found['seconds']:.0f} s in fit",
                flush=True,
            )
    print(f"mean test error {statistics.mean(errors):.2%} of {len(errors)} seeds; longest run {max(times):.0f} s")


if __name__ == "__main__":
    main()
