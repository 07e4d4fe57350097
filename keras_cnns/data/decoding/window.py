"""Windows: the part of the values of a DICOM image that is displayed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from keras_cnns.errors import DataError, nearest


@dataclass(frozen=True)
class Window:
    """A window, in the unit of the rescaled values: Hounsfield units for CT.

    Attributes:
        center: The value that becomes mid-grey.
        width: The difference between the values that become black and white.
    """

    center: float
    width: float

    def __str__(self) -> str:
        return f"center {self.center:g}, width {self.width:g}"


WINDOWS = {
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "abdomen": Window(40, 400),
    "liver": Window(60, 160),
    "bone": Window(400, 1800),
    "brain": Window(40, 80),
    "subdural": Window(75, 215),
    "stroke": Window(40, 40),
}
"""Windows in common use for CT, in Hounsfield units."""


def find_window(window: str | tuple[float, float] | None) -> Window | None:
    """Return the window with a name, or with a center and a width, given as a pair or as text "-600,1500".

    Raises:
        DataError: There is no such window.
    """
    if window is None:
        return None
    if isinstance(window, str) and window.lower() in WINDOWS:
        return WINDOWS[window.lower()]
    try:
        center, width = map(float, window.split(",") if isinstance(window, str) else window)
    except ValueError:
        center = width = math.nan
    if not (math.isfinite(center) and math.isfinite(width) and width >= 1):
        shown = window if isinstance(window, str) else ",".join(map(str, window))
        raise DataError(
            f"window {shown!r} is not possible; use {', '.join(WINDOWS)}, or CENTER,WIDTH such as "
            f"--window=-600,1500 (window=(-600, 1500)).{nearest(shown, WINDOWS)}"
        )
    return Window(center, width)
