"""All families, including those of plugins, pass the public tests of families."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_cnns.networks.registry import all_families
from keras_cnns.testing import FamilyTests
from keras_cnns.testing.families import load_in_new_process, save_with_outputs, train_step
from keras_cnns.testing.small_networks import build_small, distinct_variants, make_images, small_side


class TestFamilies(FamilyTests):
    families = tuple(all_families().values())

    @pytest.mark.exhaustive  # with this backend, each network is loaded after it was saved
    def test_saved_networks_give_the_same_outputs_in_a_new_process(self, backend: str, tmp_path: Path) -> None:
        super().test_saved_networks_give_the_same_outputs_in_a_new_process(backend, tmp_path)


@pytest.mark.exhaustive
def test_every_variant_is_loaded_by_plain_keras_after_a_step_of_training(tmp_path: Path) -> None:
    names = distinct_variants(tuple(all_families().values()))
    for name in names:
        model = build_small(name)
        _, gradients = train_step(model, make_images(3, side=small_side(name)))
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.01 * gradient)
        save_with_outputs(model, name, tmp_path)
    assert load_in_new_process(tmp_path, "tensorflow") == sorted(names)
