"""The lines of progress that commands print on standard error where it is not a terminal."""

from __future__ import annotations

import re

PROGRESS = re.compile(
    r"(loading the network|run \w{8}: images|computing metrics|reading the images|comparing|predicting|dividing"
    r"|grad-cam|sanity check|saving heatmaps|epoch \d|fold \d|trial \d).*\n"
)


def without_progress(text: str) -> str:
    """Return the other lines."""
    return "".join(line for line in text.splitlines(keepends=True) if not PROGRESS.fullmatch(line))
