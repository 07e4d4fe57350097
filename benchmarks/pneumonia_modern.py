"""The recipe "modern" on PneumoniaMNIST: five seeds on the official validation split, and cross-validation.

    python benchmarks/pneumonia_modern.py pneumoniamnist_trainval.npz

The network of the last epoch is used, so no validation image selects it. The validation split shares 8 images with the
training split (`keras-cnns inspect`), which is allowed here; cross-validation keeps identical images together and uses
a different seed for each fold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

NETWORK = ("resnet-cifar-20",)


def train(arguments: argparse.Namespace, folder: str, name: str, how: Sequence[str]) -> tuple[float, float]:
    """Train once; return validation AUC and accuracy."""
    keeping = ("--folder", folder, "--tracking-uri", arguments.tracking_uri or f"sqlite:///{folder}/mlflow.db")
    command = (sys.executable, "-m", "keras_cnns", "train", *NETWORK, "--recipe", "modern", "--data", arguments.data)
    begun = time.perf_counter()
    done = subprocess.run(
        (*command, *how, *keeping, "--experiment", "pneumonia-modern", "--json"),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(
        f"{name}: validation AUC {found['best_val_auc']:.4f}, accuracy {found['best_val_accuracy']:.4f}, "
        f"{found['parameters']:,} parameters, {time.perf_counter() - begun:.0f} s, run {found['run_id']}",
        flush=True,
    )
    return found["best_val_auc"], found["best_val_accuracy"]


def main() -> None:
    """Train all, and print means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="PneumoniaMNIST as an .npz file")
    parser.add_argument("--runs", type=int, default=5, help="number of seeds and of folds (5)")
    parser.add_argument("--at-once", type=int, default=1, help="number of concurrent trainings (1)")
    parser.add_argument("--tracking-uri", help="MLflow store of the runs; by default a temporary one")
    arguments = parser.parse_args()
    seeds = {f"seed {run}": ("--seed", str(run), "--leaks", "allow") for run in range(arguments.runs)}
    folds = {
        f"fold {run + 1}": ("--seed", str(run), "--fold", f"{run + 1}/{arguments.runs}")
        for run in range(arguments.runs)
    }
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.at_once) as pool:
        for title, runs in (("seeds", seeds), ("cross-validation", folds)):
            found = list(pool.map(lambda item: train(arguments, folder, *item), runs.items()))
            aucs, accuracies = zip(*found, strict=True)
            print(f"{title}: mean AUC {statistics.mean(aucs):.4f}, mean accuracy {statistics.mean(accuracies):.4f}")


if __name__ == "__main__":
    main()
