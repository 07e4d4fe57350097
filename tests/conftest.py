"""What every test has: a quiet backend, and the two small sets of real images where they are."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from keras_cnns import plugins
from keras_cnns.data import Dataset, load
from keras_cnns.lazy import keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A worker a core, a thread a worker: threads of several workers that wait for each other double the time.
for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
# The same examples each time, so that a run that fails can be run again.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
KEPT = {"memory": 2**30}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Group the tests that share a fixture of their module, so that one worker makes it."""
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - pytest has no public name
    if any(made[-1].scope == "module" for made in definitions) and not item.get_closest_marker("xdist_group"):
        item.add_marker(pytest.mark.xdist_group(item.location[0]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start groups first and slow tests next, so that short tests keep both workers busy to the end."""
    items.sort(key=lambda item: (not item.get_closest_marker("xdist_group"), not item.get_closest_marker("slow")))


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow sets this variable too, whenever a test names a store to it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True)
def memory_given_back() -> Iterator[None]:
    """Let Keras forget its graphs whenever a process of tests has grown by a gigabyte."""
    yield
    if psutil.Process().memory_info().rss > KEPT["memory"] + 2**30:
        keras.backend.clear_session()
        gc.collect()
        KEPT["memory"] = psutil.Process().memory_info().rss


def shared(name: str) -> Path:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the project")
    return path


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Return a list of entry points that installed packages seem to have; at first there are none."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry for entry in entries if entry.group == group])
    return entries


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def own_ray() -> Iterator[None]:
    """A Ray that all sweeps of this process share, with one core, because each worker needs seconds to start."""
    from tuning.running.cluster import ClusterConfig, connect

    with connect(ClusterConfig(cores=1)):
        yield


@pytest.fixture(scope="session")
def pneumonia() -> Path:
    return shared("pneumoniamnist_trainval.npz")


@pytest.fixture(scope="session")
def mnist() -> Path:
    return shared("mnist.npz")
