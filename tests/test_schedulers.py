"""Who stops trials, and who goes on from whose checkpoint: the same after a kill as without one."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial

from keras_cnns import Recipe
from keras_cnns.errors import SettingError
from keras_cnns.settings import Choice, Domain, FloatRange, IntRange
from keras_cnns.tracking import Store
from keras_cnns.training.checkpoints import checkpoint, read_progress
from tuning import sweep
from tuning.candidates.space import Space, draw, make_space
from tuning.running.journal import FAILED, FINISHED, RUNNING, STOPPED, Journal, JournalKeeper, TrialState
from tuning.running.storage import Storage
from tuning.running.trial import trial_folder
from tuning.searching.earlier import Earlier
from tuning.searching.population import (
    CHANGING,
    changing,
    check_scheduler,
    copy_in_storage,
    epochs_a_turn,
    explored,
    find_clones,
    make_population,
    most_clones,
)
from tuning.searching.samplers import make_sampler
from tuning.searching.schedulers import bracket_shares, bracket_starts, early_stopping
from tuning.searching.suggester import Suggester

MONITOR = Recipe().monitor
RULES = ("asha", "hyperband", "median")
STOP = "STOP"


def tune_trial(**config: Any) -> Trial:
    return Trial("run_trial", stub=True, config=config)


def keeper_of(folder: Path, epochs: int, trials: int = 0) -> JournalKeeper:
    keeper = JournalKeeper(folder, Journal(folder / "journal.jsonl"), epochs)
    for number in range(len(keeper.known), trials):
        keeper.note(number, event="candidate", values={})
    return keeper


def tell(scheduler: Any, keeper: JournalKeeper, number: int, epoch: int, score: float) -> str:
    """Report one epoch as Tune's controller does: to the scheduler first, then to the journal's keeper."""
    trial = tune_trial(number=number, until=keeper.epochs)
    result = {"epoch": epoch, MONITOR: score, "seconds": float(epoch)}
    decision = scheduler.on_trial_result(None, trial, result)
    keeper.on_trial_result(0, [], trial, result)
    return str(decision)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(RULES),
    scores=st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=3, max_size=8),
    order=st.randoms(use_true_random=False),
    killed=st.floats(0, 1),
)
def test_a_scheduler_that_reads_the_journal_decides_as_one_that_was_there(
    name: str, scores: list[list[float]], order: random.Random, killed: float
) -> None:
    recipe = Recipe(epochs=9)
    with tempfile.TemporaryDirectory() as place:
        keeper = keeper_of(Path(place), 9, len(scores))
        there = early_stopping(name, recipe, keeper, seed=7)
        kill, told, left = round(killed * 9 * len(scores)), 0, [*range(len(scores))]
        later: Any = None
        while left:
            number = order.choice(left)
            epoch = len(keeper.known[number].curve) + 1
            if told == kill:
                later = early_stopping(name, recipe, keeper_of(Path(place), 9), seed=7)
            told += 1
            result = {"epoch": epoch, MONITOR: scores[number][epoch - 1]}
            again = later.on_trial_result(None, tune_trial(number=number), result) if told > kill else None
            decision = tell(there, keeper, number, epoch, scores[number][epoch - 1])
            if told > kill:
                later.keeper.known[number].curve.append(result)
                assert again == decision
            if decision == STOP or epoch == 9:
                left.remove(number)
        read = early_stopping(name, recipe, keeper_of(Path(place), 9), seed=7)
        assert read.stopped == there.stopped


@pytest.mark.parametrize("name", RULES)
def test_what_falls_behind_is_stopped_and_the_best_is_not(tmp_path: Path, name: str) -> None:
    keeper = keeper_of(tmp_path, 9, 12)
    scheduler = early_stopping(name, Recipe(epochs=9), keeper, seed=1)
    for epoch in range(1, 10):
        for number in reversed(range(12)):
            if number not in scheduler.stopped:
                tell(scheduler, keeper, number, epoch, number / 12 + epoch / 1000)
    finished = {number for number, state in keeper.known.items() if len(state.curve) == 9}
    assert 11 in finished
    assert len(finished) < 12
    assert 0 not in finished or name == "hyperband"


@pytest.mark.parametrize("name", RULES)
def test_what_is_reported_again_changes_nothing(tmp_path: Path, name: str) -> None:
    keeper = keeper_of(tmp_path, 9, 4)
    scheduler = early_stopping(name, Recipe(epochs=9), keeper, seed=1)
    for number, epoch in itertools.product(range(3), range(1, 10)):
        tell(scheduler, keeper, number, epoch, 0.9)
    lines = keeper.journal.path.read_bytes()
    before = set(scheduler.stopped)
    for number, epoch in itertools.product(range(3), range(1, 10)):
        assert (tell(scheduler, keeper, number, epoch, 0.0) == STOP) == (number in before)
    assert scheduler.stopped == before
    assert keeper.journal.path.read_bytes() == lines


def test_hyperband_stops_none_of_its_last_bracket_early(tmp_path: Path) -> None:
    scheduler = early_stopping("hyperband", Recipe(epochs=9), keeper_of(tmp_path, 9), seed=3)
    last = [number for number in range(200) if scheduler.place(number) == len(scheduler.rules) - 1]
    assert len(last) > 5
    for falling, number in enumerate(last):
        for epoch in range(1, 9):
            scheduler.tell(number, epoch, {MONITOR: 1 - falling / 100})
    assert not scheduler.stopped


@pytest.mark.parametrize(
    ("epochs", "starts"), [(2, [1, 2]), (3, [1, 3]), (9, [1, 3, 9]), (10, [1, 3, 9, 10]), (81, [1, 3, 9, 27, 81])]
)
def test_hyperband_has_all_brackets(epochs: int, starts: list[int]) -> None:
    assert bracket_starts(epochs) == starts


def test_brackets_have_the_shares_of_the_paper() -> None:
    # Table 1 of Li et al. 2018, R = 81 and a reduction of 3: 81, 34, 15, 8 and 5 configurations, rounded up.
    assert [int(-(-share // 1)) for share in bracket_shares(5)] == [81, 34, 15, 8, 5]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 10_000), count=st.integers(10, 100))
def test_any_trials_in_a_row_are_spread_over_the_brackets(seed: int, first: int, count: int) -> None:
    keeper = JournalKeeper(Path(), Journal(Path("nowhere")), 27)
    scheduler = early_stopping("hyperband", Recipe(epochs=27), keeper, seed=seed)
    again = early_stopping("hyperband", Recipe(epochs=27), keeper, seed=seed)
    places = [scheduler.place(number) for number in range(first, first + count)]
    assert places == [again.place(number) for number in range(first, first + count)]
    shares = bracket_shares(4)
    for place, held in Counter(places).items():
        assert abs(held - count * shares[place] / sum(shares)) < 3


def population_space(**searched: object) -> Space:
    usual: dict[str, object] = {"growth_rate": "4..8", "augmentation": "none,light,medical"}
    return make_space("densenet", recipe=Recipe(epochs=10), space={**usual, **searched}, image_shape=(8, 8, 1))


def test_a_population_that_could_change_nothing_is_refused() -> None:
    fixed = {"learning_rate": 0.01, "weight_decay": 0.01, "batch_size": "16..64"}
    space = make_space("densenet", recipe=Recipe(), space=fixed, image_shape=(8, 8, 1))
    with pytest.raises(SettingError, match=r"search one of learning_rate, warmup, .*cutmix \(the first") as caught:
        check_scheduler("population", space, {})
    check_scheduler("asha", space, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "changes"),
    [
        ({}, {"learning_rate", "weight_decay", "augmentation"}),
        ({"schedule": "constant"}, {"weight_decay", "augmentation"}),
        ({"schedule": "cosine,constant"}, {"weight_decay", "augmentation"}),
        ({"schedule": "cosine,steps"}, {"learning_rate", "weight_decay", "augmentation"}),
        (
            {"batch_size": "16..64", "optimizer": "sgd,adamw", "ema": "0,0.9"},
            {"learning_rate", "weight_decay", "augmentation"},
        ),
    ],
)
def test_a_population_changes_what_a_checkpoint_leaves_open(space: dict[str, object], changes: set[str]) -> None:
    assert changing(population_space(**space)).keys() == changes


def test_what_a_population_leaves_cannot_be_trained_again() -> None:
    check_scheduler("population", population_space(), {"repeats": None, "refit": False, "extend": None})
    with pytest.raises(SettingError, match=r"does not go with repeats, refit: its networks"):
        check_scheduler("population", population_space(), {"repeats": 3, "refit": True, "extend": None})


DOMAINS: st.SearchStrategy[Domain] = st.one_of(
    st.builds(lambda low, width: FloatRange(low, low + width), st.floats(-5, 5), st.floats(0.1, 10)),
    st.builds(lambda low, ratio: FloatRange(low, low * ratio, log=True), st.floats(1e-6, 1), st.floats(2, 1e4)),
    st.builds(
        lambda low, steps, step: IntRange(low, low + steps * step, step=step),
        st.integers(-5, 50),
        st.integers(1, 20),
        st.integers(1, 5),
    ),
    st.just(Choice(("none", "light", 3))),
)


@settings(max_examples=200, deadline=None)
@given(domain=DOMAINS, seed=st.integers(0, 2**31), times=st.integers(1, 10))
def test_what_is_changed_stays_within_its_domain(domain: Domain, seed: int, times: int) -> None:
    source = random.Random(seed)  # noqa: S311
    value = draw(domain, source)
    for _ in range(times):
        value = explored(value, domain, source)
        assert domain.check(value) == value


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=20, unique=True), seed=st.integers(0, 1000))
def test_the_worst_take_over_from_the_best(scores: list[float], seed: int) -> None:
    space = population_space()
    drawn = itertools.islice(space.shuffled(seed), len(scores))
    states = {
        number: TrialState(number, candidate=dict(values), curve=[{MONITOR: score}, {MONITOR: score}])
        for number, (score, (values, _)) in enumerate(zip(scores, drawn, strict=True))
    }
    clones = find_clones(states, space, epoch=2, seed=seed)
    assert clones == find_clones(dict(reversed(states.items())), space, epoch=2, seed=seed)
    order = sorted(states, key=lambda number: scores[number])
    assert len(clones) == min(max(1, round(len(scores) / 5)), len(scores) // 2)
    assert [clone.replaces for clone in clones] == order[: len(clones)]
    for clone in clones:
        assert clone.donor in order[len(order) - len(clones) :]
        given, donor = dict(clone.values), states[clone.donor].candidate
        assert {name: value for name, value in given.items() if name not in CHANGING} == {
            name: value for name, value in donor.items() if name not in CHANGING
        }
        assert space.candidate(given) is not None


def test_equal_scores_are_no_reason_to_take_over() -> None:
    states = {number: TrialState(number, curve=[{MONITOR: 0.5}]) for number in range(10)}
    assert find_clones(states, population_space(), epoch=1, seed=0) == []


def train(config: dict[str, Any], keeper: JournalKeeper, dies_after: int) -> int:
    """Do what a worker does, but for the training: report what the checkpoint holds, then go on to the turn's end.

    Returns:
        How many epochs it may still train before the driver is killed.
    """
    folder = trial_folder(keeper.folder, config["number"])
    trial = tune_trial(**config)
    history = [dict(metrics) for metrics in read_progress(folder).history]
    for epoch in range(max(1, config["known"]), len(history) + 1):
        keeper.on_trial_result(0, [], trial, {**history[epoch - 1], "epoch": epoch})
    while len(history) < config["until"]:
        if dies_after == 0:
            raise KeyboardInterrupt
        dies_after -= 1
        rate = config["candidate"].recipe.learning_rate
        before = history[-1][MONITOR] if history else 0.0
        history.append({MONITOR: before + 1 / (1 + abs(rate * 1000 - 5)), "seconds": float(len(history) + 1)})
        final = checkpoint(folder, len(history))
        final.mkdir(parents=True)
        progress = {"epoch": len(history), "seconds": 0.0, "best_score": 0.0, "history": history}
        (final / "state.json").write_text(json.dumps(progress))
        for older in folder.glob("epoch-*"):
            if older != final:
                (older / "state.json").unlink()
                older.rmdir()
        if dies_after == 0:
            raise KeyboardInterrupt  # after the checkpoint, before the journal
        keeper.on_trial_result(0, [], trial, {**history[-1], "epoch": len(history)})
    keeper.on_trial_complete(0, [], trial)
    return dies_after


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return Earlier(Store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"), "no images")


def suggester_of(space: Space, keeper: JournalKeeper, earlier: Earlier, trials: int) -> Suggester:
    return Suggester(
        space, make_sampler("random", space, seed=4), keeper, earlier, trials=trials, seed=4,
        population=make_population(4, keeper.folder),
    )  # fmt: skip


def run_population(place: Path, earlier: Earlier, cores: int, dies_after: int = -1) -> None:
    """Let a population of seven take turns of two epochs, as many at a time as there are cores."""
    space, keeper = population_space(), keeper_of(place, 10)
    keeper.journal.mend()
    suggester = suggester_of(space, keeper, earlier, 7)
    running: dict[str, dict[str, Any]] = {}
    names = map(str, itertools.count())

    def ask() -> None:
        while len(running) < cores and isinstance(config := suggester.suggest(name := next(names)), dict):
            running[name] = config

    ask()
    while running:
        name = next(iter(running))
        dies_after = train(running[name], keeper, dies_after)
        ask()  # as Tune does between a trial's last report and its end
        suggester.on_trial_complete(name)
        del running[name]
        ask()
    assert suggester.suggest("last") == Suggester.FINISHED


def told(place: Path) -> dict[int, TrialState]:
    return Journal(place / "journal.jsonl").trials()


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory, earlier: Earlier) -> dict[int, TrialState]:
    place = tmp_path_factory.mktemp("population")
    run_population(place, earlier, cores=1)
    return told(place)


def test_a_population_trains_as_many_to_the_end_as_there_are_trials(population: dict[int, TrialState]) -> None:
    clones = [state for state in population.values() if state.donor is not None]
    assert len(clones) == most_clones(7, 10) == 4  # one of seven after each turn but the last
    assert Counter(state.status for state in population.values()) == {FINISHED: 7, STOPPED: 4}
    for state in clones:
        donor, replaced = population[state.donor or 0], population[state.replaces or 0]
        assert state.curve[: state.inherited] == donor.curve[: state.inherited]
        assert replaced.status == STOPPED
        assert len(replaced.curve) == state.inherited


@settings(max_examples=15, deadline=None)
@given(cores=st.integers(1, 4), kills=st.lists(st.integers(0, 25), max_size=4))
def test_a_population_is_the_same_whatever_the_cores_and_kills(
    population: dict[int, TrialState], earlier: Earlier, cores: int, kills: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for dies_after in [*kills, -1]:
            try:
                run_population(place, earlier, cores, dies_after)
            except KeyboardInterrupt:
                continue
        assert told(place) == population
        events = [event for event, _ in Journal(place / "journal.jsonl").read()]
        assert Counter(event["trial"] for event in events if event["event"] == "end") == dict.fromkeys(population, 1)


def test_a_clone_that_was_not_noted_in_full_is_noted_when_the_sweep_goes_on(
    tmp_path: Path, population: dict[int, TrialState], earlier: Earlier
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_population(tmp_path, earlier, cores=1, dies_after=15)  # the first epoch after all have had a turn
    lines = (tmp_path / "journal.jsonl").read_text().splitlines(keepends=True)
    clone = next(place for place, line in enumerate(lines) if json.loads(line).get("donor") is not None)
    for kept in (clone, clone + 1):  # killed before the clone's line, and between it and the end of who it replaces
        (tmp_path / "journal.jsonl").write_text("".join(lines[:kept]))
        keeper = keeper_of(tmp_path, 10)
        suggester = suggester_of(population_space(), keeper, earlier, 7)
        first = suggester.suggest("first")
        made = [state for state in keeper.known.values() if state.donor is not None]
        assert [state.candidate for state in made] == [population[7].candidate]
        assert keeper.known[made[0].replaces or 0].status == STOPPED
        assert first["until"] == 4


def test_a_failed_trial_of_a_population_is_left_out_of_it(tmp_path: Path, earlier: Earlier) -> None:
    keeper = keeper_of(tmp_path, 10)
    space = population_space()
    suggester = suggester_of(space, keeper, earlier, 3)
    failing = suggester.suggest("fails")
    keeper.note(failing["number"], event="end", status=FAILED, reason="TrainingError: no")
    suggester.on_trial_complete("fails", error=True)
    for name in ("one", "other"):
        train(suggester.suggest(name), keeper, -1)
        suggester.on_trial_complete(name)
    suggester.suggest("next")
    assert [state.number for state in keeper.known.values() if state.donor is not None] == [3]
    assert keeper.known[failing["number"]].status == FAILED


def test_a_clone_has_what_its_donor_settled_when_it_began(tmp_path: Path) -> None:
    donor, clone = (trial_folder(tmp_path, number) for number in (0, 1))
    for name in ("epoch-0002/state.json", "speed.json", ".new-best.keras"):
        (donor / name).parent.mkdir(parents=True, exist_ok=True)
        (donor / name).write_text(name)
    for _ in range(2):
        make_population(0, tmp_path).copy(0, 1, 2)
    copied = {str(path.relative_to(clone)): path.read_text() for path in clone.rglob("*") if path.is_file()}
    assert copied == {name: name for name in ("epoch-0002/state.json", "speed.json")}


def test_a_storage_copies_a_checkpoint_to_the_clone(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path / 'store'}", "sweep")
    final = checkpoint(tmp_path / "donor", 3)
    final.mkdir(parents=True)
    (final / "state.json").write_text('{"epoch": 3}')
    storage.keep(0, tmp_path / "donor")
    for _ in range(2):
        copy_in_storage(storage, 0, 1, 3)
    storage.fetch(1, tmp_path / "clone")
    assert (checkpoint(tmp_path / "clone", 3) / "state.json").read_text() == '{"epoch": 3}'


@pytest.mark.parametrize(("epochs", "turn"), [(1, 1), (5, 1), (6, 2), (10, 2), (100, 20)])
def test_a_turn_is_a_fifth_of_the_epochs(epochs: int, turn: int) -> None:
    assert epochs_a_turn(epochs) == turn


def test_a_trial_after_its_turn_goes_on_later(tmp_path: Path) -> None:
    keeper = keeper_of(tmp_path, 4, 1)
    trial = tune_trial(number=0, until=1)
    keeper.on_trial_start(0, [], trial)
    keeper.on_trial_result(0, [], trial, {"epoch": 1, MONITOR: 0.5})
    keeper.on_trial_complete(0, [], trial)
    assert keeper.known[0].status == RUNNING
    keeper.on_trial_complete(0, [], tune_trial(number=0, until=2))  # ended by its own patience
    assert keeper.known[0].status == STOPPED


@pytest.mark.slow
@pytest.mark.xdist_group("another ray")
@pytest.mark.usefixtures("own_ray")
def test_clones_are_runs_of_their_own_below_the_sweeps(tmp_path: Path) -> None:
    result = sweep("densenet", "digits", trials=3, recipe=Recipe(epochs=2), seed=5, scheduler="population",
                   fixed={"blocks": (2,)}, space={"growth_rate": "2..6"}, folder=tmp_path,
                   tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")  # fmt: skip
    runs = {int(run.tags["trial"]): run for run in result.runs}
    states = told(result.folder)
    assert sorted(runs) == sorted(states)
    assert sum(state.status == FINISHED for state in states.values()) == 3
    clones = [state for state in states.values() if state.donor is not None]
    assert clones
    for state in clones:
        run, donor = runs[state.number], runs[state.donor or 0]
        assert run.tags["population.donor"] == str(state.donor)
        assert run.tags["population.epoch"] == str(state.inherited)
        assert run.settings == donor.settings
        assert run.metrics["epochs"] == len(state.curve)
    assert 0 < result.utilization <= 1
