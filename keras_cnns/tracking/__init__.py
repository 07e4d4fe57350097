"""Runs: what they record, and how they are written to and read from MLflow. Only this package imports MLflow."""

from keras_cnns.tracking.fluent import without_autologging
from keras_cnns.tracking.runs import EvaluationCounts, Run, RunDescription, StoredNetwork
from keras_cnns.tracking.store import Store
from keras_cnns.tracking.stores import Stores

__all__ = ["EvaluationCounts", "Run", "RunDescription", "Store", "StoredNetwork", "Stores", "without_autologging"]
