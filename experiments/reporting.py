"""What an experiment measured goes onto its page: numbers by name, and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.page.writing import as_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGES = Path(__file__).resolve().parents[1] / "docs" / "experiments"


def report(name: str, numbers: Mapping[str, str], figure: Figure) -> None:
    """Keep numbers, as they are to be read, and the picture beside the page of this name."""
    (PAGES / f"{name}.json").write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (PAGES / f"{name}.svg").write_text(as_svg(figure), "utf-8")
