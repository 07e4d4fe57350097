"""What every test has: a quiet backend, and the two small sets of real images where they are."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import settings
from mlflow.store.db import utils as mlflow_database
from playwright.sync_api import Browser, sync_playwright

from keras_cnns import plugins
from keras_cnns.data import Dataset, Split, load
from keras_cnns.evaluation.intervals import RESAMPLES, bootstrap_intervals
from keras_cnns.lazy import keras
from keras_cnns.plotting import message_figure
from keras_cnns.testing.small_networks import without_random_weights

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("MLFLOW_TRACKING_URI", None)
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


def pytest_collection_finish() -> None:
    """Let Python look for garbage only in what the tests make, not in a million objects of imported modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_store_from_outside() -> Iterator[None]:
    """MLflow sets this variable whenever a test names a store to it, and new processes would inherit it."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session", autouse=True)
def tables_are_created_once() -> Iterator[None]:
    """Repeat the result of MLflow's migrations, which take a second, for every store but the first of a process."""
    migrate, script = mlflow_database._initialize_tables, []

    def create_tables(engine: Any) -> None:
        if not script:
            migrate(engine)
        with closing(sqlite3.connect(engine.url.database)) as database:
            if script:
                database.executescript("".join(script))
            else:
                script.extend(database.iterdump())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_database, "_initialize_tables", create_tables)
        yield


@pytest.fixture
def zero_weights() -> Iterator[None]:
    """Build networks with zeros as weights, which takes less time than random numbers."""
    with without_random_weights():
        yield


@pytest.fixture
def quick_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate with a fifth of the resamples, and without plots in the reports, which take longer than all else."""
    monkeypatch.setitem(bootstrap_intervals.__kwdefaults__, "resamples", RESAMPLES // 5)
    monkeypatch.setattr("keras_cnns.evaluation.report.page.draw_evaluation", lambda _: message_figure("plots"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a test a cache of its own."""
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def plain_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the plots of finished sweeps by empty files."""
    monkeypatch.setattr("tuning.outcome.files.save", lambda _, path: path.touch())


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


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with functions that build networks, in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "nets.py"
    shutil.copy(Path(__file__).with_name("user_networks.py"), path)
    return path


@pytest.fixture
def squares() -> Dataset:
    """Dark and bright images."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = (generator.integers(0, 100, (40, 16, 16, 1)) + 120 * labels[:, None, None, None]).astype(np.uint8)
    splits = {
        name: Split(pixels[part], labels[part])
        for name, part in {"train": slice(0, 24), "validation": slice(24, 32), "test": slice(32, 40)}.items()
    }
    return Dataset(name="squares", source="squares", class_names=("dark", "bright"), splits=splits)


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium that is installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def grey_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a `SavedRun`."""
    from saved_networks import SavedRun

    return SavedRun(tmp_path_factory.mktemp("grey_run"))
