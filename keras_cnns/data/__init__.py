"""Images: what can be read, who is in which split, and how batches are made of them."""

from keras_cnns.data.dataset import Dataset, Split
from keras_cnns.data.sources import load

__all__ = ["Dataset", "Split", "load"]
