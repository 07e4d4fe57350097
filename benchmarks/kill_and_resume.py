"""Training that is killed with -9 at random moments and resumed, compared with an uninterrupted one.

    python benchmarks/kill_and_resume.py

The recipe contains everything random: dropout, augmentation, MixUp, CutMix. A kill may happen at any moment between the
start of the process and its end: during an epoch, while a checkpoint is written, or before the first one.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

COMMAND = (
    "train", "densenet-bc-40", "--recipe", "modern", "--epochs", "8", "--json", "--set", "blocks=2,2",
    "--set", "growth_rate=4", "--set", "dropout=0.2", "--set", "cutmix=0.5",
)  # fmt: skip


def command(folder: Path, *more: str) -> tuple[str, ...]:
    """Return the command line of the training."""
    keeping = ("--folder", str(folder / "runs"), "--tracking-uri", f"sqlite:///{folder}/mlflow.db")
    return (sys.executable, "-m", "keras_cnns", *COMMAND, *keeping, *more)


def weights(folder: Path) -> list[np.ndarray]:
    """Return the weights of the best network of a training."""
    (kept,) = folder.glob("runs/*/epoch-*/best.keras")
    return [np.asarray(value) for value in keras.saving.load_model(kept, compile=False).get_weights()]


def main() -> None:
    """Kill and resume, then compare weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, equal = random.Random(arguments.seed), 0  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name, "whole")
        begun = time.perf_counter()
        subprocess.run(command(whole), capture_output=True, check=True)
        seconds = time.perf_counter() - begun
        expected = weights(whole)
        for kill in range(arguments.kills):
            folder, moment = Path(name, str(kill)), chance.uniform(0, seconds)
            process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(moment)
            process.kill()
            process.wait()
            before = sorted(path.name for path in folder.glob("runs/*/epoch-*"))
            begun_once = bool(list(folder.glob("runs/*/job.json")))
            if not list(folder.glob("runs/*/finished")):
                subprocess.run(command(folder, *(("--resume",) if begun_once else ())), capture_output=True, check=True)
            same = all(np.array_equal(one, other) for one, other in zip(expected, weights(folder), strict=True))
            equal += same
            print(
                f"kill {kill + 1} after {moment:.1f} of {seconds:.1f} s, {', '.join(before) or 'before an epoch'}: "
                f"{'equal' if same else 'OTHER'} weights",
                flush=True,
            )
    print(f"equal weights after {equal} of {arguments.kills} kills")


if __name__ == "__main__":
    main()
