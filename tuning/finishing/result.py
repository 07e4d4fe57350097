"""The result of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.formatting import format_count, format_metric, format_setting
from keras_cnns.display.summary import Summarized, Summary
from keras_cnns.tracking import Run
from keras_cnns.tracking.registry import RegisteredVersion
from keras_cnns.tracking.stores import run_url
from tuning.finishing.finals import Finals
from tuning.running.sweep_directory import OUTCOME
from tuning.running.sweep_run import SweepConfig


@dataclass(frozen=True, kw_only=True)
class RefitResult:
    """The winner, trained on training and validation images.

    Attributes:
        run_id: Its run in MLflow.
        epochs: Number of epochs it was trained for.
        registered: Its version in the model registry.
    """

    run_id: str
    epochs: int
    registered: RegisteredVersion


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult(Summarized):
    """A finished sweep.

    Attributes:
        config: The configuration of the sweep.
        run_id: The sweep's own run in MLflow, the parent of its trials.
        store: URI of the MLflow store.
        folder: Folder of the sweep's journal and checkpoints.
        runs: The runs of the search, by the number of the trial.
        comparison: These runs, compared by the monitored metric and the cost.
        best: The best of them or, after repeats, the median repeat of the finalist with the highest mean; None if all
            trials failed.
        finals: The comparison of the finalists; None without repeats.
        refit: The winner trained on training and validation images; None without a refit.
        seconds: Time that this process spent on trials and repeats.
        utilization: Time that all trials spent inside `fit`, divided by `seconds` and by the number of trials that can
            run at a time.
    """

    config: SweepConfig
    run_id: str
    store: str
    folder: Path
    runs: list[Run]
    comparison: Comparison
    best: Run | None
    finals: Finals | None
    refit: RefitResult | None
    seconds: float
    utilization: float

    @property
    def front(self) -> list[Run]:
        """The Pareto front of the runs: no other run is both cheaper and better; cheapest first."""
        front = [row.run for row in self.comparison.rows if row.pareto]
        return sorted(front, key=lambda run: run.metrics[self.comparison.cost])

    @property
    def outcome(self) -> Path:
        """The folder with the plots of the trials and a table."""
        return self.folder / OUTCOME

    @property
    def url(self) -> str:
        """The address of the sweep's page on an MLflow server; "" if the store is a file."""
        return run_url(self.store, self.run_id)

    def summary(self) -> Summary:
        """Return the best trial with its settings, and a table of the best trials."""
        trials, found = format_count(len(self.runs), "trial"), self.comparison.summary()
        facts = [("sweep", self.run_id)]
        if (best := self.best) is not None:
            monitor, names = self.config.monitor, self.config.space.searched()
            settings = {**best.recipe, **best.settings}
            chosen = [
                f"{name} {format_setting(settings[name])}"
                for name in settings
                if {name, f"{best.family}.{name}"} & names.keys()
            ]
            facts += [
                ("best run", f"{best.name}, {best.id}"),
                ("score", f"{monitor} {format_metric(monitor, best.metrics[monitor])}"),
                ("settings", ", ".join(chosen)),
            ]
        if self.refit is not None:
            version = self.refit.registered
            facts.append(("refit", f"run {self.refit.run_id}, registered as {version.name} version {version.version}"))
        return Summary(
            title=f"sweep of {self.config.space.name} on {self.config.dataset.name}, {trials}",
            facts=facts,
            tables=found.tables,
            notes=[*found.notes, *([] if self.finals is None else [self.finals.verdict]), *self.notes],
            addresses=[("folder", str(self.folder)), ("plots", str(self.outcome)), ("MLflow", self.url)],
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages about families that were left out of the search."""
        return self.config.space.notes
