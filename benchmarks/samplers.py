"""TPE compared with random search at equal numbers of trials, on a table of recorded trainings.

    python benchmarks/samplers.py                      # compares, on benchmarks/lenet_on_digits.csv
    python benchmarks/samplers.py --record table.csv   # trains 104 networks for a new table, about 5 minutes

The table holds random candidates of LeNet on scikit-learn's digits, each trained once for three epochs, with its best
validation accuracy. The accuracy of candidates that are not in the table is predicted by a Gaussian process fitted to
the logits of those that are, as in surrogate benchmarks of hyperparameter search (Eggensperger et al. 2015). The
comparison is therefore on a smooth model of real trainings without their noise; the cross-validated R2 shows how good
the model is. Costs are exact, counted from the settings.

Prints, for several numbers of trials, medians over 20 seeds: the best predicted score so far, and for the search for
score and parameters the hypervolume, i.e. the area covered by score and logarithm of the parameters.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_cnns import Recipe
from keras_cnns.comparing.comparison import pareto_front
from keras_cnns.data import load
from keras_cnns.networks.registry import count_network
from keras_cnns.networks.settings import Choice
from tuning import sweep
from tuning.candidates.space import Space, Values, make_space
from tuning.running.journal import FINISHED, Journal, TrialState
from tuning.searching.samplers import make_sampler

TABLE = Path(__file__).with_name("lenet_on_digits.csv")
SIDE, CLASSES = 16, 10
RECIPE = Recipe(epochs=3)
SEARCHED = {
    "learning_rate": "1e-4..3e-2",
    "weight_decay": "1e-4..1e-1",
    "batch_size": "16,32,64,128",
    "optimizer": "sgd,nesterov,adamw",
    "label_smoothing": "0..0.2",
    "warmup": "0..0.4",
}
TRIALS = (15, 20, 30, 40, 60)
LARGEST = 6.0  # the logarithm of the parameters up to which areas are measured


def lenets() -> Space:
    """Return the space of the table."""
    return make_space("lenet", recipe=RECIPE, space=SEARCHED, image_shape=(SIDE, SIDE, 1), classes=CLASSES)


def record(path: Path, trials: int) -> None:
    """Train random candidates and write what each reached."""
    with tempfile.TemporaryDirectory() as place:
        result = sweep(
            "lenet", load("digits", image_size=SIDE), trials=trials, recipe=RECIPE, space=SEARCHED, seed=0, cores=1,
            scheduler="none", folder=place, tracking_uri=f"sqlite:///{place}/mlflow.db",
        )  # fmt: skip
        states = Journal(result.folder / "journal.jsonl").trials()
    rows = [
        {"score": max(metrics["val_accuracy"] for metrics in state.curve), "values": json.dumps(state.candidate)}
        for state in states.values()
        if state.curve
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["score", "values"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def encoded(space: Space, values: Values) -> list[float]:
    """Write a candidate as numbers: choices by their place, ranges in the logarithm where they are searched so."""
    numbers = []
    for name, domain in space.domains_of(values["model"]).items():
        if isinstance(domain, Choice):
            numbers.append(float(domain.values.index(domain.check(values[name]))))
        else:
            numbers.append(math.log(values[name]) if getattr(domain, "log", False) else float(values[name]))
    return numbers


class Table:
    """Predicts what a candidate would reach."""

    def __init__(self, path: Path) -> None:
        self.space = lenets()
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.scores = np.array([float(row["score"]) for row in rows])
        inputs = np.array([encoded(self.space, json.loads(row["values"])) for row in rows])
        scales = np.full(inputs.shape[1], 3.0)
        kernel = ConstantKernel() * RBF(scales, (0.1, 1e3)) + WhiteKernel(0.1, (1e-3, 10))
        process = make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))
        warnings.simplefilter("ignore", ConvergenceWarning)  # a setting without influence has an endless scale
        reached = logit(np.clip(self.scores, 0.001, 0.999))
        predicted = cross_val_predict(process, inputs, reached, cv=10)
        self.quality = r2_score(reached, predicted)
        process.fit(inputs, reached)
        self.score = functools.cache(lambda key: float(expit(process.predict([list(key)])[0])))

    def search(self, kind: str, seed: int, cost: str | None) -> list[tuple[float, float]]:
        """Return the logarithm of the parameters and the score of each trial of a search."""
        sampler = make_sampler(kind, self.space, seed=seed, cost=cost)
        states: dict[int, TrialState] = {}
        points = []
        for number in range(max(TRIALS)):
            values = dict(sampler.propose(states))
            score = self.score(tuple(encoded(self.space, values)))
            parameters = self.parameters(values)
            curve, costs = [{"val_accuracy": score, "seconds": 0.0}], {"parameters": float(parameters)}
            states[number] = TrialState(number, status=FINISHED, candidate=values, curve=curve, costs=costs)
            points.append((math.log10(parameters), score))
        return points

    def parameters(self, values: Values) -> int:
        """Count the parameters of a candidate."""
        candidate = self.space.make_candidate(values)
        if candidate is None:
            raise SystemExit(f"these values do not fit each other: {values}")
        family = self.space.branches[candidate.model].family
        return count_network(family, candidate.settings, self.space.image_shape, self.space.classes).total_parameters


def area(points: Sequence[tuple[float, float]]) -> float:
    """Return the area between the front of some points and no score at the largest cost."""
    front = [points[index] for index in pareto_front(points)]
    ends = [*(cost for cost, _ in front[1:]), LARGEST]
    return sum((end - cost) * score for (cost, score), end in zip(front, ends, strict=True))


def main() -> None:
    """Record a table, or compare on one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--record", type=Path, metavar="FILE.csv")
    parser.add_argument("--trials", type=int, default=104, help="of the table; default: 104")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record, arguments.trials)
        return
    table = Table(arguments.table)
    print(f"{len(table.scores)} trainings, best {table.scores.max():.4f}, median {np.median(table.scores):.4f}; "
          f"cross-validated R2 of the prediction {table.quality:.2f}")  # fmt: skip
    for title, cost, measure in (
        ("best score", None, lambda points: max(score for _, score in points)),
        ("hypervolume of score against parameters", "parameters", area),
    ):
        found = {
            kind: [table.search(kind, seed, cost) for seed in range(arguments.repeats)] for kind in ("random", "tpe")
        }
        print(title)
        for trials in TRIALS:
            values = {kind: [measure(points[:trials]) for points in searches] for kind, searches in found.items()}
            better = sum(tpe > chance for tpe, chance in zip(values["tpe"], values["random"], strict=True))
            medians = {kind: statistics.median(of_kind) for kind, of_kind in values.items()}
            print(f"  {trials:3} trials: random {medians['random']:.4f}, tpe {medians['tpe']:.4f}; "
                  f"tpe better in {better} of {arguments.repeats}")  # fmt: skip


if __name__ == "__main__":
    main()
