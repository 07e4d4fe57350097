"""Sweeps whose candidates begin with pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keras_cnns import Recipe
from keras_cnns.errors import SettingError
from keras_cnns.networks.pretrained import TORCH
from keras_cnns.pretrained.references import WeightsFile
from keras_cnns.pretrained.starting_weights import StartingWeights
from tuning import search, sweep
from tuning.candidates.ranges import find_bases
from tuning.candidates.space import Space, make_space
from tuning.searching.reuse import make_key

FILE = WeightsFile(reference="imagenet", source="x", path=Path("x.pth"), sha256="0" * 64)
WEIGHTS = StartingWeights(file=FILE, preprocessing=TORCH, initial=("logits",))


def space_with(**space: object) -> Space:
    found = make_space("vgg-small", recipe=Recipe(), space=space, only_named=True, image_shape=(32, 32, 3), classes=2)
    return found.begin_with(WEIGHTS)


def test_only_named_settings_of_the_network_are_searched() -> None:
    space = space_with(dropout="0.0..0.5", weight_decay="1e-4..1e-2")
    assert set(space.searched()) == {"dropout", "weight_decay", "learning_rate"}
    for candidate in space.draw(5, seed=0):
        assert candidate.weights is WEIGHTS
        assert candidate.recipe.standardization == "weights"


def test_settings_that_change_the_structure_cannot_be_searched() -> None:
    with pytest.raises(SettingError, match="the weights fit vgg-small only as it is: leave widths out of the search,"):
        space_with(widths="16,32,64,64|64,128,256,512", dropout="0.0..0.5")


def test_a_sweep_of_several_networks_cannot_begin_with_weights(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="weights belong to one network: name a variant"):
        sweep("all", "digits", weights="x.pth", folder=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_a_sweep_from_a_run_that_began_with_weights_needs_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    (base,) = find_bases("vgg-small")
    recipe = Recipe(standardization="weights")
    monkeypatch.setattr(search, "find_starting_point", lambda *_, **__: (base, recipe))
    arguments: dict[str, Any] = {"model": None, "from_run": "1a2b", "tracking_uri": None}
    with pytest.raises(SettingError, match=r"run 1a2b began with weights; name them with --weights \(weights\)\."):
        search.resolve_start(recipe=None, with_weights=False, **arguments)
    assert search.resolve_start(recipe=None, with_weights=True, **arguments)[2] == recipe
    assert search.resolve_start(recipe=Recipe(), with_weights=False, **arguments)[2] == Recipe()


def test_results_are_reused_only_for_the_same_weights() -> None:
    keys = {make_key("vgg", {}, {}, weights, 0) for weights in ("", "0" * 64, "1" * 64)}
    assert len(keys) == 3
