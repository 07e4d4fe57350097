"""How Ray Tune gets one candidate after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from tuning.candidates.space import Candidate, Space
from tuning.running.journal import GENERATION, SEARCH, STOPPED, WAITING, JournalKeeper, TrialState
from tuning.searching.earlier import Earlier
from tuning.searching.population import Population, epochs_a_turn, find_clones
from tuning.searching.samplers import Sampler


class Suggester(Searcher):
    """Gives Tune first the trials that an earlier process began, then new ones, each in the journal before it trains.

    Trials that have ended are not given again: the journal tells the scheduler of them. A trial that a run of the store
    has done already is read back from it, and Tune never hears of it. In a population a trial is given for one turn
    after the other, and when all have had theirs, good ones are cloned in the place of poor ones.

    Args:
        space: What may be tried.
        sampler: Proposes what comes next.
        keeper: Knows the trials so far, and writes the journal.
        earlier: What has been trained before.
        trials: How many there are to be, clones apart.
        seed: What trials train with that have no seed of their own.
        role: What they are for; the sampler is shown those of the search alone.
        population: How a population is cloned; None where trials do not learn from each other.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        keeper: JournalKeeper,
        earlier: Earlier,
        *,
        trials: int,
        seed: int,
        role: str = SEARCH,
        population: Population | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.sampler = sampler
        self.keeper = keeper
        self.earlier = earlier
        self.seed = seed
        self.trials = trials
        self.role = role
        self.population = population
        self.turn = keeper.epochs if population is None else epochs_a_turn(keeper.epochs)
        self.given: dict[str, dict[str, Any]] = {}
        missing = sum(1 for _ in self.unended()) + trials - len(keeper.of_role(role))
        self.left = missing if population is None else -1  # without end: how many clones there are to be is not known

    def __getstate__(self) -> dict[str, Any]:
        """Keep out of what Tune writes of itself, which is never read: all is in the journal."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:  # noqa: ARG002
        """Accept what Tune says: the space has its own domains, and the sampler its own goals."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return a trial's number, candidate and seed, the epochs known of it, and the epoch that it is to come to.

        That there is none where all have ended, and None while those of a population wait for each other.
        """
        while (state := self.next_trial()) is not None:
            candidate = self.space.candidate(state.candidate)
            if not self.is_read_back(state, candidate):
                self.given[trial_id] = {
                    "number": state.number,
                    "candidate": candidate,
                    "seed": state.seed,
                    "known": len(state.curve),
                    "until": self.goal(state),
                    GENERATION: self.keeper.generation,
                }
                return self.given[trial_id]
        return None if self.population and self.given else Searcher.FINISHED

    def next_trial(self) -> TrialState | None:
        """Return one that an earlier process began, else a new one, else in a population one that may go on."""
        if (begun := self.ready(self.turn)) is not None:
            return begun
        if sum(state.donor is None for state in self.keeper.of_role(self.role).values()) < self.trials:
            return self.propose()
        if self.population is None:
            return None
        if not self.given:
            self.clone(self.population)
        goals = {state.number: self.goal(state) for state in self.unended()}
        goals |= {turn["number"]: turn["until"] for turn in self.given.values()}
        return self.ready(min(goals.values(), default=self.turn))

    def unended(self) -> Iterator[TrialState]:
        """Yield the trials that have not ended, in the order of their numbers."""
        return (state for _, state in sorted(self.keeper.of_role(self.role).items()) if not state.ended)

    def goal(self, state: TrialState) -> int:
        """Return the epoch that a trial is to come to in its next turn."""
        return min(self.keeper.epochs, (state.epoch // self.turn + 1) * self.turn)

    def ready(self, goal: int) -> TrialState | None:
        """Return the first trial that is to come to this epoch and is not on its way."""
        on_their_way = {turn["number"] for turn in self.given.values()}
        ready = (state for state in self.unended() if self.goal(state) == goal and state.number not in on_their_way)
        return next(ready, None)

    def propose(self) -> TrialState:
        """Return a new trial."""
        number = len(self.keeper.known)
        self.keeper.note(number, event="candidate", values=dict(self.sampler.propose(self.keeper.of_role(SEARCH))))
        return self.keeper.known[number]

    def clone(self, population: Population) -> None:
        """Where all have come to the end of a turn and none is further, clone good trials in the place of poor ones."""
        reached = {state.epoch for state in self.unended()}
        epoch = min(reached, default=self.keeper.epochs)
        if len(reached) > 1 or epoch == self.keeper.epochs or epoch % self.turn:
            return
        known = self.keeper.of_role(self.role)
        replaced = {state.replaces for state in known.values()}
        for clone in find_clones(known, self.space, epoch=epoch, seed=population.seed):
            if clone.replaces not in replaced:
                number = len(self.keeper.known)
                population.copy(clone.donor, number, epoch)
                self.keeper.note(number, event="candidate", **vars(clone))
            self.keeper.note(clone.replaces, event="end", status=STOPPED, reason="")

    def is_read_back(self, state: TrialState, candidate: Candidate | None) -> bool:
        """Return whether what a trial would train is known, and then is in the journal."""
        if state.status != WAITING or candidate is None or self.population is not None:
            return False
        family = self.space.branches[candidate.model].family.name
        known = self.earlier.find(candidate, family, self.seed if state.seed is None else state.seed)
        if known is not None:
            self.keeper.note(state.number, event="read back", **vars(known))
        return known is not None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # noqa: ARG002
        """A trial has had its turn; what came of it the keeper knows."""
        self.given.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: all is in the journal."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""
