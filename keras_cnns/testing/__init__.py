"""Tests for those who add families of networks, in this package or in another one.

A package that provides a family tests it with a file such as

    from keras_cnns.testing import FamilyTests
    from my_package.squeezenet import FAMILY


    class TestSqueezeNet(FamilyTests):
        families = (FAMILY,)

and runs pytest. The family must be installed as a plugin, so that `keras_cnns.build` finds its networks. Needs
`pip install 'keras-cnns[testing]'`.
"""

import pytest

pytest.register_assert_rewrite("keras_cnns.testing.families")

from keras_cnns.testing.families import FamilyTests  # noqa: E402 - after the registration

__all__ = ["FamilyTests"]
