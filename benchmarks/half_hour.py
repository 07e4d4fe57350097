"""Half an hour on two cores: search all families under 1M parameters on PneumoniaMNIST, refit, and cross-validate.

    python benchmarks/half_hour.py pneumoniamnist_trainval.npz

The sweep validates on part 1 of 5 of the file's images and refits its winner on all of them; that is timed. What the
winner is worth is then measured by training its network and recipe anew, each time with another seed, on other parts
than the one that chose it; the network of the last epoch is kept, so that no look at these images chose anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from keras_cnns.tracking import Run, Store

PARTS = 5


def keras_cnns(*arguments: str) -> Any:
    """Run a command, and return what it prints last."""
    done = subprocess.run(
        [sys.executable, "-m", "keras_cnns", *arguments, "--json"], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.decode().splitlines()[-1])


def as_assignments(values: Mapping[str, str]) -> list[str]:
    """Return settings or a recipe as they are given on a command line."""
    return [argument for name, value in values.items() for argument in ("--set", f"{name}={value}")]


def train_again(winner: Run, part: int, common: Sequence[str]) -> float:
    """Train the winner's network on the other parts; return its validation AUC on this one."""
    how = (*as_assignments(winner.settings), *as_assignments({**winner.recipe, "keep": "last"}))
    found = keras_cnns("train", winner.model, *how, "--fold", f"{part}/{PARTS}", "--seed", str(part), *common)
    auc = float(found["best_val_auc"])
    print(f"part {part}: validation AUC {auc:.4f}, accuracy {found['best_val_accuracy']:.4f}", flush=True)
    return auc


def main() -> None:
    """Sweep and refit within the time, then cross-validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="PneumoniaMNIST as an .npz file")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the sweep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        common = ("--data", arguments.data, "--folder", folder, "--tracking-uri", store)
        begun = time.perf_counter()
        found = keras_cnns(
            "sweep", "all", "--max-parameters", "1M", "--recipe", "modern", "--epochs", str(arguments.epochs),
            "--trials", str(arguments.trials), "--search", "tpe", "--refit", "--fold", f"1/{PARTS}",
            "--seed", str(arguments.seed), *common,
        )  # fmt: skip
        minutes = (time.perf_counter() - begun) / 60
        winner = Store(store).run(found["best_run_id"])
        print(
            f"{len(found['trials'])} trials and the refit in {minutes:.1f} minutes, cores inside fit for "
            f"{found['utilization']:.0%}; the winner is {winner.model} with {winner.metrics['parameters']:,.0f} "
            f"parameters, AUC {winner.metrics['val_auc']:.4f} where it was chosen",
            flush=True,
        )
        print(json.dumps({**winner.settings, **winner.recipe}), flush=True)
        with ThreadPoolExecutor(2) as pool:
            again = range(2, 2 + arguments.seeds)
            aucs = list(pool.map(lambda part: train_again(winner, part, common), again))
    print(f"mean AUC {statistics.mean(aucs):.4f} of {len(aucs)} seeds, each on another part")


if __name__ == "__main__":
    main()
