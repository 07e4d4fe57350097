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


def message_of(uri: str, **options: bool) -> str:
    with pytest.raises(StoreError) as caught:
        Store(uri, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_mlflow_leads_from_a_run_to_its_images_and_says_what_it_is(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    assert store.start(DESCRIPTION, experiment=experiment) == run_id
    run = mlflow.MlflowClient(store.uri).get_run(run_id)
    (images,) = run.inputs.dataset_inputs
    assert (images.dataset.name, images.dataset.digest) == ("digits", "f00d")
    assert [(tag.key, tag.value) for tag in images.tags] == [("mlflow.data.context", "training")]
    assert run.data.tags["mlflow.note.content"] == "densenet121 on digits, seed 7"
    kept_in = mlflow.MlflowClient(store.uri).get_experiment(run.info.experiment_id)
    assert kept_in.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_comes_back_as_it_was_described(store: Store, experiment: str) -> None:
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


def test_what_is_not_known_before_training_can_come_later(store: Store, experiment: str) -> None:
    unmeasured = replace(DESCRIPTION, parameters=None, trainable_parameters=None, macs=None)
    run_id = store.start(unmeasured, experiment=experiment)
    assert store.runs(experiment=experiment)[0].metrics == {}
    store.finish(run_id, metrics={"parameters": 5})
    assert store.runs(experiment=experiment)[0].metrics == {"parameters": 5}


def test_an_epoch_delivered_twice_is_recorded_once(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    store.record(run_id, 1, CURVE[0])
    store.record(run_id, 1, {"loss": 9.0})
    another_process = Store(store.uri)
    another_process.record(run_id, 1, {"loss": 9.0})
    another_process.record(run_id, 2, CURVE[1])
    assert store.curves(run_id)["loss"] == [(1, 1.0), (2, 0.5)]


def test_a_run_that_failed_says_why_until_it_goes_on(store: Store, experiment: str) -> None:
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


def test_groups_hold_runs_and_are_not_runs(store: Store, experiment: str) -> None:
    group = store.start_group("sweep", experiment=experiment, params={"trials": 2}, tags={"data.name": "digits"})
    inside = store.start(DESCRIPTION, experiment=experiment, parent=group)
    outside = store.start(DESCRIPTION, experiment=experiment)
    store.finish(group, metrics={"val_accuracy": 0.75})
    assert [run.id for run in store.runs(experiment=experiment, parent=group)] == [inside]
    assert {run.id for run in store.runs(experiment=experiment)} == {inside, outside}
    assert {inside, outside} <= {run.id for run in store.runs()}
    assert experiment in store.experiments()


def test_runs_are_found_by_their_tags(store: Store, experiment: str) -> None:
    assert store.find(experiment=experiment, tags={"trial": "1"}) is None
    run_id = store.start(replace(DESCRIPTION, tags={"sweep": "it's", "trial": "1"}), experiment=experiment)
    store.start(replace(DESCRIPTION, tags={"sweep": "it's", "trial": "2"}), experiment=experiment)
    assert store.find(experiment=experiment, tags={"sweep": "it's", "trial": "1"}) == run_id
    assert store.find(experiment=experiment, tags={"sweep": "s2", "trial": "1"}) is None


def test_all_pages_are_read(store: Store, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.tracking.store.PAGE", 2)
    ids = {store.start(DESCRIPTION, experiment=experiment) for _ in range(5)}
    assert {run.id for run in store.runs(experiment=experiment)} == ids


def test_infinite_and_missing_numbers_are_kept(store: Store, experiment: str) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    store.record(run_id, 1, {"loss": float("nan")})
    assert np.isnan(store.runs(experiment=experiment)[0].metrics["loss"])


def test_files_lie_beside_the_database(store: Store, experiment: str, tmp_path: Path) -> None:
    run_id = store.start(DESCRIPTION, experiment=experiment)
    (tmp_path / "report.txt").write_text("all is well")
    store.log_files(run_id, tmp_path / "report.txt")
    (kept,) = Path(store.location).parent.glob(f"mlartifacts/{run_id}/artifacts/report.txt")
    assert kept.read_text() == "all is well"
    with pytest.raises(StoreError, match=r"nowhere\.txt"):
        store.log_files(run_id, tmp_path / "nowhere.txt")


def test_a_model_is_loaded_by_both_of_mlflows_ways(
    store: Store, experiment: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    images = np.arange(32, dtype=np.float32).reshape(2, 4, 4, 1)
    expected = model.predict(images, verbose=0)
    run_id = store.start(DESCRIPTION, experiment=experiment)
    capfd.readouterr()
    store.log_model(run_id, model, images)
    assert capfd.readouterr() == ("", "")

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    try:
        as_function = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
        as_keras = mlflow.tensorflow.load_model(f"runs:/{run_id}/model")
    finally:
        mlflow.set_tracking_uri(before)
    np.testing.assert_allclose(as_function.predict(images), expected, rtol=1e-5)
    np.testing.assert_allclose(as_keras.predict(images, verbose=0), expected, rtol=1e-5)
    assert as_function.metadata.signature is not None
    assert as_function.metadata.saved_input_example_info is not None
    outputs = mlflow.mlflow.MlflowClient(store.uri).get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [as_function.metadata.model_id]


def test_global_state_stays_as_it_was(store: Store, experiment: str) -> None:
    before = mlflow.get_tracking_uri()
    store.finish(store.start(DESCRIPTION, experiment=experiment))
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_two_processes_make_one_store_without_a_word(tmp_path: Path) -> None:
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


def test_the_default_is_the_environment_then_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Store().uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert f"{tmp_path}/other.db" in message_of("", create=False)


@pytest.mark.parametrize("uri", ["foo://bar", "./mlruns", "mlflow.db", "sqlite://", "sqlite:///:memory:"])
def test_other_kinds_of_stores_are_refused(uri: str) -> None:
    message = message_of(uri)
    assert repr(uri) in message
    assert "sqlite:///PATH.db" in message


@pytest.mark.parametrize("content", [b"PK\x03\x04 a spreadsheet", b"SQLite format 3\0 but cut off here" * 9])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    assert str(path) in message_of(f"sqlite:///{path}")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "patients.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    before = path.read_bytes()
    assert "belongs to another program" in message_of(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert Store(f"sqlite:///{tmp_path}/mlflow.db").experiments() == ["Default"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"cannot make the store {tmp_path}/file/mlflow.db" in message_of(f"sqlite:///{tmp_path}/file/mlflow.db")
    assert "Is a directory" in message_of(f"sqlite:///{tmp_path}")


def test_reading_makes_no_store(tmp_path: Path) -> None:
    assert "keras-cnns train" in message_of(f"sqlite:///{tmp_path}/mlflow.db", create=False)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_told_soon() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    begun = time.monotonic()
    assert uri in message_of(uri)
    assert "mlflow server" in message_of(uri)
    assert time.monotonic() - begun < 6


def test_a_server_that_never_answers_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.tracking.location.ANSWER_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "timed out" in message_of(f"http://127.0.0.1:{silent.getsockname()[1]}")


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


def test_a_server_that_is_not_mlflow_is_told(other_server: str) -> None:
    assert other_server in message_of(other_server)


def test_an_unknown_experiment_comes_with_a_suggestion(store: Store) -> None:
    store.start(DESCRIPTION, experiment="pneumonia")
    with pytest.raises(StoreError, match=r"no experiment 'pneumona' .* Did you mean 'pneumonia'\?"):
        store.runs(experiment="pneumona")


def test_a_deleted_experiment_is_told(store: Store, experiment: str) -> None:
    client = mlflow.mlflow.MlflowClient(store.uri)
    client.delete_experiment(client.create_experiment(experiment))
    with pytest.raises(StoreError, match="was deleted"):
        store.start(DESCRIPTION, experiment=experiment)


def test_mlflows_own_errors_are_one_line(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.curves("0" * 32)
    assert "\n" not in str(caught.value)
    assert store.location in str(caught.value)
