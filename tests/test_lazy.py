"""Our layers are registered whatever other hooks the import of Keras has."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from keras_cnns.lazy import ImportHook


class OldLoader:
    """A loader of Python's old protocol around another one, as MLflow's autologging adds it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def load_module(self, name: str) -> ModuleType:
        module: ModuleType = self.loader.load_module(name)
        module.seen = True  # type: ignore[attr-defined]
        return module


class OldHook:
    """Adds an `OldLoader` to the import of one module."""

    def __init__(self) -> None:
        self.searching = False

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != "hooked_first" or self.searching:
            return None
        self.searching = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.searching = False
        assert spec is not None
        spec.loader = OldLoader(spec.loader)  # type: ignore[assignment]
        return spec


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "hooked_first").mkdir()
    (tmp_path / "hooked_first" / "__init__.py").write_text("from hooked_first import part\n")
    (tmp_path / "hooked_first" / "part.py").write_text("value = 1\n")
    (tmp_path / "hooked_then.py").write_text("import hooked_first\nvalue = hooked_first.part.value\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before
    for name in ("hooked_first", "hooked_first.part", "hooked_then"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("order", ["alone", "ours first", "theirs first"])
@pytest.mark.usefixtures("modules")
def test_the_second_module_is_imported_with_the_first_under_any_other_hook(order: str) -> None:
    ours, theirs = ImportHook("hooked_first", "hooked_then"), OldHook()
    hooks = {"alone": [ours], "ours first": [ours, theirs], "theirs first": [theirs, ours]}[order]
    sys.meta_path[:0] = hooks
    found = importlib.import_module("hooked_first")
    assert sys.modules["hooked_then"].value == 1
    assert importlib.import_module("hooked_first") is found
    assert getattr(found, "seen", False) == (order != "alone")
    assert ours not in sys.meta_path
