"""Every golden count equals what is counted of the built graph, and of the settings alone."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import keras
import pytest

from keras_cnns import Counts, build, count, inception_module, profile
from keras_cnns.networks.counting import SymbolicTensor, Tally

DATA = Path(__file__).parent / "data"
GOLDENS = {row["name"]: row for row in json.loads((DATA / "goldens.json").read_text())["goldens"]}
ARGUMENTS: dict[str, dict[str, Any]] = {
    name: arguments
    for family in tomllib.loads((DATA / "golden_variants.toml").read_text()).values()
    for name, arguments in family.items()
}
MODULES = {"inception_module_naive_3a": True, "inception_module_reduce_3a": False}


def is_large(name: str) -> bool:
    return any(depth in name for depth in ("1202", "1001"))


def test_every_golden_has_its_arguments() -> None:
    assert set(ARGUMENTS) | set(MODULES) == set(GOLDENS)


def golden_costs(name: str) -> tuple[int, int, int]:
    golden = GOLDENS[name]
    return golden["params_trainable"], golden["params_total"], golden["macs"]


def costs(counted: Counts) -> tuple[int, int, int]:
    return counted.trainable_parameters, counted.total_parameters, counted.macs


def arguments_for(name: str) -> dict[str, Any]:
    golden = GOLDENS[name]
    return {**ARGUMENTS[name], "input_shape": tuple(golden["input_shape"]), "classes": golden["classes"]}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_settings_alone_count_what_the_golden_says(name: str) -> None:
    assert costs(count(**arguments_for(name))) == golden_costs(name)


# With 100 classes only the classifier differs, which the smallest show; of 1202 layers one graph is enough.
BUILT = [
    name
    for name in ARGUMENTS
    if ("cifar100" not in name or "resnet20" in name or "nin" in name) and name != "resnet1202_cifar10_optB"
]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * is_large(name)) for name in BUILT])
def test_the_graph_counts_what_the_golden_says(name: str) -> None:
    assert costs(profile(build(**arguments_for(name)))) == golden_costs(name)


@pytest.mark.parametrize(("name", "naive"), MODULES.items())
def test_a_module_alone_counts_what_the_golden_says(name: str, naive: bool) -> None:
    maps = keras.Input(GOLDENS[name]["input_shape"])
    outputs = inception_module(maps, naive=naive)
    assert outputs.shape[-1] == GOLDENS[name]["classes"]
    assert costs(profile(keras.Model(maps, outputs))) == golden_costs(name)
    tally = Tally()
    inception_module(SymbolicTensor(*GOLDENS[name]["input_shape"], tally), naive=naive)
    assert costs(tally.counts()) == golden_costs(name)
