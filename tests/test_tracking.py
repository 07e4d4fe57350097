"""Stores: runs, files and models are written to MLflow and read back; unusable stores are one-line errors."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest

from keras_cnns.errors import StoreError
from keras_cnns.evaluation.classifier import describe_network
from keras_cnns.tracking import RunDescription, Store

DESCRIPTION = RunDescription(
    name="trial-0001",
    model="densenet121",
    family="densenet",
    settings={"growth_rate": "8", "blocks": "4,4,4"},
    recipe={"epochs": "3", "learning_rate": "0.002"},
    seed=7,
    data_name="digits",
    data_fingerprint="f00d",
    parameters=1_024_000,
    trainable_parameters=1_000_000,
    macs=264_800_000,
    tags={"sweep": "s1", "trial": "1"},
)
CURVE = [{"loss": 1.0, "val_accuracy": 0.5}, {"loss": 0.5, "val_accuracy": 0.75}]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def error_message(uri: str, **options: bool) -> str:
    with pytest.raises(StoreError) as caught:
        Store(uri, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_mlflow_links_a_run_to_its_dataset_and_describes_it(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    assert store.start(DESCRIPTION, experiment=experiment) == run_id
    run = mlflow.MlflowClient(store.uri).get_run(run_id)
    (dataset_input,) = run.inputs.dataset_inputs
    assert (dataset_input.dataset.name, dataset_input.dataset.digest) == ("digits", "f00d")
    assert [(tag.key, tag.value) for tag in dataset_input.tags] == [("mlflow.data.context", "training")]
    assert run.data.tags["mlflow.note.content"] == "densenet121 on digits, seed 7"
    found = mlflow.MlflowClient(store.uri).get_experiment(run.info.experiment_id)
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_is_read_as_it_was_written(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment, parent="p1")
    for number, metrics in enumerate(CURVE, start=1):
        store.record(run_id, number, metrics)
    store.finish(run_id, metrics={"best_val_accuracy": 0.75, "seconds": 2.5}, tags={"stopped_early": "true"})

    (run,) = store.runs(experiment=experiment)
    assert (run.id, run.name, run.experiment, run.status) == (run_id, "trial-0001", experiment, "finished")
    assert (run.model, run.family, run.seed, run.parent, run.reason) == ("densenet121", "densenet", 7, "p1", "")
    assert (run.settings, run.recipe) == (DESCRIPTION.settings, DESCRIPTION.recipe)
    assert (run.data_name, run.data_fingerprint) == ("digits", "f00d")
    assert run.metrics == {
        "parameters": 1_024_000,
        "trainable_parameters": 1_000_000,
        "macs": 264_800_000,
        "loss": 0.5,
        "val_accuracy": 0.75,
        "best_val_accuracy": 0.75,
        "seconds": 2.5,
        "epochs": 2,
    }
    assert run.tags["stopped_early"] == "true"
    assert run.tags["versions.mlflow"] == mlflow.__version__
    assert abs(run.started.timestamp() - time.time()) < 600
    assert store.curves(run_id) == {"loss": [(1, 1.0), (2, 0.5)], "val_accuracy": [(1, 0.5), (2, 0.75)]}


def test_costs_can_be_recorded_after_training(store: Store, experiment: str) -> None:
    description = replace(DESCRIPTION, parameters=None, trainable_parameters=None, macs=None)
    run_id = store.start(description, experiment=experiment)
    assert store.runs(experiment=experiment)[0].metrics == {}
    store.finish(run_id, metrics={"parameters": 5})
    assert store.runs(experiment=experiment)[0].metrics == {"parameters": 5}


def test_an_epoch_is_recorded_only_once(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    store.record(run_id, 1, CURVE[0])
    store.record(run_id, 1, {"loss": 9.0})
    another_process = Store(store.uri)
    another_process.record(run_id, 1, {"loss": 9.0})
    another_process.record(run_id, 2, CURVE[1])
    assert store.curves(run_id)["loss"] == [(1, 1.0), (2, 0.5)]


def test_a_failed_run_has_a_reason_until_it_is_continued(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    assert store.runs(experiment=experiment)[0].status == "running"
    store.finish(run_id, status="killed", reason="interrupted")
    (run,) = store.runs(experiment=experiment)
    assert (run.status, run.reason) == ("failed", "interrupted")
    store.record(run_id, 1, CURVE[0])
    (run,) = store.runs(experiment=experiment)
    assert (run.status, run.reason) == ("running", "")
    store.finish(run_id)
    assert store.runs(experiment=experiment)[0].status == "finished"


def test_groups_are_not_listed_as_runs(store: Store, experiment: str) -> None:
    group = store.start_group("sweep", experiment=experiment, params={"trials": 2}, tags={"data.name": "digits"})
    member = store.start(DESCRIPTION, experiment=experiment, parent=group)
    outside = store.start(DESCRIPTION, experiment=experiment)
    store.finish(group, metrics={"val_accuracy": 0.75})
    assert [run.id for run in store.runs(experiment=experiment, parent=group)] == [member]
    assert {run.id for run in store.runs(experiment=experiment)} == {member, outside}
    assert {member, outside} <= {run.id for run in store.runs()}
    assert experiment in store.experiments()


def test_runs_are_found_by_tags(store: Store, experiment: str) -> None:
    assert store.find(experiment=experiment, tags={"trial": "1"}) is None
    run_id = store.start(replace(DESCRIPTION, tags={"sweep": "it's", "trial": "1"}), experiment=experiment)
    store.start(replace(DESCRIPTION, tags={"sweep": "it's", "trial": "2"}), experiment=experiment)
    assert store.find(experiment=experiment, tags={"sweep": "it's", "trial": "1"}) == run_id
    assert store.find(experiment=experiment, tags={"sweep": "s2", "trial": "1"}) is None


def test_all_pages_are_read(store: Store, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.tracking.store.PAGE", 2)
    ids = {store.start(DESCRIPTION, experiment=experiment) for _ in range(5)}
    assert {run.id for run in store.runs(experiment=experiment)} == ids


def test_nan_metrics_are_recorded(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    store.record(run_id, 1, {"loss": float("nan")})
    assert np.isnan(store.runs(experiment=experiment)[0].metrics["loss"])


def test_files_are_stored_beside_the_database(store: Store, experiment: str, tmp_path: Path) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    (tmp_path / "report.txt").write_text("all is well")
    store.log_files(run_id, tmp_path / "report.txt")
    (stored,) = Path(store.location).parent.glob(f"mlartifacts/{run_id}/artifacts/report.txt")
    assert stored.read_text() == "all is well"
    with pytest.raises(StoreError, match=r"missing\.txt"):
        store.log_files(run_id, tmp_path / "missing.txt")


def test_a_model_can_be_loaded_by_both_mlflow_flavors(
    store: Store, experiment: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential(layers)
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
    expected = model.predict(images, verbose=0)
    run_id = store.start(DESCRIPTION, experiment=experiment)
    capfd.readouterr()
    description = describe_network(
        class_names=("a", "b", "c"), positive=None, multi_label=False, image_shape=(4, 4, 1), reading={}, ranges={},
        operating_point={}, rules={},
    )  # fmt: skip
    store.log_model(run_id, model, images, description=description)
    assert capfd.readouterr() == ("", "")

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    try:
        as_function = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
        as_keras = mlflow.tensorflow.load_model(f"runs:/{run_id}/model")
    finally:
        mlflow.set_tracking_uri(before)
    answers = as_function.predict(images)
    assert list(answers) == ["predicted_class", "probability_a", "probability_b", "probability_c"]
    np.testing.assert_allclose(answers.iloc[:, 1:].to_numpy(), expected, rtol=1e-5)
    assert list(answers["predicted_class"]) == ["abc"[index] for index in expected.argmax(axis=1)]
    np.testing.assert_allclose(as_keras.predict(images, verbose=0), expected, rtol=1e-5)
    assert as_function.metadata.signature is not None
    assert as_function.metadata.saved_input_example_info is not None
    outputs = mlflow.mlflow.MlflowClient(store.uri).get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [as_function.metadata.model_id]


def test_mlflows_global_state_is_unchanged(store: Store, experiment: str) -> None:
    before = mlflow.get_tracking_uri()
    store.finish(store.start(DESCRIPTION, experiment=experiment))
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_two_processes_can_create_the_same_store_without_output(tmp_path: Path) -> None:
    script = (
        "import sys; from keras_cnns.tracking import Store; store = Store(sys.argv[1]);"
        "store.start_group('g', experiment='e', params={}, tags={})"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/new/mlflow.db"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
    with sqlite3.connect(tmp_path / "new/mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    assert [path.name for path in (tmp_path / "new").glob("[!.]*")] == ["mlflow.db"]


def test_a_store_can_be_used_after_a_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    Store(f"sqlite:///{path}")
    script = (
        "import os, sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "connection.execute('PRAGMA cache_size = 1'); connection.execute('BEGIN');"
        "connection.execute('CREATE TABLE incomplete (x)');"
        "connection.execute('INSERT INTO incomplete VALUES (zeroblob(1000000))'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert path.with_name("mlflow.db-journal").exists()
    assert Store(f"sqlite:///{path}", create=False).experiments() == ["Default"]
    with sqlite3.connect(path) as connection:
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'incomplete'").fetchall()


def test_the_default_store_is_set_by_the_environment_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Store().uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert f"{tmp_path}/other.db" in error_message("", create=False)


@pytest.mark.parametrize("uri", ["foo://bar", "./mlruns", "mlflow.db", "sqlite://", "sqlite:///:memory:"])
def test_unsupported_stores_are_rejected(uri: str) -> None:
    message = error_message(uri)
    assert repr(uri) in message
    assert "sqlite:///PATH.db" in message


@pytest.mark.parametrize("content", [b"PK\x03\x04 a spreadsheet", b"SQLite format 3\0 but cut off here" * 9])
def test_a_file_that_is_not_a_database_is_not_changed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    assert str(path) in error_message(f"sqlite:///{path}")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_of_another_program_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "patients.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    before = path.read_bytes()
    assert "a database of another program" in error_message(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert Store(f"sqlite:///{tmp_path}/mlflow.db").experiments() == ["Default"]


def test_a_store_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"cannot create the store {tmp_path}/file/mlflow.db" in error_message(f"sqlite:///{tmp_path}/file/mlflow.db")
    assert "Is a directory" in error_message(f"sqlite:///{tmp_path}")


def test_reading_does_not_create_a_store(tmp_path: Path) -> None:
    assert "keras-cnns train" in error_message(f"sqlite:///{tmp_path}/mlflow.db", create=False)
    assert not list(tmp_path.iterdir())


def test_a_missing_server_is_detected_within_seconds() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    start = time.monotonic()
    assert uri in error_message(uri)
    assert "mlflow server" in error_message(uri)
    assert time.monotonic() - start < 6


def test_a_server_that_does_not_respond_is_detected_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.tracking.location.SERVER_TIMEOUT", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "timed out" in error_message(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.fixture
def other_server() -> Iterator[str]:
    class Silent(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_other_than_mlflow_is_an_error(other_server: str) -> None:
    assert other_server in error_message(other_server)


def test_an_unknown_experiment_is_an_error_with_a_suggestion(store: Store) -> None:
    store.start(DESCRIPTION, experiment="pneumonia")
    with pytest.raises(StoreError, match=r"no experiment 'pneumona' .* Did you mean 'pneumonia'\?"):
        store.runs(experiment="pneumona")


def test_a_deleted_experiment_is_an_error(store: Store, experiment: str) -> None:
    client = mlflow.mlflow.MlflowClient(store.uri)
    client.delete_experiment(client.create_experiment(experiment))
    with pytest.raises(StoreError, match="was deleted"):
        store.start(DESCRIPTION, experiment=experiment)


def test_mlflow_errors_are_reported_in_one_line(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.curves("0" * 32)
    assert "\n" not in str(caught.value)
    assert store.location in str(caught.value)


AUTOLOG = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.autolog(silent=True)
import numpy as np
import keras_cnns
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (40, 8, 8), dtype=np.uint8)
np.savez("images.npz", train_images=images, train_labels=np.arange(40) % 2)
with mlflow.start_run() as active:
    small = {"blocks": (1,), "growth_rate": 2}
    trained = keras_cnns.train("densenet-bc-40", "images.npz", settings=small, recipe=keras_cnns.Recipe(epochs=1))
client = mlflow.MlflowClient()
experiments = [experiment.experiment_id for experiment in client.search_experiments()]
runs = {run.info.run_id: run for run in client.search_runs(experiments)}
assert set(runs) == {active.info.run_id, trained.run_id}, runs
assert runs[trained.run_id].data.tags["mlflow.parentRunId"] == active.info.run_id
assert not runs[active.info.run_id].data.metrics and not runs[active.info.run_id].data.params
(model,) = client.search_logged_models(experiments)
assert model.source_run_id == trained.run_id
"""


@pytest.mark.exhaustive  # test_lazy imports modules under hooks like those of MLflow
@pytest.mark.slow
def test_autologging_adds_nothing_to_a_training_which_is_nested_in_the_active_run(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", AUTOLOG], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
