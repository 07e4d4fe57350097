"""Networks of Keras and of users are trained, resumed, evaluated, explained, compared and swept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest
from PIL import Image

from keras_cnns import Dataset, Recipe, describe, evaluate, explain, train
from keras_cnns.cache import CACHE_VARIABLE
from keras_cnns.cli import main
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.data import Split
from keras_cnns.display.progress import Progress
from keras_cnns.errors import EvaluationError, ReportError, ResumeError, SettingError
from keras_cnns.networks.baselines import code
from keras_cnns.networks.registry import find_variant
from keras_cnns.tracking import Store
from keras_cnns.training.job import Job
from keras_cnns.training.probe import cache_key
from keras_cnns.writing.reproducing import parse_settings
from tuning.candidates.space import Candidate
from tuning.running.starting_point import find_starting_point

MOBILE = "keras:MobileNetV3Small"
SMALL: dict[str, Any] = {"alpha": 0.25, "minimalistic": True}
SHAPE = (32, 32, 3)


def forget_code() -> None:
    """Bring this process into the state of a new one, which has not executed the file."""
    code.EXECUTED.clear()
    for name in [name for name in keras.saving.get_custom_objects() if name.startswith(code.PRIVATE_MODULE)]:
        keras.saving.get_custom_objects().pop(name)


def test_a_users_network_goes_the_whole_way(
    networks: Path, squares: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{networks.parent}/mlflow.db"
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
    trained = train("nets.py:small", squares, recipe=recipe, settings={"deep": True}, tracking_uri=uri)
    run = Store(uri).run(trained.run_id)
    assert (run.family, run.model) == ("baseline", "nets.py:small")
    assert run.tags[code.PATH_TAG] == str(networks)
    assert trained.folder.name.startswith("nets.py-small-")
    forget_code()
    found = evaluate(trained.run_id, squares, tracking_uri=uri)
    assert found.probabilities.shape == (8, 2)
    Image.fromarray(squares.splits["test"].images[0, ..., 0]).save("image.png")
    assert explain(trained.run_id, ["image.png"], tracking_uri=uri).layer
    assert main(("compare", "--tracking-uri", uri, "--json")) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["family"] == "baseline"
    assert find_starting_point(run.id, model=None, tracking_uri=uri)[0].settings.as_dict()["deep"] is True
    forget_code()
    networks.write_text(networks.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(EvaluationError, match=r"its network cannot be loaded: .*nets\.py: the file has changed"):
        evaluate(trained.run_id, squares, tracking_uri=uri)
    networks.unlink()
    with pytest.raises(EvaluationError, match=r"its network cannot be loaded: .*nets\.py: the file .* cannot be read"):
        evaluate(trained.run_id, squares, tracking_uri=uri)


def test_a_file_that_only_a_run_or_a_lock_file_names_is_not_executed(
    networks: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = code.read_code(networks)
    training = {
        "model": "nets.py:small",
        "settings": {"width": "6"},
        "recipe": {},
        "code": recorded.to_tags(),
    }
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
    with pytest.raises(ReportError, match=r"nets\.py: this version of the file has not been executed on this machine"):
        parse_settings("lock.json", training)
    assert recorded not in code.EXECUTED
    assert describe("nets.py:small").family == "baseline"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert parse_settings("lock.json", training)[0].as_dict()["width"] == 6
    Path("nets.py").write_text("raise SystemError", "utf-8")
    for other in ("nets.py:small", str(Path("nets.py").absolute()) + ":small", "json:loads"):
        with pytest.raises(ReportError, match=r"or is not the one that .* names here"):
            parse_settings("lock.json", {**training, "model": other})
    Path("nets.py").unlink()
    with pytest.raises(ReportError, match="it is not recorded which file defines the network"):
        parse_settings("lock.json", {**training, "code": {}})
    networks.write_text(networks.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(ReportError, match=r"nets\.py: the file has changed, or is not the one"):
        parse_settings("lock.json", training)


def test_features_for_a_probe_are_those_of_the_code(networks: Path, squares: Dataset) -> None:
    def key() -> str:
        settings = find_variant("nets.py:small")[1].settings
        return cache_key(Job(model="nets.py:small", settings=settings, recipe=Recipe(), seed=0), squares)

    before = key()
    assert key() == before
    networks.write_text(networks.read_text("utf-8") + "\n", "utf-8")
    assert key() != before


class Stop(Progress):
    """Interrupts a training after its first epoch."""

    def epoch(self, *_: Any) -> None:
        """Interrupt the training."""
        raise KeyboardInterrupt


def test_changed_code_is_not_resumed(networks: Path, squares: Dataset) -> None:
    uri = f"sqlite:///{networks.parent}/mlflow.db"
    recipe = Recipe(epochs=2, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        train("nets.py:small", squares, recipe=recipe, tracking_uri=uri, progress=Stop())
    code_before = networks.read_text("utf-8")
    networks.write_text(code_before + "\n", "utf-8")
    with pytest.raises(ResumeError, match=r"the file of the network has changed since .* was started"):
        train("nets.py:small", squares, recipe=recipe, tracking_uri=uri, resume=True)
    networks.write_text(code_before, "utf-8")
    assert train("nets.py:small", squares, recipe=recipe, tracking_uri=uri, resume=True).fitted.history


@pytest.mark.exhaustive
def test_a_network_of_keras_goes_the_whole_way_with_weights(squares: Dataset, tmp_path: Path) -> None:
    source = keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), classes=5, **SMALL)
    source.save_weights(tmp_path / "mobile.weights.h5")
    splits = {
        name: Split(split.images.repeat(2, axis=1).repeat(2, axis=2), split.labels)
        for name, split in squares.splits.items()
    }
    data = Dataset(name="large", source="large", class_names=squares.class_names, splits=splits)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    trained = train(
        MOBILE, data, recipe=Recipe(epochs=1), settings=SMALL, weights=tmp_path / "mobile.weights.h5", tracking_uri=uri,
        folder=tmp_path,
    )  # fmt: skip
    assert trained.weights is not None
    assert trained.weights.initial == ("logits",)
    assert evaluate(trained.run_id, data, tracking_uri=uri).probabilities.shape == (8, 2)
    Image.fromarray(data.splits["test"].images[0, ..., 0]).save(tmp_path / "image.png")
    assert explain(trained.run_id, [tmp_path / "image.png"], tracking_uri=uri).layer
    assert Comparison(Store(uri).runs()).rows


@pytest.mark.exhaustive
def test_a_sweep_of_a_users_network_trains_in_workers(networks: Path, squares: Dataset) -> None:
    from tuning.search import sweep

    uri = f"sqlite:///{networks.parent}/mlflow.db"
    result = sweep(
        "nets.py:small", squares, trials=4, space={"width": "2,4,6,8", "epochs": 1}, seed=0, tracking_uri=uri, cores=1
    )
    assert len(result.runs) == 4
    assert {run.model for run in result.runs} == {"nets.py:small"}


def test_candidates_of_changed_code_are_refused(networks: Path) -> None:
    settings = find_variant("nets.py:small")[1].settings
    candidate = Candidate(model="nets.py:small", settings=settings, recipe=Recipe(epochs=1))
    networks.write_text(networks.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(SettingError, match="the file of the network has changed"):
        Job(**vars(candidate))
