"""All families, including those of plugins, pass the public tests of families."""

from __future__ import annotations

from keras_cnns.networks.registry import all_families
from keras_cnns.testing import FamilyTests


class TestFamilies(FamilyTests):
    families = tuple(all_families().values())
