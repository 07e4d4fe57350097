"""Runs: what one holds, and how it is written to MLflow and read back. Only this room knows MLflow."""

from keras_cnns.tracking.runs import KeptNetwork, Looks, Run, RunDescription
from keras_cnns.tracking.several import Stores
from keras_cnns.tracking.store import Store

__all__ = ["KeptNetwork", "Looks", "Run", "RunDescription", "Store", "Stores"]
