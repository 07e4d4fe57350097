"""The searcher that gives Ray Tune one candidate after another."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from tuning.candidates.space import Candidate
from tuning.running.journal import SEARCH, WAITING, JournalCallback, TrialState
from tuning.running.sweep_run import SweepRun
from tuning.running.workarounds import GENERATION, StatelessSearcher
from tuning.searching.reuse import ReusableResults
from tuning.searching.samplers import Sampler


class Suggester(StatelessSearcher):
    """Gives Tune first the unfinished trials of an earlier process, then new ones.

    Each trial is in the journal before it trains. Ended trials are not given to Tune again: the scheduler reads them
    from the journal. A trial whose training has already been done reuses its result, and Tune does not run it.

    Args:
        sweep: The sweep.
        sampler: Proposes new candidates.
        journal_callback: Holds the trials so far, and writes the journal.
        reusable: Results that can be reused.
        trials: The total number of trials of the role.
        role: The role of the trials; the sampler only knows those of the search.
    """

    def __init__(
        self,
        sweep: SweepRun,
        sampler: Sampler,
        journal_callback: JournalCallback,
        reusable: ReusableResults,
        *,
        trials: int,
        role: str = SEARCH,
    ) -> None:
        super().__init__()
        self.sweep = sweep
        self.sampler = sampler
        self.journal_callback = journal_callback
        self.reusable = reusable
        self.trials = trials
        self.role = role
        known = journal_callback.with_role(role)
        self.unfinished = [state for _, state in sorted(known.items()) if not state.ended]
        self.left = len(self.unfinished) + trials - len(known)

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """Return the configuration of the next trial, or that there is none left."""
        while (state := self.next_trial()) is not None:
            candidate = self.sweep.candidate(state)
            if not self.reuse(state, candidate):
                return {
                    "number": state.number,
                    "candidate": candidate,
                    "seed": self.sweep.seed(state),
                    "known": len(state.curve),
                    GENERATION: self.journal_callback.generation,
                }
        return Searcher.FINISHED

    def next_trial(self) -> TrialState | None:
        """Return an unfinished trial of an earlier process, else a new one, else None."""
        if self.unfinished:
            return self.unfinished.pop(0)
        if len(self.journal_callback.with_role(self.role)) >= self.trials:
            return None
        number = len(self.journal_callback.states)
        values = dict(self.sampler.propose(self.journal_callback.with_role(SEARCH)))
        self.journal_callback.record(number, event="candidate", values=values)
        return self.journal_callback.states[number]

    def reuse(self, state: TrialState, candidate: Candidate) -> bool:
        """Record the result of an identical training for a trial, and return whether there is one."""
        if state.status != WAITING:
            return False
        family = self.sweep.config.space.branches[candidate.model].family.name
        result = self.reusable.find(candidate, family, self.sweep.seed(state))
        if result is not None:
            self.journal_callback.record(state.number, event="reused", **result)
        return result is not None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the journal records how trials end."""
