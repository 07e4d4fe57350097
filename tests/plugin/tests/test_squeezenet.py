"""The family passes the tests of families, and has the counts of the paper."""

import pytest
from keras_cnns_example.squeezenet import FAMILY

import keras_cnns
from keras_cnns.testing import FamilyTests


class TestSqueezeNet(FamilyTests):
    families = (FAMILY,)


@pytest.mark.parametrize(("name", "parameters"), [("squeezenet", 1_248_424), ("squeezenet-1.1", 1_235_496)])
def test_counts_are_those_of_the_paper_and_of_the_repository(name: str, parameters: int) -> None:
    assert keras_cnns.count(name).total_parameters == parameters
