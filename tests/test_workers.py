"""Trials of several workers: what machines hold of them, what they cannot train, and one that loses a worker."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_cnns import Recipe
from keras_cnns.cli import main
from keras_cnns.data import Dataset, Split, load
from keras_cnns.errors import ClusterError, KerasCnnsError, SettingError
from tuning import sweep
from tuning.running.cluster import Machines, fitting, held_by
from tuning.running.journal import Journal

EPOCHS = 3
# Without batch norm, of which each worker sees its own images, and without chance, which each draws for itself.
SHARED = {"activation": "tanh", "subsampling": "average", "dropout": 0.0, "weight_decay": 0.0, "kernel_size": 3}


@given(cores=st.lists(st.integers(0, 9), min_size=1, max_size=4), each=st.integers(1, 4), workers=st.integers(1, 6))
def test_machines_hold_a_trial_where_each_worker_fits_on_some_machine(
    cores: list[int], each: int, workers: int
) -> None:
    machines, wanted = [{"CPU": float(count)} for count in cores], {"CPU": float(each)}
    places = sum(fitting(wanted, machine) for machine in machines)
    if places < workers:
        with pytest.raises(ClusterError, match="_per_trial"):
            held_by(machines, wanted, workers)
    else:
        assert (
            held_by(machines, wanted, workers) * workers <= places < (held_by(machines, wanted, workers) + 1) * workers
        )


@pytest.mark.parametrize(
    ("machines", "message"),
    [
        ([{"CPU": 4.0}, {"CPU": 3.0}], r"workers_per_trial 4: the machines together hold 3; ask for that or fewer\."),
        ([{"CPU": 1.0}], r"cores_per_trial 2: no machine has more than 1"),
    ],
)
def test_what_machines_do_not_hold_is_told_with_what_they_hold(machines: list[Any], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        held_by(machines, {"CPU": 2.0}, 4)


def test_fewer_trials_run_at_a_time_where_each_has_several_workers() -> None:
    machines = Machines(ray_address="auto", cores=12, cores_per_trial=2, workers_per_trial=3)
    assert machines.most_at_once == 2
    assert replace(machines, workers_per_trial=1).most_at_once == 6


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"workers_per_trial": 0}, SettingError, "workers_per_trial must be a whole number from 1"),
        ({"cores": 4, "cores_per_trial": 2, "workers_per_trial": 3}, ClusterError, "have 4 cores; ask for 2 workers"),
        ({"cores": 4, "workers_per_trial": 2, "gpus_per_trial": 0.5}, ClusterError, "gpus_per_trial 0.5: of several"),
        ({"fixed": {"precision": "auto"}}, SettingError, "precision='auto' is for one worker"),
        ({"space": {"precision": "float32,auto"}}, SettingError, "precision='auto' is for one worker"),
        ({"fixed": {"batch_size": 33}}, SettingError, "batch_size 33 cannot be shared by 2 workers"),
        ({"space": {"batch_size": "32,45"}}, SettingError, "batch_size 45 cannot be shared by 2 workers"),
        ({"space": {"batch_size": "32..64"}}, SettingError, "batch_size 33 cannot be shared by 2 workers"),
        ({"recipe": Recipe(batch_size=6), "gpus_per_trial": 2}, SettingError, "2 workers with 4 devices"),
    ],
)
def test_what_workers_cannot_be_is_told_before_anything_starts(
    tmp_path: Path, arguments: dict[str, Any], kind: type[KerasCnnsError], message: str
) -> None:
    chosen = {"cores": 2, "workers_per_trial": 2, **arguments}
    with pytest.raises(kind, match=message) as caught:
        sweep("densenet", "digits", folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", **chosen)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_on_the_command_line_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(("sweep", "densenet", "--cores", "2", "--workers-per-trial", "3", "--folder", str(tmp_path)))
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def digits() -> Dataset:
    """Return images that come in batches of 50 without a rest."""
    dataset = load("digits", image_size=28)
    training = dataset.splits["train"]
    few = Split(training.images[:700], training.labels[:700])
    return replace(dataset, splits={**dataset.splits, "train": few})


def swept(folder: Path, workers: int) -> Path:
    recipe = Recipe(epochs=EPOCHS, batch_size=50, optimizer="sgd", weight_decay=0.0)
    result = sweep("lenet5", digits(), trials=1, recipe=recipe, seed=1, scheduler="none", fixed=SHARED, cores=2,
                   folder=folder, tracking_uri=f"sqlite:///{folder}.db", workers_per_trial=workers)  # fmt: skip
    return result.folder / "journal.jsonl"


def kill_a_worker(folder: Path) -> None:
    """Kill a worker of the trial once that has told of an epoch."""
    while True:
        states = [state for path in folder.glob("sweeps/*/journal.jsonl") for state in Journal(path).trials().values()]
        if any(state.curve for state in states):
            break
        time.sleep(0.02)
    processes = psutil.Process().children(recursive=True)
    workers = [process for process in processes if process.cmdline()[:1] and "ray::Worker" in process.cmdline()[0]]
    workers[-1].kill()


@pytest.mark.slow
@pytest.mark.xdist_group("another ray")
@pytest.mark.usefixtures("own_ray")
def test_workers_train_as_one_does_also_when_one_of_them_dies(tmp_path: Path) -> None:
    killing = threading.Thread(target=kill_a_worker, args=(tmp_path / "two",), daemon=True)
    killing.start()
    shared, alone = (Journal(swept(tmp_path / name, workers)).trials()[0] for name, workers in (("two", 2), ("one", 1)))
    assert (shared.status, shared.deaths, len(shared.curve)) == ("finished", 1, EPOCHS)
    assert shared.candidate == alone.candidate
    for name in ("loss", "val_loss"):
        of_workers = [epoch[name] for epoch in shared.curve]
        np.testing.assert_allclose(of_workers, [epoch[name] for epoch in alone.curve], atol=1e-4)
