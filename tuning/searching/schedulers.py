"""Schedulers: early stopping of trials, by rules of Ray Tune.

A rule receives each epoch of each trial once, in the order of the journal. When a sweep is resumed, the rules are first
replayed from the journal, after which they decide as they would have without the interruption.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from keras_cnns.networks.recipe import Recipe
from tuning.running.journal import SEARCH, JournalCallback
from tuning.running.workarounds import NoLiveTrials

SCHEDULERS = ("asha", "hyperband", "median", "none")
REDUCTION = 3  # one in three trials continues at each rung (Li et al. 2020)
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class ReplayedTrial:
    """A stand-in for Tune's trial objects, which do not outlive the process."""

    trial_id: str


class EarlyStopping(FIFOScheduler):
    """Stops trials by one or more rules, each of which compares only the trials that are assigned to it.

    Args:
        rules: Schedulers of Ray Tune.
        shares: The share of trials that is assigned to each rule.
        journal_callback: Holds the trials so far; the rules are replayed from its journal.
        monitor: The metric that trials are compared by; higher is better.
        seed: Seed of the assignment of trials to rules.
    """

    def __init__(
        self,
        rules: Sequence[Any],
        shares: Sequence[float],
        *,
        journal_callback: JournalCallback,
        monitor: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.rules = rules
        self.bounds = [share / sum(shares) for share in itertools.accumulate(shares)][:-1]
        self.journal_callback = journal_callback
        self.monitor = monitor
        self.start = random.Random(seed).random()  # noqa: S311
        self.stopped: set[int] = set()
        epochs: Counter[int] = Counter()
        for event, _ in journal_callback.journal.read():
            number = event["trial"]
            if event["event"] == "epoch" and journal_callback.states[number].role == SEARCH:
                epochs[number] += 1
                self.report(number, epochs[number], event["metrics"])

    def rule_index(self, number: int) -> int:
        """Return the index of a trial's rule; any consecutive trials are distributed according to the shares."""
        return bisect(self.bounds, (self.start + number * GOLDEN_RATIO) % 1)

    def report(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Report an epoch to the trial's rule, and remember whether the rule stops the trial."""
        if number in self.stopped:
            return
        rule, trial = self.rules[self.rule_index(number)], ReplayedTrial(str(number))
        if epoch == 1:
            rule.on_trial_add(NoLiveTrials(), trial)
        result = {"epoch": epoch, self.monitor: metrics[self.monitor]}
        if rule.on_trial_result(NoLiveTrials(), trial, result) == self.STOP:
            self.stopped.add(number)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Decide after an epoch; epochs that are reported again are ignored."""
        state = self.journal_callback.states[trial.config["number"]]
        if result["epoch"] == len(state.curve) + 1:
            self.report(state.number, result["epoch"], result)
        return str(self.STOP if state.number in self.stopped else self.CONTINUE)


def make_scheduler(name: str, recipe: Recipe, journal_callback: JournalCallback, *, seed: int) -> Any:
    """Return a scheduler.

    Args:
        name: "asha": asynchronous successive halving (Li et al. 2020) from a quarter of the epochs on. "hyperband": the
            same from the first epoch on, in brackets that first stop trials after 1, 3, 9, ... epochs (Li et al. 2018).
            "median": stops a trial whose best score is below the median of the running averages of the other trials
            (Golovin et al. 2017), from a quarter of the epochs on. "none": stops no trial.
        recipe: Determines the epochs of a trial and the metric to compare.
        journal_callback: Holds the trials so far.
        seed: Seed of the assignment of trials to brackets.
    """
    epochs, grace = recipe.recorded_epochs, max(1, recipe.epochs // 4)
    options = {"time_attr": "epoch", "metric": recipe.monitor, "mode": "max"}
    if epochs == 1 or name == "none":
        return FIFOScheduler()
    shares = [1.0]
    if name == "median":
        rules = [MedianStoppingRule(**options, grace_period=grace, hard_stop=True)]
    else:
        starts = [grace]
        if name == "hyperband":
            starts = bracket_starts(epochs)
            shares = bracket_shares(len(starts))
        rules = [
            ASHAScheduler(**options, max_t=epochs, grace_period=start, reduction_factor=REDUCTION) for start in starts
        ]
    return EarlyStopping(rules, shares, journal_callback=journal_callback, monitor=recipe.monitor, seed=seed)


def bracket_starts(epochs: int) -> list[int]:
    """Return the epoch at which each bracket of Hyperband first stops trials: 1, 3, 9, ..., and the last epoch."""
    rungs = itertools.takewhile(lambda start: start < epochs, (REDUCTION**power for power in itertools.count()))
    return [*rungs, epochs]


def bracket_shares(brackets: int) -> list[float]:
    """Return the number of trials that each bracket of Hyperband starts with (Li et al. 2018, algorithm 1).

    A bracket with s rounds of halving starts with (s_max + 1) / (s + 1) * 3**s trials, so that all brackets train about
    the same number of epochs.
    """
    return [brackets / (halvings + 1) * REDUCTION**halvings for halvings in reversed(range(brackets))]
