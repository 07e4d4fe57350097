"""Images: reading them from any source, splitting them, and batches for training and evaluation."""

from keras_cnns.data.dataset import Dataset, Split
from keras_cnns.data.loading import load

__all__ = ["Dataset", "Split", "load"]
