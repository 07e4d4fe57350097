"""One run's network, or the networks of several runs that answer as one: the mean of their probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.calibration import settled_by_validation
from keras_cnns.evaluation.metrics import Threshold
from keras_cnns.evaluation.network import RunNetwork, Tell, by, open_kept, read_threshold
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import best_trial, chosen, monitored, sweep_of


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What images are decided by, and how probabilities are scaled.

    Attributes:
        threshold: From which probability on, see `decide`.
        temperature: What the logits are divided by; None where nothing settles it.
        where: The images that settled both, in words.
    """

    threshold: Threshold
    temperature: float | None
    where: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """Networks that answer as one; mostly there is only one.

    Attributes:
        members: The networks; the first one's classes count, in its order.
        notes: How a run was found that is not the one that was named.
    """

    members: tuple[RunNetwork, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> RunNetwork:
        """The network that the result is kept with."""
        return self.members[0]

    @property
    def single(self) -> bool:
        """Whether this is one network only."""
        return len(self.members) == 1

    @property
    def knows_validation(self) -> bool:
        """Whether one of them was trained on validation images too."""
        return any(member.run.knows_validation for member in self.members)

    @cached_property
    def key(self) -> str:
        """Tells these members, in any order, from any others; "" for one network."""
        joined = " ".join(sorted(member.run.id for member in self.members))
        return "" if self.single else hashlib.sha256(joined.encode()).hexdigest()[:8]

    def probabilities(self, images: np.ndarray, *, views: int = 1, tell: Tell | None = None) -> np.ndarray:
        """Return the mean over members of the probabilities, shape (images, classes)."""
        names = self.first.class_names
        of_members = [
            member.probabilities(images, views=views, tell=tell)[:, matched(names, member.class_names)]
            for member in self.members
        ]
        return np.asarray(np.mean(of_members, axis=0))

    def carried(self) -> Settled:
        """Return what earlier validation images settled.

        Of several networks that is what an evaluation on their own images settled for just these; where there was
        none, the mean of their thresholds and no temperature.
        """
        first, names = self.first, self.first.class_names
        if self.single:
            return Settled(
                threshold=first.threshold, temperature=first.temperature, where="the run's validation images"
            )
        prefix = f"ensemble_{self.key}_"
        for member in self.members:
            known = {
                name.removeprefix(prefix): value
                for name, value in member.run.metrics.items()
                if name.startswith(prefix)
            }
            if known:
                threshold = read_threshold(known, len(names), multi_label=first.multi_label)
                where = "the runs' validation images, for these networks together"
                return Settled(threshold=threshold, temperature=known.get("temperature"), where=where)
        return Settled(threshold=self.mean_threshold(), temperature=None, where="each run's validation images: a mean")

    def mean_threshold(self) -> Threshold:
        """Return the mean of the members' thresholds; None where one of two classes has none."""
        names = self.first.class_names
        if self.first.multi_label:
            rows = [np.array(member.threshold)[matched(names, member.class_names)] for member in self.members]
            return tuple(np.mean(rows, axis=0).tolist())
        known = [member.threshold for member in self.members if isinstance(member.threshold, float)]
        return float(np.mean(known)) if len(known) == len(self.members) else None

    def settle(self, dataset: Dataset, *, views: int, tell: Tell | None = None) -> Settled:
        """Settle threshold and temperature on the validation images of the runs' own data, as they are used here."""
        validation = dataset.splits["validation"]
        found = settled_by_validation(
            to_classes(validation.labels, dataset.class_names, self.first.class_names),
            self.probabilities(validation.images, views=views, tell=tell),
        )
        threshold = read_threshold(found, len(self.first.class_names), multi_label=self.first.multi_label)
        used = [] if self.single else ["for these networks together"]
        used += [f"with {views} views"] if views > 1 else []
        where = f"the validation images, {', '.join(used)}"
        return Settled(threshold=threshold, temperature=found.get("temperature"), where=where)

    def as_metrics(self, settled: Settled) -> dict[str, float]:
        """Return what was settled for several networks together, by the names that `carried` looks for."""
        found: dict[str, float] = {}
        if isinstance(settled.threshold, tuple):
            found = {f"threshold_{label}": value for label, value in enumerate(settled.threshold)}
        elif settled.threshold is not None:
            found = {"threshold": settled.threshold}
        if settled.temperature is not None:
            found["temperature"] = settled.temperature
        return {f"ensemble_{self.key}_{name}": value for name, value in found.items()}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run that was meant.

    Attributes:
        run: The run.
        note: What has to be said where it is the best trial of a sweep that was named; "" otherwise.
    """

    run: Run
    note: str = ""


def find_runs(store: Store, references: str | Sequence[str]) -> tuple[Found, ...]:
    """Return the runs that are meant.

    Args:
        store: The store.
        references: A run as `Store.run` finds it, or the id of a sweep, which stands for its best trial; or several.

    Raises:
        StoreError: There is no such run.
        EvaluationError: None is named, or one twice, or no trial of a sweep has finished.
    """
    named = [references] if isinstance(references, str) else list(references)
    if not named:
        raise EvaluationError("no run is named: name one, or several that answer together.")
    runs = store.runs()
    found = tuple(find_run(reference, runs, store.location) for reference in named)
    ids = [one.run.id for one in found]
    twice = next((run_id for run_id in ids if ids.count(run_id) > 1), None)
    if twice is not None:
        raise EvaluationError(f"run {twice} is named twice; an ensemble needs runs that differ.")
    return found


def find_run(reference: str, runs: Sequence[Run], location: str) -> Found:
    """Return the run that is meant; of a sweep the trial that it has chosen."""
    sweep = sweep_of(reference, runs)
    if sweep is None:
        return Found(run=chosen(reference, runs, location))
    best = best_trial(sweep, runs)
    if best is None:
        raise EvaluationError(
            f"{reference} is a sweep of which no trial has finished; go on with it by `keras-cnns sweep --resume`."
        )
    trials = sum(run.parent == sweep and run.tags.get("role", "search") == "search" for run in runs)
    reached = f"{monitored(best)} {best.metrics[monitored(best)]:.4f}"
    return Found(run=best, note=f"{sweep} is a sweep; this is its best trial of {trials}, {best.name}, by {reached}.")


def open_ensemble(store: Store, found: Sequence[Found], *, tell: Tell | None = None) -> Ensemble:
    """Return the networks of runs.

    Args:
        store: The store.
        found: The runs.
        tell: Told which one is opened.

    Raises:
        StoreError: A run has kept no network.
        EvaluationError: A network cannot be loaded, or they cannot answer together.
    """
    members = []
    for one in found:
        if tell is not None:
            tell(f"opening the network of run {one.run.id[:8]}")
        members.append(open_kept(store, one.run))
    for member in members[1:]:
        check_together(members[0], member)
    return Ensemble(members=tuple(members), notes=tuple(one.note for one in found if one.note))


def check_together(first: RunNetwork, other: RunNetwork) -> None:
    """Raise an `EvaluationError` where two networks cannot answer as one."""
    runs = f"runs {first.run.id} and {other.run.id} cannot answer together"
    if first.image_shape != other.image_shape:
        raise EvaluationError(
            f"{runs}: they take images of {by(first.image_shape)} and {by(other.image_shape)}; name runs trained on "
            f"images of one size."
        )
    if sorted(first.class_names) != sorted(other.class_names) or first.multi_label != other.multi_label:
        raise EvaluationError(
            f"{runs}: they tell apart {', '.join(first.class_names[:5])} and {', '.join(other.class_names[:5])}; name "
            f"runs trained on the same classes."
        )


def matched(names: Sequence[str], others: Sequence[str]) -> list[int]:
    """Return where each name is among the same names in another order."""
    return [list(others).index(name) for name in names]


def to_classes(labels: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Return labels in another order of the same classes; as they are where the names differ."""
    if sorted(names) != sorted(wanted):
        return labels
    if labels.ndim == 2:
        return labels[:, matched(wanted, names)]
    return np.asarray(np.array(matched(names, wanted))[labels])
