"""Configuration files: a run is trained again from one file, in which every mistake is reported in one line."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.cli import main, make_parser
from keras_cnns.cli.config_file import ARGUMENTS, ConfigFile, apply_config
from keras_cnns.errors import KerasCnnsError, ReportError
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import network_settings
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.runs import COMPLETE, CROSS_VALIDATION, FOLD, FOLDS, TRAIN_AND_VALIDATION, TRAINED_ON
from keras_cnns.writing.config import make_config, to_toml

OPTIONS = (
    "--set", "hidden_width=8", "--set", "learning_rate=0.0071234567890123", "--epochs", "1", "--batch-size", "8",
    "--seed", "5",
    "--image-size", "28", "--split-seed", "3", "--positive", "0", "--value-range", "0", "255",
)  # fmt: skip
DESCRIPTION = RunDescription(
    name="lenet5", model="lenet5", family="lenet", settings={"hidden_width": "8"}, recipe={"epochs": "3"}, seed=2,
    data_name="images", data_fingerprint="f00d",
)  # fmt: skip
FILE = 'model = "lenet5"\nseed = 1\n[data]\nsource = "photos"\nimage_size = 28\n'

text = st.text(st.characters(exclude_categories=("Cs",)))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
tables = st.dictionaries(text, text | st.booleans() | numbers | st.lists(numbers) | st.lists(text))


@settings(max_examples=60, deadline=None)
@given(tables, tables)
def test_all_values_survive_in_a_file(top: dict[str, Any], table: dict[str, Any]) -> None:
    config = {**top, "data": {"source": 'C:\\new\\"x-rays"\n\u00fc\u2028\x7f', **table}, "settings": table}
    assert tomllib.loads(to_toml(config)) == config


@dataclass(frozen=True)
class Trained:
    """A run on an archive that is no longer there under its recorded name, and its store."""

    store: Store
    folder: Path
    result: dict[str, Any]

    def job(self, result: dict[str, Any]) -> dict[str, Any]:
        job = json.loads((self.folder / result["folder"] / "job.json").read_text("utf-8"))
        return {name: value for name, value in job.items() if name != "run_id"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("config")
    images = np.random.default_rng(0).integers(0, 255, (40, 28, 28), np.uint8)
    np.savez(folder / 'it\'s "\u00fc" 1.npz', train_images=images, train_labels=np.arange(40) % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "lenet5", "--data", 'it\'s "\u00fc" 1.npz', *OPTIONS, "--json"]) == 0
        store = Store("sqlite:///mlflow.db")
    (run,) = store.runs()
    return Trained(store, folder, {"run_id": run.id, "folder": f"runs/{run.tags['folder']}", **run.metrics})


def write_config(trained: Trained, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["config", trained.result["run_id"][:8], "--tracking-uri", trained.store.uri]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_a_run_is_trained_again_from_its_file(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained.folder)
    Path("run.toml").write_text(write_config(trained, capsys), "utf-8")
    assert main(["train", "--config", "run.toml", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert trained.job(again) == trained.job(trained.result)
    assert again["best_val_loss"] == trained.result["best_val_loss"]
    assert again["best_val_auc"] == trained.result["best_val_auc"]


def test_a_file_has_all_settings_and_the_whole_recipe_but_only_reading_options_that_were_given(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tomllib.loads(write_config(trained, capsys))
    assert (config["model"], config["seed"]) == ("lenet5", 5)
    assert config["settings"].keys() == network_settings("lenet5", {}).as_dict().keys()
    assert config["recipe"].keys() == Recipe().as_dict().keys()
    assert (config["recipe"]["learning_rate"], config["recipe"]["clip_norm"]) == (0.0071234567890123, "none")
    given = {"source", "image_size", "split_seed", "positive", "value_range"}
    assert config["data"].keys() == {*given, "resize", "leaks", "skip_broken", "keep_ids"}


def test_a_source_that_has_moved_or_is_not_recorded_is_noted(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path, dirs_exist_ok=True)
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    source = trained.folder / 'it\'s "\u00fc" 1.npz'
    source.rename(source.with_suffix(".moved"))
    try:
        _, (note,) = make_config(store, trained.result["run_id"])
    finally:
        source.with_suffix(".moved").rename(source)
    assert note.startswith(str(source))
    assert "does not exist" in note
    unknown = store.start(DESCRIPTION, experiment="train")
    config, (note,) = make_config(store, unknown)
    assert (config["data"], config["settings"]["hidden_width"]) == ({}, 8)
    assert "does not record its images" in note
    fingerprint = store.run(trained.result["run_id"]).data_fingerprint
    trial = store.start(replace(DESCRIPTION, data_fingerprint=fingerprint), experiment="sweep")
    assert make_config(store, trial)[0]["data"]["source"] == str(source), "that of a run on the same images"


@pytest.mark.parametrize("params", [{"folds": 2}, {"folds": 2, "fold_by": "site"}])
def test_the_file_of_a_cross_validation_has_its_folds(params: dict[str, object], tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    parent = store.start_group("cross-validation-lenet5", experiment="train", params=params, tags={})
    shared = {FOLDS: "2", CROSS_VALIDATION: parent, COMPLETE: "true", TRAINED_ON: TRAIN_AND_VALIDATION}
    for fold in "12":
        run = store.start(replace(DESCRIPTION, tags={FOLD: fold, **shared}), experiment="train", parent=parent)
    config, notes = make_config(store, parent)
    expected = {"fold_by": "site"} if "fold_by" in params else {"folds": 2}
    assert {name: config[name] for name in ("folds", "fold_by") if name in config} == expected
    assert len(notes) == 1, "on the images"
    with pytest.raises(ReportError, match=f"fold 2 of a cross-validation; name the cross-validation: {parent}"):
        make_config(store, run)


def apply(tmp_path: Path, content: str, *options: str) -> tuple[Any, ConfigFile]:
    path = tmp_path / "run.toml"
    path.write_text(content, "utf-8")
    arguments = make_parser().parse_args(["train", *options, "--config", str(path)])
    return arguments, apply_config(arguments)


def test_options_of_the_command_line_override_the_file(tmp_path: Path) -> None:
    content = f'weights = "imagenet"\nfolds = 5\n{FILE}[settings]\nhidden_width = 8\n[recipe]\nepochs = 3\nema = "0"\n'
    arguments, config = apply(tmp_path, content)
    assert (arguments.model, arguments.data, arguments.image_size, arguments.seed) == ("lenet5", "photos", 28, 1)
    assert (arguments.weights, arguments.folds) == ("imagenet", 5)
    assert config == ConfigFile({"hidden_width": 8}, {"epochs": 3, "ema": 0.0})
    options = ("--data", "new", "--seed", "0", "--image-size", "32", "--fold", "1/3", "--recipe", "modern")
    arguments, config = apply(tmp_path, content, *options)
    assert (arguments.data, arguments.seed, arguments.image_size) == ("new", 0, 32)
    assert (arguments.fold, arguments.folds) == ((1, 3), None), "a fold takes the place of all folds"
    assert config == ConfigFile({"hidden_width": 8}, {})
    arguments, config = apply(tmp_path, content, "lenet5-32")
    assert (arguments.model, config) == ("lenet5-32", ConfigFile({}, {"epochs": 3, "ema": 0.0}))


def test_every_key_is_an_option_of_train() -> None:
    assert set(ARGUMENTS) <= set(vars(make_parser().parse_args(["train"])))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (f'modle = "vgg16"\n{FILE}', ["'modle'", "'model'"]),
        (FILE.replace("seed", "sede"), ["'sede'", "'seed'"]),
        (FILE.replace("image_size", "image_sise"), ["[data]", "'image_sise'", "'image_size'"]),
        (f"{FILE}[settings]\nhidden_widht = 3", ["[settings]", "'hidden_width'"]),
        (f"{FILE}[recipe]\nlearning_rat = 3", ["[recipe]", "'learning_rate'"]),
        (FILE.replace("1", '"1"', 1), ["seed must be a whole number, not '1'"]),
        (FILE.replace("28", "true"), ["data.image_size must be a whole number or [a whole number, a whole number]"]),
        (f"{FILE}value_range = [0, 1, 2]", ["data.value_range must be [a number, a number], not [0, 1, 2]"]),
        (f'{FILE}skip_broken = "no"', ["data.skip_broken must be true or false"]),
        (f"{FILE}window = 3", ["data.window must be text or [a number, a number], not 3"]),
        (f'{FILE}[recipe]\nepochs = "many"', ["recipe.epochs", "whole number", "many"]),
        (f"{FILE}[settings]\nhidden_width = 1.5", ["settings.hidden_width", "whole number", "1.5"]),
        (f"recipe = 3\n{FILE}", ["recipe must be a table", "[recipe]"]),
        ('model = "lenet5"', ["does not name the images", "source", "--data"]),
        ('[data]\nsource = "photos"', ["does not name a network", "model"]),
        (FILE.replace("lenet5", "lenet6"), ["lenet6", "lenet5"]),
        (FILE.replace("lenet5", "absent.py:small"), ["absent.py"]),
        ("model = ", ["is not TOML"]),
    ],
)
def test_a_mistake_in_a_file_is_reported_in_one_line(tmp_path: Path, content: str, parts: list[str]) -> None:
    with pytest.raises(KerasCnnsError) as error:
        apply(tmp_path, content)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_file_does_not_execute_code_for_the_first_time(networks: Path, own_cache: None) -> None:  # noqa: ARG001
    content = FILE.replace("lenet5", "nets.py:small")
    with pytest.raises(KerasCnnsError, match="has not been executed on this machine"):
        apply(networks.parent, content)
    arguments, _ = apply(networks.parent, content, "nets.py:small")
    assert arguments.model == "nets.py:small"
