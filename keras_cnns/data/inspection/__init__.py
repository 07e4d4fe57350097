"""Inspection of a dataset: a summary, its problems and a contact sheet."""

from keras_cnns.data.inspection.inspecting import inspect, inspect_dataset
from keras_cnns.data.inspection.report import Inspection

__all__ = ["Inspection", "inspect", "inspect_dataset"]
