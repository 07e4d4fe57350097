"""How Ray Tune gets one candidate after another."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from tuning.candidates.space import Candidate, Space
from tuning.running.journal import SEARCH, WAITING, JournalCallback, TrialState
from tuning.running.workarounds import GENERATION, StatelessSearcher
from tuning.searching.reuse import ReusableResults
from tuning.searching.samplers import Sampler


class Suggester(StatelessSearcher):
    """Gives Tune first the trials that an earlier process began, then new ones.

    Each trial is in the journal before it trains. Trials that have ended are not given again: the scheduler reads them
    from the journal. A trial whose training a run of the store has already done takes its result, and Tune never sees
    it.

    Args:
        space: What may be tried.
        sampler: Proposes new candidates.
        journal_callback: Knows the trials so far, and writes the journal.
        reusable: Finished trainings whose results can be reused.
        trials: The total number of trials of this role.
        seed: Seed of trials that have none of their own.
        role: What the trials are for; the sampler sees those of the search only.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        journal_callback: JournalCallback,
        reusable: ReusableResults,
        *,
        trials: int,
        seed: int,
        role: str = SEARCH,
    ) -> None:
        super().__init__()
        self.space = space
        self.sampler = sampler
        self.journal_callback = journal_callback
        self.reusable = reusable
        self.seed = seed
        self.trials = trials
        self.role = role
        known = journal_callback.of_role(role)
        self.begun = [state for _, state in sorted(known.items()) if not state.ended]
        self.left = len(self.begun) + trials - len(known)

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """Return the configuration of the next trial, or that there is none left."""
        while (state := self.next_trial()) is not None:
            candidate = self.space.candidate(state.candidate)
            if not self.reuse(state, candidate):
                return {
                    "number": state.number,
                    "candidate": candidate,
                    "seed": state.seed,
                    "known": len(state.curve),
                    GENERATION: self.journal_callback.generation,
                }
        return Searcher.FINISHED

    def next_trial(self) -> TrialState | None:
        """Return a trial that an earlier process began, else a new one, else None."""
        if self.begun:
            return self.begun.pop(0)
        if len(self.journal_callback.of_role(self.role)) >= self.trials:
            return None
        number = len(self.journal_callback.known)
        values = dict(self.sampler.propose(self.journal_callback.of_role(SEARCH)))
        self.journal_callback.note(number, event="candidate", values=values)
        return self.journal_callback.known[number]

    def reuse(self, state: TrialState, candidate: Candidate | None) -> bool:
        """Take the result of an equal training into the journal, and return whether there was one."""
        if state.status != WAITING or candidate is None:
            return False
        family = self.space.branches[candidate.model].family.name
        known = self.reusable.find(candidate, family, self.seed if state.seed is None else state.seed)
        if known is not None:
            self.journal_callback.note(state.number, event="reused", **vars(known))
        return known is not None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to do: the journal records how trials end."""
