"""Population-based training (Jaderberg et al. 2017, arXiv 1711.09846): the recipe is searched while networks train.

The trials of a sweep are the population, and take turns of a few epochs. Once all have had a turn, each of the worst
fifth ends, and a new trial goes on from the checkpoint of one of the best fifth, with that one's settings and recipe,
what of the recipe can change in mid-training changed a little. Nobody goes on before all are there (the paper's
appendix A.1), so that a seed gives the same population on one core and on many.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.settings import Choice, Domain, FloatRange, IntRange
from keras_cnns.training.checkpoints import checkpoint
from keras_cnns.whole import written_whole
from tuning.candidates.space import Space, Values, draw, rounded
from tuning.running.journal import TrialState
from tuning.running.storage import Storage
from tuning.running.trial import trial_folder

# A checkpoint of weights and optimizer goes on with any values of these, but for a constant learning rate, which is
# part of it.
CHANGING = (
    "learning_rate",
    "warmup",
    "weight_decay",
    "clip_norm",
    "loss",
    "class_weights",
    "label_smoothing",
    "augmentation",
    "mixup",
    "cutmix",
)
POPULATION = "population"
TURNS = 5
SHARE = 0.2
RESAMPLED = 0.25
FACTORS = (0.8, 1.2)


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A trial that is to go on where a good one is, in the place of a poor one.

    Attributes:
        replaces: The poor trial.
        donor: The good one.
        epoch: The epoch that both have reached.
        values: Its candidate: the donor's, changed.
    """

    replaces: int
    donor: int
    epoch: int
    values: Values


def check_scheduler(scheduler: str, space: Space, again: Mapping[str, object]) -> None:
    """Say why a sweep cannot be a population, where it is to be one.

    Args:
        scheduler: The sweep's.
        space: What it may try.
        again: What is to be done once it is over, by the name of the argument; false or None where nothing is.

    Raises:
        SettingError: No part of the recipe that may change in mid-training is searched, or trials are to be trained
            again or added.
    """
    if scheduler != POPULATION:
        return
    if wanted := [name for name, value in again.items() if value]:
        raise SettingError(
            f"scheduler='population' does not go with {', '.join(wanted)}: its networks come from recipes that "
            "changed in mid-training, so that no trial can be trained again or added by itself."
        )
    if not changing(space):
        raise SettingError(
            "scheduler='population' changes the recipe in mid-training, and nothing of it is searched that may change; "
            f"search one of {', '.join(CHANGING)} (the first with a schedule that is not constant)."
        )


def changing(space: Space) -> dict[str, Domain]:
    """Return what a population changes in mid-training."""
    schedule = space.domains.get("schedule", Choice((space.recipe.schedule,)))
    kept = {"learning_rate"} if isinstance(schedule, Choice) and "constant" in schedule.values else set()
    return {name: domain for name, domain in space.domains.items() if name in CHANGING and name not in kept}


def epochs_a_turn(epochs: int) -> int:
    """Return how many epochs a trial has before it is compared: a fifth of all."""
    return math.ceil(epochs / TURNS)


def clones_a_turn(members: int) -> int:
    """Return how many of a population are replaced after a turn: a fifth, at least one where there are two."""
    return min(max(1, round(SHARE * members)), members // 2)


def most_clones(trials: int, epochs: int) -> int:
    """Return how many clones there are to be, fewer only where trials fail or are equally good."""
    return clones_a_turn(trials) * (math.ceil(epochs / epochs_a_turn(epochs)) - 1)


def find_clones(states: Mapping[int, TrialState], space: Space, *, epoch: int, seed: int) -> list[Clone]:
    """Return who takes over from whom after an epoch that all trials have come to.

    It depends on seed, candidates and curves alone, so that it is the same when asked again later.

    Args:
        states: All trials.
        space: What they are from.
        epoch: The epoch.
        seed: Of who is taken over, and of what changes.
    """
    monitor = space.recipe.monitor
    members = [state for state in states.values() if state.inherited < epoch == len(state.curve)]
    members.sort(key=lambda state: (state.curve[epoch - 1][monitor], -state.number))
    count = clones_a_turn(len(members))
    clones = []
    for poor in members[:count]:
        source = random.Random(f"{seed}/{poor.number}/{epoch}")  # noqa: S311
        good = source.choice(members[len(members) - count :])
        if good.curve[epoch - 1][monitor] > poor.curve[epoch - 1][monitor]:
            values = perturbed(good.candidate, changing(space), source)
            clones.append(Clone(replaces=poor.number, donor=good.number, epoch=epoch, values=values))
    return clones


def perturbed(values: Values, domains: Mapping[str, Domain], source: random.Random) -> dict[str, Any]:
    """Return a candidate's values with those of some domains changed.

    One in four is drawn anew from its domain. Of the others numbers are multiplied by 0.8 or 1.2, within the domain,
    and choices stay.
    """
    return {**values, **{name: explored(values[name], domain, source) for name, domain in domains.items()}}


def explored(value: Any, domain: Domain, source: random.Random) -> Any:
    """Return a value of a domain, changed or drawn anew."""
    anew, factor = source.random() < RESAMPLED, source.choice(FACTORS)
    match domain:
        case FloatRange() if not anew:
            return rounded(value * factor, domain)
        case IntRange(low=low, high=high, step=step) if not anew:
            return min(high, max(low, low + round((value * factor - low) / step) * step))
        case _:
            return draw(domain, source) if anew else value


@dataclass(frozen=True)
class Population:
    """How a population is cloned.

    Attributes:
        seed: Of who is taken over, and of what changes.
        copy: Copies a trial's checkpoint to another trial: the numbers of the two, and the epoch.
    """

    seed: int
    copy: Callable[[int, int, int], None]


def make_population(seed: int, folder: Path, storage: Storage | None = None) -> Population:
    """Return how the population of a sweep is cloned.

    Args:
        seed: The sweep's.
        folder: The sweep's.
        storage: Where checkpoints are kept, if not in the folder.
    """
    return Population(seed, partial(copy_in_storage, storage) if storage else partial(copy_in_folder, folder))


def copy_in_folder(folder: Path, donor: int, clone: int, epoch: int) -> None:
    """Copy a checkpoint, whole, and what a training settled when it began to another trial's folder."""
    source, target = (trial_folder(folder, number) for number in (donor, clone))
    final = checkpoint(target, epoch)
    if final.exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in (path for path in source.iterdir() if path.is_file() and not path.name.startswith(".")):
        with written_whole(target / path.name) as copied:
            shutil.copyfile(path, copied)
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(checkpoint(source, epoch), temporary)
    temporary.replace(final)


def copy_in_storage(storage: Storage, donor: int, clone: int, epoch: int) -> None:  # noqa: ARG001 - it has no older ones
    """Copy a trial's newest checkpoint, which all have come to, to another trial."""
    with tempfile.TemporaryDirectory() as place:
        storage.fetch(donor, Path(place))
        storage.keep(clone, Path(place))
