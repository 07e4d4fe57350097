"""Arrays in files of weights, which are read only when they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file. `np.asarray` reads it.

    Attributes:
        shape: Its shape.
        read: Reads it.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.read(), dtype)
