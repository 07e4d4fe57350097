"""How Ray Tune gets one candidate after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from tuning.journal import FAILED, JournalKeeper
from tuning.samplers import Sampler
from tuning.space import Space


class Suggester(Searcher):
    """Gives Tune first the trials that an earlier process began, then new ones, each in the journal before it trains.

    Trials that have ended are given too, for what they reported brings the scheduler to where it was; but failed ones
    stay failed.

    Args:
        space: What may be tried.
        sampler: Proposes what comes next.
        keeper: Knows the trials so far, and writes the journal.
        trials: How many there are to be.
    """

    def __init__(self, space: Space, sampler: Sampler, keeper: JournalKeeper, trials: int) -> None:
        super().__init__()
        self.space = space
        self.sampler = sampler
        self.keeper = keeper
        self.begun = [number for number, state in sorted(keeper.known.items()) if state.status != FAILED]
        self.left = len(self.begun) + trials - len(keeper.known)

    def __getstate__(self) -> dict[str, Any]:
        """Keep out of what Tune writes of itself, which is never read: all is in the journal."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:  # noqa: ARG002
        """Accept what Tune says: the space has its own domains, and the sampler its own goals."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:  # noqa: ARG002
        """Return the next trial's number and candidate."""
        known = self.keeper.known
        if self.begun:
            number = self.begun.pop(0)
        else:
            number = len(known)
            self.keeper.note(number, event="candidate", values=dict(self.sampler.propose(known)))
        return {"number": number, "candidate": self.space.candidate(known[number].candidate)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the keeper knows."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing, for the same reason."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""
