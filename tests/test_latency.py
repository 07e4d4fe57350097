"""Latency is told from settings alone, by a fit to networks that were timed; a sweep keeps to a limit on it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns import Recipe, build, count
from keras_cnns.counting import Maps
from keras_cnns.errors import SettingError, TrainingError
from keras_cnns.latency import KINDS, Work
from keras_cnns.operations import batch_norm, convolution, dense, flatten, local_response_norm, pool
from keras_cnns.registry import all_families, make_plan, tally_network
from keras_cnns.training.speed import seconds_an_image, settle_latency
from keras_cnns.units import human_seconds, read_seconds
from tuning import sweep
from tuning.candidates import latency as predicting
from tuning.candidates.latency import Latency, keep_latency, latency_notes, learn, read_latency, read_limit
from tuning.candidates.limits import Limits
from tuning.candidates.space import Candidate, Space, make_space

SHAPE = (28, 28, 1)
# What a machine needs for each kind of work: the order of size of one core of 2026.
SECONDS = {
    "networks": 1e-4,
    "weighted_layers": 1e-5,
    "other_layers": 3e-6,
    "pointwise_macs": 1e-11,
    "spatial_macs": 8e-12,
    "grouped_macs": 2e-11,
    "patch_values": 1e-11,
    "convolution_weights": 1e-10,
    "dense_weights": 2e-11,
    "moved_values": 1e-10,
    "normalized_values": 7e-9,
}
LATENCY = Latency(image_shape=SHAPE, seconds=SECONDS, networks=56, typical_factor=1.05, usual_factor=1.2)


def space_of(family: str, limits: Limits) -> Space:
    return make_space(family, recipe=Recipe(), image_shape=SHAPE, classes=2, limits=limits, latency=LATENCY)


def work_of(candidate: Candidate, space: Space) -> Work:
    work = Work()
    tally_network(space.branches[candidate.model].family, candidate.settings, SHAPE, 2, work)
    return work


def amounts(work: Work) -> dict[str, int]:
    return {kind: amount for kind, amount in zip(KINDS, work.amounts(), strict=True) if amount}


def test_each_layer_is_work_of_its_kind() -> None:
    work = Work()
    x = convolution(Maps(8, 8, 3, work), 20, 3, name="images are read as they are, and maps made in blocks of 16")
    x = batch_norm(x, 1e-3, name="moves")
    x = convolution(x, 16, 1, name="pointwise")
    x = convolution(x, 16, 3, groups=2, name="grouped")
    x = local_response_norm(x, constants="paper", name="normalizes")
    x = pool(x, "max", 2, 2, name="moves")
    dense(flatten(x, name="moves"), 10, name="dense")
    assert amounts(work) == {
        "networks": 1,
        "weighted_layers": 4,
        "other_layers": 4,
        "spatial_macs": 64 * 9 * 3 * 32,
        "patch_values": 64 * 9 * 3,
        "pointwise_macs": 64 * 32 * 16,
        "grouped_macs": 64 * 9 * 8 * 16,
        "convolution_weights": 9 * 3 * 20 + 20 * 16 + 9 * 8 * 16,
        "dense_weights": 256 * 10,
        "moved_values": 2 * 64 * 20 + 64 * 16 + 16 * 16 + 2 * 16 * 16,
        "normalized_values": 2 * 64 * 16,
    }


@pytest.mark.parametrize("family", sorted(all_families()))
def test_counting_work_changes_no_other_count(family: str) -> None:
    name = all_families()[family].search.base
    plan = make_plan(name, input_shape=None, classes=None, settings={})
    work = Work()
    tally_network(plan.family, plan.settings, plan.input_shape, plan.classes, work)
    assert work.counts() == count(name)
    assert work.networks == 1


@settings(max_examples=20, deadline=None)
@given(
    needed=st.lists(st.floats(0.1, 10.0), min_size=len(KINDS), max_size=len(KINDS)),
    noise=st.integers(0, 2**31),
)
def test_what_a_machine_needs_is_found_from_networks_that_were_timed(needed: list[float], noise: int) -> None:
    space = space_of("all", Limits())
    work = [work_of(candidate, space).amounts() for candidate in space.draw(60, 0)]
    seconds = [SECONDS[kind] * factor for kind, factor in zip(KINDS, needed, strict=True)]
    jitter = np.random.default_rng(noise).uniform(0.98, 1.02, len(work))
    learnt = learn(work, (np.asarray(work) @ seconds * jitter).tolist(), SHAPE)
    assert learnt.networks == 60
    assert 1.0 <= learnt.typical_factor <= learnt.usual_factor < 1.1
    assert min(learnt.seconds.values()) >= 0.0
    other = [work_of(candidate, space) for candidate in space.draw(80, 1)]
    ratios = [learnt.predict(w) / float(np.dot(w.amounts(), seconds)) for w in other]
    assert 0.95 < statistics.median(ratios) < 1.05


@settings(max_examples=20, deadline=None)
@given(family=st.sampled_from(["densenet", "resnet", "vgg", "all"]), seed=st.integers(0, 2**31))
def test_candidates_keep_to_the_limit(family: str, seed: int) -> None:
    free = space_of(family, Limits())
    usual = statistics.median(free.costs(candidate)["latency"] for candidate in free.draw(20, seed))
    space = space_of(family, Limits(latency=usual))
    for candidate in space.draw(5, seed):
        assert LATENCY.predict(work_of(candidate, space)) <= usual


def test_the_sampler_is_told_by_how_much_a_candidate_is_above() -> None:
    space = space_of("densenet", Limits())
    candidate = space.draw(1, 0)[0]
    predicted = space.costs(candidate)["latency"]
    limited = space_of("densenet", Limits(latency=predicted / 2))
    assert limited.excess(candidate) == pytest.approx(np.log(2))


@pytest.mark.parametrize(("family", "message"), [
    ("resnet", r"the smallest seen has 0\.\d+ ms latency and --max-latency \(max_latency\) is 0\.05 ms"),
    ("all", r"no family fits: .*ms latency where 0\.05 ms are allowed"),
])  # fmt: skip
def test_where_nothing_is_quick_enough_the_quickest_is_told(family: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        space_of(family, Limits(latency=5e-5)).draw(1, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5ms", 0.005), ("0.5 ms", 0.0005), ("2s", 2.0), (".1S", 0.1), ("800us", 0.0008)]
)
def test_times_are_read_with_their_units(text: str, seconds: float) -> None:
    assert read_seconds(text) == pytest.approx(seconds)
    assert read_limit(text) == pytest.approx(seconds)
    assert read_limit(seconds) == seconds


@given(st.floats(1e-6, 3600.0))
def test_a_time_is_written_as_it_can_be_read(seconds: float) -> None:
    assert read_seconds(human_seconds(seconds)) == pytest.approx(seconds, rel=0.006)


@pytest.mark.parametrize("value", ["5", "ms", "-1ms", "5 parsecs", "", "1e400s", 0, -0.1, True, float("nan"), [5], 4e6])
def test_what_is_no_time_is_refused_in_one_line_before_anything_starts(value: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="max_latency") as caught:
        sweep("densenet", "digits", max_latency=value, folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/m.db")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_sweep_predicts_with_what_it_began_with(tmp_path: Path) -> None:
    assert keep_latency(None, tmp_path) is None
    assert not list(tmp_path.iterdir())
    assert keep_latency(LATENCY, tmp_path) == LATENCY
    later = Latency(**{**vars(LATENCY), "networks": 7})
    assert keep_latency(later, tmp_path) == LATENCY
    assert read_latency(tmp_path / "latency.json") == LATENCY


def test_the_notes_say_how_sure_it_is() -> None:
    assert latency_notes(None, None, None) == ()
    (note,) = latency_notes(LATENCY, 0.005, None)
    assert "56 networks" in note
    assert "factor of 1.20 for nine in ten" in note


def test_a_latency_is_measured_once_for_a_training(tmp_path: Path) -> None:
    built = []

    def network() -> Any:
        built.append(build("lenet5", input_shape=(28, 28, 1), classes=2))
        return built[0]

    first = settle_latency(tmp_path / "trial", network)
    assert 0 < first < 10
    assert settle_latency(tmp_path / "trial", network) == first
    assert len(built) == 1


def test_more_work_takes_longer() -> None:
    small, large = (
        seconds_an_image(build("vgg11", input_shape=(32, 32, 3), classes=2, convolutions=(1, 1), widths=widths))
        for widths in ((8, 8), (256, 256))
    )
    assert small < large


def test_a_machine_where_nothing_can_be_timed_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(blocked))
    with pytest.raises(TrainingError, match="cannot be measured on this machine: ") as caught:
        predicting.calibrated((8, 8, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.xdist_group("another ray")
@pytest.mark.usefixtures("own_ray")
def test_a_sweep_with_a_limit_measures_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "calibrated", lambda *_: LATENCY)
    result = sweep(
        "densenet",
        "digits",
        trials=2,
        recipe=Recipe(epochs=1),
        space={"blocks": "2,2|3,3", "growth_rate": "2..6"},
        max_latency="1ms",
        against="latency",
        seed=1,
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        folder=tmp_path,
    )
    assert all(0 < run.metrics["latency"] < 1 for run in result.runs)
    assert result.front
    assert "best network takes" in result.notes[-1]
    assert json.loads((result.folder / "latency.json").read_text()) == json.loads(json.dumps(vars(LATENCY)))
    identity = json.loads((result.folder / "sweep.json").read_text())
    assert identity["limits"]["latency"] == pytest.approx(0.001)
