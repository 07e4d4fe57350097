"""What each scheduler saves and loses, on recorded learning curves.

    python benchmarks/schedulers.py                       # replays benchmarks/digits_curves.csv, a few seconds
    python benchmarks/schedulers.py --record curves.csv   # trains 40 networks for new curves, about 3 minutes

The file holds random candidates of LeNet on scikit-learn's digits, each trained for twelve epochs, with the validation
accuracy after each epoch. A replayed sweep takes them in a new random order for each seed, two at a time, with equal
times per epoch, and reports each epoch to the schedulers that `keras-cnns sweep` gives to Ray Tune. The score of a
stopped trial is the best of its epochs so far.

Prints medians over the seeds: for sweeps of 16 trials, the number of epochs trained, the best score, and how often it
equals that of the same trials without early stopping; and the best score of sweeps with the budget of eight complete
trials. `asha at 1` stops from the first epoch on, `asha` after a quarter of the epochs.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler

from keras_cnns import Recipe
from keras_cnns.data import load
from tuning import sweep
from tuning.running.journal import Journal, JournalCallback
from tuning.searching.schedulers import REDUCTION, EarlyStopping, make_scheduler

CURVES = Path(__file__).with_name("digits_curves.csv")
RECIPE = Recipe(epochs=12)
SEARCHED = {
    "learning_rate": "1e-4..3e-2",
    "weight_decay": "1e-4..1e-1",
    "batch_size": "32,64,128",
    "optimizer": "sgd,nesterov,adamw",
    "label_smoothing": "0..0.2",
    "warmup": "0..0.4",
}
TRIALS, CORES = 16, 2
BUDGET = 8 * RECIPE.epochs
AT_ONCE = "asha at 1"
REPLAYED = ("none", "asha", AT_ONCE, "hyperband", "median")

Curve = Sequence[float]


def record(path: Path, trials: int) -> None:
    """Train random candidates to their end and write the curve of each."""
    with tempfile.TemporaryDirectory() as place:
        result = sweep(
            "lenet", load("digits", image_size=16), trials=trials, recipe=RECIPE, space=SEARCHED, seed=0, cores=1,
            scheduler="none", folder=place, tracking_uri=f"sqlite:///{place}/mlflow.db",
        )  # fmt: skip
        states = Journal(result.folder / "journal.jsonl").trials()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["values", *(f"epoch_{epoch}" for epoch in range(1, RECIPE.epochs + 1))])
        for state in states.values():
            if len(state.curve) == RECIPE.epochs:
                scores = [round(metrics[RECIPE.monitor], 6) for metrics in state.curve]
                writer.writerow([json.dumps(state.candidate), *scores])


def read(path: Path) -> list[Curve]:
    """Return the scores of each recorded trial, by epoch."""
    with path.open(encoding="utf-8") as file:
        return [[float(row[f"epoch_{epoch}"]) for epoch in range(1, RECIPE.epochs + 1)] for row in csv.DictReader(file)]


def scheduler_of(name: str, seed: int) -> Any:
    """Return a scheduler of a sweep with nothing in its journal, or ASHA that stops from the first epoch on."""
    journal_callback = JournalCallback(Path(), Journal(Path("nowhere")), RECIPE.epochs)
    if name != AT_ONCE:
        return make_scheduler(name, RECIPE, journal_callback, seed=seed)
    rule = ASHAScheduler(
        "epoch", RECIPE.monitor, "max", max_t=RECIPE.epochs, grace_period=1, reduction_factor=REDUCTION
    )
    return EarlyStopping([rule], [1.0], journal_callback=journal_callback, monitor=RECIPE.monitor, seed=seed)


def replay(name: str, curves: Sequence[Curve], seed: int, budget: float = float("inf")) -> tuple[int, float]:
    """Return how many epochs a sweep over some curves trains, and the best score that it sees.

    Args:
        name: The scheduler's.
        curves: Those of the trials, in the order in which they begin.
        seed: The sweep's.
        budget: After how many epochs it ends.
    """
    scheduler = scheduler_of(name, seed)
    rules = scheduler if isinstance(scheduler, EarlyStopping) else None
    running = [(1, number, 1) for number in range(min(CORES, len(curves)))]
    begun, epochs, best = len(running), 0, 0.0
    while running and epochs < budget:
        now, number, epoch = heapq.heappop(running)
        epochs, best = epochs + 1, max(best, curves[number][epoch - 1])
        if rules is not None:
            rules.report(number, epoch, {RECIPE.monitor: curves[number][epoch - 1]})
        if epoch < RECIPE.epochs and not (rules is not None and number in rules.stopped):
            heapq.heappush(running, (now + 1, number, epoch + 1))
        elif begun < len(curves):
            heapq.heappush(running, (now + 1, begun, 1))
            begun += 1
    return epochs, best


def main() -> None:
    """Record curves, or replay them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--record", type=Path, metavar="FILE.csv")
    parser.add_argument("--trials", type=int, default=40, help="to record; default: 40")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record, arguments.trials)
        return
    curves = read(arguments.curves)
    best = [max(curve) for curve in curves]
    print(f"{len(curves)} trainings, best {max(best):.4f}, median {statistics.median(best):.4f}")
    orders = [random.Random(seed).sample(curves, len(curves)) for seed in range(arguments.repeats)]  # noqa: S311
    whole = [max(map(max, order[:TRIALS])) for order in orders]
    print(f"{'':10} {TRIALS} trials: epochs, best score, as good as none | best score within {BUDGET} epochs")
    for name in REPLAYED:
        found = [replay(name, order[:TRIALS], seed) for seed, order in enumerate(orders)]
        limited = [replay(name, order, seed, BUDGET)[1] for seed, order in enumerate(orders)]
        epochs, scores = (statistics.median(column) for column in zip(*found, strict=True))
        same = sum(score == of_all for (_, score), of_all in zip(found, whole, strict=True))
        print(f"{name:10} {epochs:.0f} of {TRIALS * RECIPE.epochs}, {scores:.4f}, in {same} of {arguments.repeats} | "
              f"{statistics.median(limited):.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
