"""Every golden count of the families that exist equals what the built graph counts."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from keras_cnns import build, profile
from keras_cnns.registry import all_families

DATA = Path(__file__).parent / "data"
GOLDENS = {row["name"]: row for row in json.loads((DATA / "goldens.json").read_text())["goldens"]}
ARGUMENTS: dict[str, dict[str, Any]] = {
    name: arguments
    for family in tomllib.loads((DATA / "golden_variants.toml").read_text()).values()
    for name, arguments in family.items()
}


def is_large(name: str) -> bool:
    return any(depth in name for depth in ("1202", "1001"))


def test_every_golden_of_the_families_has_its_arguments() -> None:
    expected = {name for name, row in GOLDENS.items() if row["family"] in all_families()}
    assert set(ARGUMENTS) == expected


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * is_large(name)) for name in ARGUMENTS])
def test_the_graph_counts_what_the_golden_says(name: str) -> None:
    golden = GOLDENS[name]
    arguments = dict(ARGUMENTS[name])
    model = build(
        arguments.pop("name"),
        input_shape=tuple(golden["input_shape"]),
        classes=golden["classes"],
        **arguments,
    )
    counted = profile(model)
    assert (counted.trainable_parameters, counted.total_parameters, counted.macs) == (
        golden["params_trainable"],
        golden["params_total"],
        golden["macs"],
    )
