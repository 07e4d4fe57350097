"""Small versions of every network, for tests that hold for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_cnns.networks import families
from keras_cnns.networks.registry import all_families, all_variants


@contextmanager
def add_family(name: str, text: str, folder: Path) -> Iterator[None]:
    """Add a family the way a user does, with a file, and remove it afterwards."""
    (folder / f"{name}.py").write_text(text, "utf-8")
    families.__path__.append(str(folder))
    try:
        for cached in (all_families, all_variants):
            cached.cache_clear()
        yield
    finally:
        families.__path__.remove(str(folder))
        sys.modules.pop(f"keras_cnns.networks.families.{name}", None)
        for cached in (all_families, all_variants):
            cached.cache_clear()
