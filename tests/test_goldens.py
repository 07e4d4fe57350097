"""Every reference count equals the counts of the built graph and those computed from the settings alone."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import keras
import pytest

from keras_cnns import Counts, build, count, inception_module, profile
from keras_cnns.networks.counting import CostCounter, SymbolicTensor

DATA = Path(__file__).parent / "data"
GOLDENS = {row["name"]: row for row in json.loads((DATA / "goldens.json").read_text())["goldens"]}
ARGUMENTS: dict[str, dict[str, Any]] = {
    name: arguments
    for family in tomllib.loads((DATA / "golden_variants.toml").read_text()).values()
    for name, arguments in family.items()
}
NAIVE = {"inception_module_naive_3a": True, "inception_module_reduce_3a": False}


def test_every_reference_count_has_build_arguments() -> None:
    assert set(ARGUMENTS) | set(NAIVE) == set(GOLDENS)


def expected_costs(name: str) -> tuple[int, int, int]:
    golden = GOLDENS[name]
    return golden["params_trainable"], golden["params_total"], golden["macs"]


def costs(counted: Counts) -> tuple[int, int, int]:
    return counted.trainable_parameters, counted.total_parameters, counted.macs


def arguments_for(name: str) -> dict[str, Any]:
    golden = GOLDENS[name]
    return {**ARGUMENTS[name], "input_shape": tuple(golden["input_shape"]), "classes": golden["classes"]}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_counts_from_settings_match_the_reference(name: str) -> None:
    assert costs(count(**arguments_for(name))) == expected_costs(name)


def smallest_of_each_family() -> set[str]:
    """Return the reference network with the fewest parameters of each family."""
    families = tomllib.loads((DATA / "golden_variants.toml").read_text()).values()
    return {min(family, key=lambda name: GOLDENS[name]["params_total"]) for family in families}


# All families show that counts equal those of built graphs, so `make test` builds few networks of full size.
FULL_SIZE = [
    pytest.param(name, marks=[] if name in smallest_of_each_family() else [pytest.mark.exhaustive])
    for name in ARGUMENTS
]


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("name", FULL_SIZE)
def test_counts_of_the_built_graph_match_the_reference(name: str) -> None:
    assert costs(profile(build(**arguments_for(name)))) == expected_costs(name)


@pytest.mark.parametrize(("name", "naive"), NAIVE.items())
def test_counts_of_an_inception_module_match_the_reference(name: str, naive: bool) -> None:
    inputs = keras.Input(GOLDENS[name]["input_shape"])
    outputs = inception_module(inputs, naive=naive)
    assert outputs.shape[-1] == GOLDENS[name]["classes"]
    assert costs(profile(keras.Model(inputs, outputs))) == expected_costs(name)
    counter = CostCounter()
    inception_module(SymbolicTensor(*GOLDENS[name]["input_shape"], counter), naive=naive)
    assert costs(counter.counts()) == expected_costs(name)
