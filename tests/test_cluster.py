"""Machines: what a trial gets of them, what they cannot give, and a node that dies while a sweep trains on it."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keras_cnns import Recipe
from keras_cnns.cli import main
from keras_cnns.data import Dataset, Split, load
from keras_cnns.data.streaming import CACHE_VARIABLE, copy_rows
from keras_cnns.errors import ClusterError, KerasCnnsError, SettingError, StoreError
from keras_cnns.training.checkpoints import read_progress
from tuning import sweep
from tuning.running.cluster import check_nodes, fitting, too_much
from tuning.running.images import in_file, with_images
from tuning.running.journal import RUNNING, Journal, TrialState
from tuning.running.scratch import OF_MACHINE
from tuning.running.storage import Storage
from tuning.running.trial import fetch_trial_folder

EPOCHS = 9
CLUSTER_FILES = Path(__file__).resolve().parents[1] / "docs" / "cluster"
SMALL = {"blocks": (2, 2), "growth_rate": 4, "bottleneck_width": None, "compression": 0.5, "dropout": 0.0}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"cores": 0}, SettingError, "cores must be none or a whole number from 1"),
        ({"cores_per_trial": 0}, SettingError, "cores_per_trial must be a whole number from 1"),
        ({"cores": 2, "cores_per_trial": 3}, ClusterError, "all trials together have 2; ask for 2 or fewer"),
        ({"gpus_per_trial": -0.5}, SettingError, "gpus_per_trial must be none or a number from 0"),
        ({"gpus_per_trial": 1.5}, ClusterError, "whole GPUs, or a part of one"),
        ({"memory_per_trial": 0}, SettingError, "memory_per_trial must be"),
        ({"ray_address": "ray://head:10001"}, ClusterError, "run the sweep on a machine of the cluster"),
        ({"ray_address": "head"}, ClusterError, "write auto, or HOST:PORT"),
        ({"ray_address": "127.0.0.1:1"}, ClusterError, "nobody answers"),
    ],
)
def test_what_machines_cannot_be_is_told_before_anything_starts(
    tmp_path: Path, arguments: dict[str, Any], kind: type[KerasCnnsError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        sweep("densenet", "digits", folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", **arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_on_the_command_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(("sweep", "densenet", "--ray-address", "127.0.0.1:1"))
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        main(("sweep", "densenet", "--memory-per-trial", "much"))
    assert ended.value.code == 2
    assert "'much' is not a number" in capsys.readouterr().err


AMOUNTS = st.fixed_dictionaries({"CPU": st.integers(1, 64), "GPU": st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0, 2.0])})


@given(wanted=AMOUNTS, count=st.integers(0, 9), rest=st.floats(0.0, 0.9))
def test_a_machine_holds_as_many_trials_as_all_that_they_want_allows(
    wanted: dict[str, float], count: int, rest: float
) -> None:
    machine = {name: amount * (count + rest) for name, amount in wanted.items()}
    assert fitting(wanted, machine) == count
    assert fitting(wanted, {**machine, "CPU": 0.0}) == 0
    assert fitting(wanted, {**machine, "memory": 1.0}) == count


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"CPU": 1.0, "GPU": 2.0}, "gpus_per_trial 2: no machine has more than 1; ask for that or less."),
        ({"CPU": 16.0}, "cores_per_trial 16: no machine has more than 8; ask for that or less."),
        ({"CPU": 1.0, "memory": 64e9}, "memory_per_trial 64.0G: no machine has more than 32.0G; ask for that or less."),
        ({"CPU": 8.0, "GPU": 1.0}, "a trial is to have 8 CPU, 1 GPU, and no machine has all that; ask for less."),
    ],
)
def test_what_is_too_much_is_told_with_what_there_is(wanted: dict[str, float], message: str) -> None:
    machines = [{"CPU": 4.0, "GPU": 1.0, "memory": 16e9}, {"CPU": 8.0, "memory": 32e9}]
    assert all(fitting(wanted, machine) == 0 for machine in machines)
    assert too_much(wanted, machines) == message


def test_without_gpus_a_trial_that_wants_one_is_told_so() -> None:
    assert too_much({"CPU": 1.0, "GPU": 1.0}, [{"CPU": 4.0}]) == "gpus_per_trial 1: no machine has any; leave it out."


def test_images_are_sent_beside_what_describes_them_so_that_processes_share_them() -> None:
    dataset = load("digits")
    beside: list[pickle.PickleBuffer] = []
    described = pickle.dumps(dataset, protocol=5, buffer_callback=beside.append)
    images = sum(split.images.nbytes for split in dataset.splits.values())
    assert len(described) < 0.1 * images
    received = pickle.loads(described, buffers=beside)  # noqa: S301 - what was written here
    assert np.shares_memory(received.training.images, dataset.training.images)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize("left", [True, False])
def test_a_machine_that_leaves_while_it_is_asked_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    machines = ray.nodes()
    unknown = {**machines[0], "NodeID": "ab" * 28, "NodeManagerAddress": "192.0.2.2"}
    told = iter([[*machines, unknown], machines if left else [*machines, unknown]])
    monkeypatch.setattr("tuning.running.cluster.ray.nodes", lambda: next(told))
    (tmp_path / "marker").touch()
    if left:
        check_nodes(str(tmp_path), "marker", shared=True)
    else:
        with pytest.raises(ClusterError, match=r"machine 192\.0\.2\.2 does not answer"):
            check_nodes(str(tmp_path), "marker", shared=True)


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[np.memmap]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 1), np.uint8)
    yield copy_rows(images, np.arange(600))
    assert list((tmp_path / "sweeps").glob("*")) == []


def test_streamed_images_are_in_a_file_while_they_are_handed_over(streamed: np.memmap, tmp_path: Path) -> None:
    left = tmp_path / "sweeps" / f"{OF_MACHINE}{2**22 + 1}-train.npy"
    left.parent.mkdir()
    left.write_bytes(b"of a process that was killed")
    with in_file(streamed, "train") as path:
        assert np.array_equal(np.load(path, mmap_mode="r"), streamed)
    np.save(tmp_path / "whole.npy", streamed)
    mapped = np.load(tmp_path / "whole.npy", mmap_mode="r")
    with in_file(mapped, "train") as path:
        assert path == tmp_path / "whole.npy"
    for part in (mapped[1:], mapped[::-1]):
        with in_file(part, "train") as path:
            assert path != tmp_path / "whole.npy"
            assert np.array_equal(np.load(path), part)
    assert (tmp_path / "whole.npy").exists()


def test_a_dataset_with_other_images_keeps_what_was_counted_of_it() -> None:
    images = np.zeros((4, 2, 2, 1), np.uint8)
    dataset = Dataset(name="x", source="x", splits={"train": Split(images, np.arange(4))}, class_names=tuple("abcd"))
    counts = dataset.pixel_counts
    without = with_images(dataset, {"train": images[:0]})
    assert without.pixel_counts is counts
    assert len(without.training.images) == 0
    assert len(dataset.training.images) == 4


@pytest.mark.parametrize("name", ["ray-up.yaml", "ray-up-aws.yaml"])
def test_files_for_ray_up_are_what_ray_reads(name: str) -> None:
    import jsonschema
    import ray.autoscaler

    schema = json.loads(Path(ray.autoscaler.__path__[0], "ray-schema.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load((CLUSTER_FILES / name).read_text("utf-8")), schema)


def test_the_kubernetes_file_has_one_image_and_the_version_of_ray_that_is_installed() -> None:
    import ray

    documents = list(yaml.safe_load_all((CLUSTER_FILES / "kuberay.yaml").read_text("utf-8")))
    job = next(document for document in documents if document["kind"] == "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [container for group in groups for container in group["template"]["spec"]["containers"]]
    assert len({container["image"] for container in containers}) == 1
    assert cluster["rayVersion"] == ray.__version__
    assert "sweep" in job["spec"]["entrypoint"]
    assert "--ray-address auto" in job["spec"]["entrypoint"]


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")  # away from a Ray that other tests share
def test_a_sweep_over_two_nodes_outlives_one_of_them(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # the one that other tests share
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    killed = threading.Thread(target=kill_in_mid_training, args=(cluster, second, tmp_path), daemon=True)
    killed.start()
    try:
        with pytest.raises(ClusterError, match=r"cores_per_trial 2: no machine has more than 1"):
            sweep("densenet", "digits", folder=tmp_path, cores_per_trial=2, ray_address=cluster.address)
        with pytest.raises(StoreError, match="cannot be written"):
            sweep("densenet", "digits", folder=tmp_path, ray_address=cluster.address, storage="file:///proc/no")
        result = sweep("densenet", "digits", trials=4, recipe=Recipe(epochs=EPOCHS), seed=5, scheduler="none",
                       folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", fixed=SMALL,
                       ray_address=cluster.address, storage=(tmp_path / "storage").as_uri())  # fmt: skip
        killed.join()
        assert cluster.remaining_processes_alive()
    finally:
        cluster.shutdown()
    events = [event for event, _ in Journal(result.folder / "journal.jsonl").read()]
    counted = Counter((event["trial"], event["event"]) for event in events)
    for trial in range(4):
        assert [counted[trial, event] for event in ("candidate", "start", "epoch", "end")] == [1, 1, EPOCHS, 1]
    assert sum(counted[trial, "death"] for trial in range(4)) == 1
    assert {run.status for run in result.runs} == {"finished"}
    assert result.utilization > 0
    # Of what had been trained nothing was trained again: the checkpoints have the times that were told first.
    storage = Storage((tmp_path / "storage").as_uri(), result.folder.name)
    for trial, state in Journal(result.folder / "journal.jsonl").trials().items():
        shutil.rmtree(result.folder / "trials", ignore_errors=True)
        history = read_progress(fetch_trial_folder(storage, result.folder, trial)).history
        assert [epoch["seconds"] for epoch in history] == [epoch["seconds"] for epoch in state.curve]


def kill_in_mid_training(cluster: Any, node: Any, folder: Path) -> None:
    """Kill a node while both train, so that one trial has to go on elsewhere."""
    states: dict[int, TrialState] = {}
    while sum(state.ended for state in states.values()) < 4:
        for path in folder.glob("sweeps/*/journal.jsonl"):
            states = Journal(path).trials()
        running = [len(state.curve) for state in states.values() if state.status == RUNNING]
        if len(running) == 2 and 1 <= max(running) <= EPOCHS - 3:
            cluster.remove_node(node, allow_graceful=False)
            return
        time.sleep(0.02)
