"""Files as `torch.save` writes them, made without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}
MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class FakeTensor:
    """A tensor that is pickled as PyTorch pickles its own."""

    def __init__(self, values: np.ndarray, key: str) -> None:
        self.values = values
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        strides = tuple(stride // self.values.itemsize for stride in self.values.strides)
        arguments = (FakeStorage(self.values, self.key), 0, self.values.shape, strides, False, OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class FakeStorage:
    """The numbers of a tensor, which are pickled as a persistent ID."""

    def __init__(self, values: np.ndarray, key: str) -> None:
        self.values = values
        self.key = key


class Pickler(pickle.Pickler):
    """Pickles fake tensors."""

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, FakeStorage):
            return None
        kind = getattr(sys.modules["torch"], KINDS[str(obj.values.dtype)])
        return "storage", kind, obj.key, "cpu", obj.values.size


@contextmanager
def fake_torch() -> Iterator[None]:
    """Let the names exist that pickles of tensors refer to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in KINDS.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    exec("def _rebuild_tensor_v2(*_): raise AssertionError", utils.__dict__)  # noqa: S102 - its name and module count
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    added = {"torch": torch, "torch._utils": utils}
    before = {name: sys.modules.get(name) for name in added}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save_pytorch(content: Any, path: Path, *, archive: bool = True, protocol: int = 2) -> None:
    """Write dictionaries of arrays as `torch.save` does, as an archive or in the format before PyTorch 1.6."""
    storages: dict[str, np.ndarray] = {}

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return OrderedDict((name, convert(item)) for name, item in value.items())
        if not isinstance(value, np.ndarray):
            return value
        storages[str(len(storages))] = value
        return FakeTensor(value, str(len(storages) - 1))

    converted, memory = convert(content), io.BytesIO()
    with fake_torch():
        Pickler(memory, protocol).dump(converted)
    # In the order of the memory, which is not that of the axes in a tensor that was permuted.
    data = {
        key: values.transpose(np.argsort(values.strides, kind="stable")[::-1]).tobytes()
        for key, values in storages.items()
    }
    if archive:
        write_archive(path, memory.getvalue(), data)
        return
    with path.open("wb") as file:
        for header in (MAGIC_NUMBER, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}):
            pickle.dump(header, file, protocol)
        file.write(memory.getvalue())
        pickle.dump(list(storages), file, protocol)
        for key, values in storages.items():
            file.write(struct.pack("<q", values.size) + data[key])


def write_archive(path: Path, pickled: bytes, data: Mapping[str, bytes], **more: bytes) -> None:
    """Write an archive with this pickle and these storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickled)
        archive.writestr(f"{path.stem}/byteorder", b"little")
        for name, content in {**{f"data/{key}": values for key, values in data.items()}, **more}.items():
            archive.writestr(f"{path.stem}/{name}", content)
