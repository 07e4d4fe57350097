"""Clusters: the resources of trials, error messages, shared images, and a sweep that loses a node."""

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
from keras_cnns.cache import CACHE_VARIABLE
from keras_cnns.cli import main
from keras_cnns.data import Dataset, Split, load
from keras_cnns.data.streaming import copy_rows
from keras_cnns.errors import ClusterError, KerasCnnsError, SettingError, StoreError
from keras_cnns.training.checkpoints import read_progress
from tuning import sweep
from tuning.running.cluster import check_nodes, describe_shortage, trials_on
from tuning.running.journal import RUNNING, Journal, TrialState
from tuning.running.scratch import MACHINE_PREFIX
from tuning.running.shared_dataset import image_file, replace_images
from tuning.running.storage import CheckpointStorage
from tuning.running.trial import fetch_trial_folder

EPOCHS = 9
CLUSTER_FILES = Path(__file__).resolve().parents[1] / "docs" / "cluster"
SMALL = {"blocks": (1, 1), "growth_rate": 4, "bottleneck_width": None, "compression": 0.5, "dropout": 0.0}


@pytest.fixture
def disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the Ray that other tests of this process have started."""
    monkeypatch.setattr("tuning.running.cluster.ray.is_initialized", lambda: False)


@pytest.mark.usefixtures("disconnected")
@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"cores": 0}, SettingError, "cores must be none or a whole number from 1"),
        ({"cores_per_trial": 0}, SettingError, "cores_per_trial must be a whole number from 1"),
        ({"cores": 2, "cores_per_trial": 3}, ClusterError, "all trials together have 2; request that or less"),
        ({"gpus_per_trial": -0.5}, SettingError, "gpus_per_trial must be none or a number from 0"),
        ({"gpus_per_trial": 1.5}, ClusterError, "a whole number of GPUs, or a fraction below 1"),
        ({"memory_per_trial": 0}, SettingError, "memory_per_trial must be"),
        ({"ray_address": "ray://head:10001"}, ClusterError, "run the sweep on a machine of the cluster"),
        ({"ray_address": "head"}, ClusterError, "write auto, or HOST:PORT"),
        ({"ray_address": "127.0.0.1:1"}, ClusterError, "no answer"),
    ],
)
def test_invalid_resources_are_reported_before_the_sweep_starts(
    tmp_path: Path, arguments: dict[str, Any], kind: type[KerasCnnsError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        sweep("densenet", "digits", folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", **arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("disconnected")
def test_an_invalid_option_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(("sweep", "densenet", "--ray-address", "127.0.0.1:1"))
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as exit_:
        main(("sweep", "densenet", "--memory-per-trial", "much"))
    assert exit_.value.code == 2
    assert "'much' is not a number" in capsys.readouterr().err


AMOUNTS = st.fixed_dictionaries({"CPU": st.integers(1, 64), "GPU": st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0, 2.0])})


@given(resources=AMOUNTS, count=st.integers(0, 9), rest=st.floats(0.0, 0.9))
def test_the_scarcest_resource_determines_how_many_trials_fit_on_a_machine(
    resources: dict[str, float], count: int, rest: float
) -> None:
    machine = {name: amount * (count + rest) for name, amount in resources.items()}
    assert trials_on(machine, resources) == count
    assert trials_on({**machine, "CPU": 0.0}, resources) == 0
    assert trials_on({**machine, "memory": 1.0}, resources) == count


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"CPU": 1.0, "GPU": 2.0}, "gpus_per_trial 2: no machine has more than 1; request that or less."),
        ({"CPU": 16.0}, "cores_per_trial 16: no machine has more than 8; request that or less."),
        ({"CPU": 1.0, "memory": 64e9}, "memory_per_trial 64.0G: no machine has more than 32.0G; request that or less."),
        ({"CPU": 8.0, "GPU": 1.0}, "each trial needs 8 CPU, 1 GPU, and no machine has all of that; request less."),
    ],
)
def test_a_shortage_is_reported_with_what_is_available(resources: dict[str, float], message: str) -> None:
    machines = [{"CPU": 4.0, "GPU": 1.0, "memory": 16e9}, {"CPU": 8.0, "memory": 32e9}]
    assert all(trials_on(machine, resources) == 0 for machine in machines)
    assert describe_shortage(resources, machines) == message


def test_a_request_for_gpus_without_any_gpu_is_reported() -> None:
    message = describe_shortage({"CPU": 1.0, "GPU": 1.0}, [{"CPU": 4.0}])
    assert message == "gpus_per_trial 1: no machine has any; leave the option out."


def test_images_are_pickled_out_of_band_so_that_processes_can_share_them() -> None:
    dataset = load("digits")
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    images = sum(split.images.nbytes for split in dataset.splits.values())
    assert len(pickled) < 0.1 * images
    received = pickle.loads(pickled, buffers=buffers)  # noqa: S301 - pickled here
    assert np.shares_memory(received.training.images, dataset.training.images)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize("left", [True, False])
def test_a_machine_that_leaves_during_the_check_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    machines = ray.nodes()
    unknown = {**machines[0], "NodeID": "ab" * 28, "NodeManagerAddress": "192.0.2.2"}
    answers = iter([[*machines, unknown], machines if left else [*machines, unknown]])
    monkeypatch.setattr("tuning.running.cluster.ray.nodes", lambda: next(answers))
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


def test_streamed_images_are_in_a_file_while_they_are_shared(streamed: np.memmap, tmp_path: Path) -> None:
    stale = tmp_path / "sweeps" / f"{MACHINE_PREFIX}{2**22 + 1}-train.npy"
    stale.parent.mkdir()
    stale.write_bytes(b"of a killed process")
    with image_file(streamed, "train") as path:
        assert np.array_equal(np.load(path, mmap_mode="r"), streamed)
    np.save(tmp_path / "whole.npy", streamed)
    mapped = np.load(tmp_path / "whole.npy", mmap_mode="r")
    with image_file(mapped, "train") as path:
        assert path == tmp_path / "whole.npy"
    for part in (mapped[1:], mapped[::-1]):
        with image_file(part, "train") as path:
            assert path != tmp_path / "whole.npy"
            assert np.array_equal(np.load(path), part)
    assert (tmp_path / "whole.npy").exists()


def test_a_dataset_with_replaced_images_keeps_its_pixel_counts() -> None:
    images = np.zeros((4, 2, 2, 1), np.uint8)
    dataset = Dataset(name="x", source="x", splits={"train": Split(images, np.arange(4))}, class_names=tuple("abcd"))
    counts = dataset.pixel_counts
    without = replace_images(dataset, {"train": images[:0]})
    assert without.pixel_counts is counts
    assert len(without.training.images) == 0
    assert len(dataset.training.images) == 4


@pytest.mark.parametrize("name", ["ray-up.yaml", "ray-up-aws.yaml"])
def test_the_files_for_ray_up_match_rays_schema(name: str) -> None:
    import jsonschema
    import ray.autoscaler

    schema = json.loads(Path(ray.autoscaler.__path__[0], "ray-schema.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load((CLUSTER_FILES / name).read_text("utf-8")), schema)


def test_the_kubernetes_file_uses_one_image_and_the_installed_version_of_ray() -> None:
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
@pytest.mark.xdist_group("cluster")  # separate from the Ray that other tests share
def test_a_sweep_on_two_nodes_survives_the_death_of_one(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # stop the Ray that other tests share
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    killed = threading.Thread(target=kill_node_while_training, args=(cluster, second, tmp_path), daemon=True)
    killed.start()
    try:
        with pytest.raises(ClusterError, match=r"cores_per_trial 2: no machine has more than 1"):
            sweep("densenet", "digits", folder=tmp_path, cores_per_trial=2, ray_address=cluster.address)
        with pytest.raises(StoreError, match="is not writable"):
            sweep("densenet", "digits", folder=tmp_path, ray_address=cluster.address, storage="file:///proc/no")
        result = sweep("densenet", "digits", trials=3, recipe=Recipe(epochs=EPOCHS), seed=5, scheduler="none",
                       folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", space=SMALL,
                       ray_address=cluster.address, storage=(tmp_path / "storage").as_uri())  # fmt: skip
        killed.join()
        assert cluster.remaining_processes_alive()
    finally:
        cluster.shutdown()
    events = [event for event, _ in Journal(result.folder / "journal.jsonl").read()]
    counted = Counter((event["trial"], event["event"]) for event in events)
    for trial in range(3):
        assert [counted[trial, event] for event in ("candidate", "start", "epoch", "end")] == [1, 1, EPOCHS, 1]
    assert sum(counted[trial, "death"] for trial in range(3)) == 1
    assert {run.status for run in result.runs} == {"finished"}
    assert result.utilization > 0
    # No epoch was trained twice: the checkpoints have the times that were reported first.
    storage = CheckpointStorage((tmp_path / "storage").as_uri(), result.folder.name)
    for trial, state in Journal(result.folder / "journal.jsonl").trials().items():
        shutil.rmtree(result.folder / "trials", ignore_errors=True)
        history = read_progress(fetch_trial_folder(storage, result.folder, trial)).history
        assert [epoch["seconds"] for epoch in history] == [epoch["seconds"] for epoch in state.curve]


def kill_node_while_training(cluster: Any, node: Any, folder: Path) -> None:
    """Kill a node while both nodes train, so that one trial has to continue on the other node."""
    states: dict[int, TrialState] = {}
    while sum(state.ended for state in states.values()) < 3:
        for path in folder.glob("sweeps/*/journal.jsonl"):
            states = Journal(path).trials()
        running = [len(state.curve) for state in states.values() if state.status == RUNNING]
        if len(running) == 2 and 1 <= max(running) <= EPOCHS - 3:
            cluster.remove_node(node, allow_graceful=False)
            return
        time.sleep(0.02)
