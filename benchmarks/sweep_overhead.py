"""Overhead of a sweep: 1,000 trials that train nothing, on digits.

    python benchmarks/sweep_overhead.py

Each trial reports one epoch with invented metrics, so that all time is overhead: proposing candidates, the journal,
Ray, Tune, the scheduler, and recording in MLflow with SQLite. Prints milliseconds per trial and the memory of the
driver during the sweep. Then the sweep is killed with -9 near its end and restarted; the time until the next new trial
is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from ray import tune

from keras_cnns import Recipe
from keras_cnns.data import load
from keras_cnns.tracking import Store
from tuning import execution
from tuning.candidates.space import make_space
from tuning.running.journal import Journal
from tuning.running.sweep_run import SweepConfig, SweepRun, start_sweep


def stub(config: Mapping[str, Any], **shared: Any) -> None:  # noqa: ARG001
    """Report what a training might have."""
    score = random.Random(config["number"]).random()  # noqa: S311
    metrics = {"loss": 1 - score, "accuracy": score, "val_loss": 1 - score, "val_accuracy": score, "val_auc": score}
    tune.report({**metrics, "seconds": 0.0, "epoch": 1, "parameters": 1000, "macs": 1000})


def run_stubs(folder: Path, trials: int, search_name: str) -> None:
    """Run what is left of the trials."""
    execution.run_trial = stub
    dataset = load("digits")
    recipe = Recipe(epochs=1)
    config = SweepConfig(
        space=make_space("densenet", recipe=recipe, image_shape=dataset.image_shape, classes=dataset.classes),
        dataset=dataset,
        trials=trials,
        seed=0,
        scheduler="asha",
        search=search_name,
        cost=None,
    )
    store = Store(f"sqlite:///{folder}/mlflow.db")
    run_id = start_sweep(config, store, "stubs", folder)
    execution.run_trials(SweepRun(config=config, folder=folder, store=store, experiment="stubs", run_id=run_id), None)


def watch(folder: Path, process: subprocess.Popen[bytes], memory: dict[int, float]) -> None:
    """Note the driver's memory in MiB at every hundredth trial."""
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        ended = ended_trials(folder)
        if ended // 100 * 100 not in memory:
            memory[ended // 100 * 100] = driver.memory_info().rss / 2**20
        time.sleep(0.2)


def ended_trials(folder: Path) -> int:
    """Return how many trials have ended."""
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b'"event": "end"') if journal.exists() else 0


def start(folder: Path, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the sweep in a process of its own."""
    own = ["--trials", str(arguments.trials), "--search", arguments.search]
    return subprocess.Popen([sys.executable, __file__, "--into", str(folder), *own])


def wait_until(folder: Path, ended: int) -> None:
    """Wait until more trials than these have ended."""
    while ended_trials(folder) <= ended:
        time.sleep(0.02)


def main() -> None:
    """Run, kill and resume stubs, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--search", default="random")
    parser.add_argument("--into", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.into:
        run_stubs(Path(arguments.into), arguments.trials, arguments.search)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, memory = Path(name), dict[int, float]()
        process = start(folder, arguments)
        watching = threading.Thread(target=watch, args=(folder, process, memory))
        watching.start()
        wait_until(folder, 10)
        begun, first = time.perf_counter(), ended_trials(folder)
        near_end = arguments.trials - 20
        wait_until(folder, near_end)
        milliseconds = (time.perf_counter() - begun) / (ended_trials(folder) - first) * 1000
        process.kill()
        process.wait()
        watching.join()
        print(f"{milliseconds:.1f} ms a trial, {os.cpu_count()} at a time")
        print("driver's memory in MiB, by trials ended:", json.dumps({at: round(size) for at, size in memory.items()}))
        Journal(folder / "journal.jsonl").repair()
        before, begun = ended_trials(folder), time.perf_counter()
        again = start(folder, arguments)
        wait_until(folder, before)
        print(f"restored with {before} ended trials in {time.perf_counter() - begun:.1f} s, imports and Ray included")
        if again.wait() or ended_trials(folder) != arguments.trials:
            raise SystemExit(f"it ended with {ended_trials(folder)} trials")


if __name__ == "__main__":
    main()
