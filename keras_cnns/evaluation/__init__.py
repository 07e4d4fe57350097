"""How good predictions are."""

from keras_cnns.evaluation.metrics import scores

__all__ = ["scores"]
