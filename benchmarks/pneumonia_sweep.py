"""A sweep over DenseNet on PneumoniaMNIST whose driver is killed with -9 half-way and resumed.

    python benchmarks/pneumonia_sweep.py pneumoniamnist_trainval.npz

Prints how many trials it ended with, the best validation AUC, the wall time of both parts together, and the
utilisation: seconds inside `fit` over cores times wall time, start-up of Ray and TensorFlow included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tuning.running.journal import Journal


def main() -> None:
    """Sweep, kill, resume, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="PneumoniaMNIST as an .npz file")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--growth-rate", type=int, default=8, help="fixed, which bounds the cost; default: 8")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = [
            sys.executable, "-m", "keras_cnns", "sweep", "densenet", "--data", arguments.data, "--allow-leaks",
            "--trials", str(arguments.trials), "--epochs", str(arguments.epochs), "--seed", str(arguments.seed),
            "--set", "monitor=val_auc", "--set", f"growth_rate={arguments.growth_rate}",
            "--folder", place, "--tracking-uri", f"sqlite:///{place}/mlflow.db", "--json",
        ]  # fmt: skip
        begun = time.perf_counter()
        ended = kill_half_way(command, folder, arguments.trials // 2)
        print(f"killed after {time.perf_counter() - begun:.0f} s with {ended} trials ended", flush=True)
        done = subprocess.run([*command, "--resume"], stdout=subprocess.PIPE, text=True, check=True)
        wall = time.perf_counter() - begun
        result = json.loads(done.stdout.splitlines()[-1])
    trials = result["trials"]
    best = max(trial["val_auc"] or 0 for trial in trials)
    spent = sum(trial["seconds"] or 0 for trial in trials)
    cores = os.cpu_count() or 1
    print(f"{len(trials)} trials, {sum(trial['status'] == 'stopped' for trial in trials)} of them stopped early")
    print(f"best validation AUC {best:.4f}")
    print(f"wall time {wall:.0f} s; utilisation {spent / (cores * wall):.0%} of {cores} cores")
    print(f"utilisation of the resumed part alone {result['utilization']:.0%}")


def kill_half_way(command: list[str], folder: Path, trials: int) -> int:
    """Start a sweep and kill its driver with -9 once some trials have ended; return how many had."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for path in folder.glob("sweeps/*/journal.jsonl"):
            ended = sum(state.ended for state in Journal(path).trials().values())
            if ended >= trials:
                process.kill()
                process.wait()
                return ended
        time.sleep(0.2)
    raise SystemExit("the sweep ended before it could be killed")


if __name__ == "__main__":
    main()
