"""Time of a 5-fold cross-validation with a fold per core, compared with one fold after the other on all cores.

    python benchmarks/cross_validation.py

Both are whole commands, from the start of Python to the metrics, and run alternately. They train the same networks; the
last bits of the weights can differ, because several threads add numbers in another order.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDS = 5


def seconds(arguments: argparse.Namespace, *, together: bool) -> tuple[float, float]:
    """Return the time of a cross-validation and its AUC.

    Args:
        arguments: The images, the network and its training.
        together: Whether each core trains a fold; otherwise all cores train one fold after the other.
    """
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "keras_cnns", "train", arguments.model, "--data", arguments.data, "--leaks", "allow",
            "--epochs", str(arguments.epochs), "--folds", str(FOLDS), "--cores", str(cores),
            "--cores-per-trial", str(1 if together else cores), "--folder", str(Path(folder, "runs")),
            "--tracking-uri", f"sqlite:///{folder}/mlflow.db", "--json",
        ]  # fmt: skip
        for assignment in arguments.set:
            command += ["--set", assignment]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        return time.perf_counter() - begun, json.loads(done.stdout)["out_of_fold"]["metrics"]["auc"]


def main() -> None:
    """Run both alternately, and print the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="images (default: digits)")
    parser.add_argument("--model", default="densenet-bc-40", help="network (default: densenet-bc-40)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--turns", type=int, default=1)
    arguments = parser.parse_args()
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(arguments.turns):
        for together in (False, True):
            spent, auc = seconds(arguments, together=together)
            times[together].append(spent)
            how = "a fold per core" if together else "one by one on all cores"
            print(f"turn {turn + 1}, {how}: {spent:.1f} s, AUC {auc:.4f}, load {os.getloadavg()[0]:.1f}", flush=True)
    ratio = statistics.median(times[False]) / statistics.median(times[True])
    print(f"{FOLDS} folds, a fold per core: {ratio:.2f} times as fast as one by one on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
