"""Who stops the trials that fall behind.

The rules are Ray Tune's. They are told each epoch of each trial once, in the order of the journal: a sweep that goes on
after a kill tells its rule the journal first, after which the rule knows what it knew and decides as it would have.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from keras_cnns.networks.recipe import Recipe
from tuning.running.journal import SEARCH, JournalCallback
from tuning.running.workarounds import NoLiveTrials

SCHEDULERS = ("asha", "hyperband", "median", "none")
REDUCTION = 3  # of those that come to a rung, one in three goes on (Li et al. 2020)
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Member:
    """A trial as a rule knows it: by its number, which outlives Tune's own trials."""

    number: int

    @property
    def trial_id(self) -> str:
        """What Ray's rules tell trials apart by."""
        return str(self.number)


class EarlyStopping(FIFOScheduler):
    """Stops trials by rules of Ray's, each of which compares those trials alone that are given to it.

    Args:
        rules: The rules.
        shares: Which share of the trials each rule is given.
        journal_callback: Knows the trials so far; what its journal holds is told to the rules first.
        monitor: The metric that trials are compared by; more is better.
        seed: Of which trial is given to which rule.
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
        epochs: dict[int, int] = {}
        for event, _ in journal_callback.journal.read():
            if event["event"] == "epoch" and journal_callback.known[event["trial"]].role == SEARCH:
                epochs[event["trial"]] = epochs.get(event["trial"], 0) + 1
                self.tell(event["trial"], epochs[event["trial"]], event["metrics"])

    def place(self, number: int) -> int:
        """Return the place of the rule that a trial is given to: any trials in a row are spread in the shares."""
        return bisect(self.bounds, (self.start + number * GOLDEN) % 1)

    def tell(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell a rule of one epoch, and remember whether it stops the trial."""
        if number in self.stopped:
            return
        rule, member = self.rules[self.place(number)], Member(number)
        if epoch == 1:
            rule.on_trial_add(NoLiveTrials(), member)
        result = {"epoch": epoch, self.monitor: metrics[self.monitor]}
        if rule.on_trial_result(NoLiveTrials(), member, result) == self.STOP:
            self.stopped.add(number)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Decide after an epoch; what is reported again, the rules know already."""
        state = self.journal_callback.known[trial.config["number"]]
        if result["epoch"] == len(state.curve) + 1:
            self.tell(state.number, result["epoch"], result)
        return str(self.STOP if state.number in self.stopped else self.CONTINUE)


def early_stopping(name: str, recipe: Recipe, journal_callback: JournalCallback, *, seed: int) -> Any:
    """Return what stops trials early.

    Args:
        name: "asha": asynchronous successive halving (Li et al. 2020) from a quarter of the epochs on. "hyperband": the
            same from the first epoch on, in brackets of which each spares its trials three times as long as the one
            before (Li et al. 2018). "median": a trial stops whose best score is below the median of what the others
            had on average until then (Golovin et al. 2017), from a quarter of the epochs on. "none":
            no trial is stopped.
        recipe: Epochs of a trial, and the metric that is compared.
        journal_callback: Knows the trials so far.
        seed: Of which trial is in which bracket.
    """
    epochs, grace = recipe.epochs, max(1, recipe.epochs // 4)
    options = {"time_attr": "epoch", "metric": recipe.monitor, "mode": "max"}
    shares = [1.0]
    if epochs == 1 or name == "none":
        return FIFOScheduler()
    if name == "median":
        rules = [MedianStoppingRule(**options, grace_period=grace, hard_stop=True)]
    else:
        starts = [grace] if name == "asha" else bracket_starts(epochs)
        shares = [1.0] if name == "asha" else bracket_shares(len(starts))
        rules = [
            ASHAScheduler(**options, max_t=epochs, grace_period=start, reduction_factor=REDUCTION) for start in starts
        ]
    return EarlyStopping(rules, shares, journal_callback=journal_callback, monitor=recipe.monitor, seed=seed)


def bracket_starts(epochs: int) -> list[int]:
    """Return after how many epochs each bracket of Hyperband first stops trials: 1, 3, 9, ..., and never."""
    rungs = itertools.takewhile(lambda start: start < epochs, (REDUCTION**power for power in itertools.count()))
    return [*rungs, epochs]


def bracket_shares(brackets: int) -> list[float]:
    """Return how many trials each bracket of Hyperband begins with (Li et al. 2018, algorithm 1).

    A bracket that halves its trials s times begins with (s_max + 1) / (s + 1) * 3**s of them, so that all brackets
    train about as many epochs.
    """
    return [brackets / (halvings + 1) * REDUCTION**halvings for halvings in reversed(range(brackets))]
