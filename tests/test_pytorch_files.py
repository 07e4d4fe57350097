"""PyTorch's files are read without PyTorch, and nothing in them is executed."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import struct
import tempfile
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.errors import WeightsError
from keras_cnns.networks.weights.files import open_state
from keras_cnns.networks.weights.pickles import PickleError, read_pickle
from keras_cnns.networks.weights.pytorch import read_pytorch
from tests.pytorch_files import fake_torch, save_pytorch, write_archive

STATE = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.running_var": np.linspace(0, 1, 5),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "half.weight": np.arange(6, dtype=np.float16).reshape(2, 3),
    "permuted.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
}


def read(path: Path) -> dict[str, np.ndarray]:
    with open_state(path) as state:
        return {name: np.asarray(values) for name, values in state.items()}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state, "best": 0.5, "name": "x"},
        lambda state: {f"module.{name}": values for name, values in state.items()},
    ],
    ids=["state dict", "checkpoint", "data parallel"],
)
def test_a_state_dict_is_read(protocol: int, archive: bool, wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    save_pytorch(wrap(STATE), path, archive=archive, protocol=protocol)
    found = read(path)
    assert found.keys() == STATE.keys()
    for name, values in STATE.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


def test_brain_floats_are_read(tmp_path: Path) -> None:
    save_pytorch({"x": np.array([1.0, -2.5, 3e38], np.float32)}, tmp_path / "x.pth")
    with ExitStack() as files:
        values = np.asarray(read_pytorch(tmp_path / "x.pth", files)["x"])
    pickled = (zipfile.ZipFile(tmp_path / "x.pth").read("x/data.pkl")).replace(b"FloatStorage", b"BFloat16Storage")
    brain_floats = (values.view(np.uint32) >> 16).astype("<u2")
    write_archive(tmp_path / "b.pth", pickled, {"0": brain_floats.tobytes()})
    np.testing.assert_allclose(read(tmp_path / "b.pth")["x"], values, rtol=1e-2)


class Payload:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class State:
    """An object with a state."""

    def __setstate__(self, state: Any) -> None:
        raise AssertionError


def dumped(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)


def create(path: str) -> str:
    return f"open({path!r}, 'w').close()"


# Each makes a pickle that creates a file, or would take too much memory or time, if it were unpickled.
PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "system": lambda path: dumped(Payload(os.system, f"touch {path}")),
    "eval": lambda path: dumped(Payload(eval, create(path))),
    "exec": lambda path: dumped({"state_dict": Payload(exec, create(path))}),
    "open": lambda path: dumped(OrderedDict(x=Payload(open, path, "w"))),
    "popen": lambda path: dumped([Payload(os.popen, f"touch {path}")]),
    "protocol 0": lambda path: dumped(Payload(eval, create(path)), 0),
    "protocol 4": lambda path: dumped(Payload(eval, create(path)), 4),
    "import": lambda path: dumped(Payload(builtins.__import__, f"touch{path}")),
    "attribute": lambda path: dumped(Payload(getattr, {}, path)),
    "partial": lambda path: b"cfunctools\npartial\n(c__builtin__\neval\ntR(V" + create(path).encode() + b"\ntR.",
    "instance": lambda path: b"(V" + create(path).encode() + b"\ni__builtin__\neval\n.",
    "object": lambda path: b"(c__builtin__\neval\nV" + create(path).encode() + b"\no.",
    "new object": lambda _: dumped(State(), 2),
    "state": lambda _: dumped(OrderedDict(), 2)[:-1] + b"c__main__\nState\nb.",
    "extension": lambda _: b"\x80\x02\x82\x01.",
    "persistent text": lambda _: b"Pstorage\n.",
    "persistent call": lambda path: b"\x80\x02" + dumped(Payload(eval, create(path)))[2:-1] + b"Q.",
    "dotted name": lambda _: b"\x80\x04\x8c\x0etorch._utils.os\x8c\x06system\x93.",
    "nested name": lambda _: b"\x80\x04\x8c\x05torch\x8c\x0cFloatStorage\x93\x8c\x01x\x86R.",
    "load": lambda path: b"\x80\x02ctorch.serialization\nload\n(V" + path.encode() + b"\ntR.",
    "numpy": lambda _: dumped(np.zeros(2, object)),
    "call of a dictionary": lambda _: b"\x80\x02})R.",
    "long": lambda _: b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "long text": lambda _: b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "long digits": lambda _: b"\x80\x02I" + b"9" * 10_000 + b"\n.",
    "many lists": lambda _: b"\x80\x02(" + b"]" * 300_000 + b"t.",
    "many copies": lambda _: b"\x80\x02](" + b"(K\x01K\x02t" * 50_000 + b"eq\x01("
    + b"ccollections\nOrderedDict\nh\x01\x85R" * 20_000 + b"t.",
    "no end": lambda _: b"\x80\x02}",
    "only a mark": lambda _: b"\x80\x02(.",
    "empty stack": lambda _: b"\x80\x02R.",
    "unknown memo": lambda _: b"\x80\x02h\x05.",
    "text": lambda _: b"hello world",
}  # fmt: skip


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "sequence"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_more_than_a_state_dict_is_refused_in_one_line(payload: str, archive: bool, tmp_path: Path) -> None:
    created, path = tmp_path / "created", tmp_path / "x.pth"
    pickled = PAYLOADS[payload](str(created))
    if archive:
        write_archive(path, pickled, {})
    else:
        path.write_bytes(pickled)
    tracemalloc.start()
    with pytest.raises(WeightsError) as caught:
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert not created.exists()
    assert peak < 100 * 2**20


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_give_only_errors_of_their_own(content: bytes) -> None:
    with contextlib.suppress(PickleError):
        read_pickle(io.BytesIO(b"\x80\x02" + content))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2_000), st.integers(0, 255), st.booleans())
def test_a_changed_byte_gives_a_state_dict_or_an_error_of_its_own(position: int, value: int, archive: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "changed.pth")
        save_pytorch(STATE, path, archive=archive)
        content = bytearray(path.read_bytes())
        content[position % len(content)] = value
        path.write_bytes(content)
        with contextlib.suppress(WeightsError):
            read(path)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "sequence"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    save_pytorch(STATE, path, archive=archive)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"^\S*x\.pth: [^\n]*$"):
        read(path)


def tensor(shape: str, strides: str, size: int, offset: int = 0) -> bytes:
    """Return the pickle of a state dict with one tensor, with a shape and strides as in Python."""
    with fake_torch():
        return pickle.dumps(0)[:0] + (
            b"\x80\x02}X\x01\x00\x00\x00x"
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
             b"X\x03\x00\x00\x00cpu" + number(size) + b"tQ" + number(offset) + numbers(shape) + numbers(strides)
            + b"\x89}tRs."
        )  # fmt: skip


def number(value: int) -> bytes:
    return b"\x8a\x09" + struct.pack("<q", value) + b"\x00"


def numbers(text: str) -> bytes:
    return b"(" + b"".join(number(int(part)) for part in text.split(",") if part) + b"t"


@pytest.mark.parametrize(
    ("shape", "strides", "size", "offset", "message"),
    [
        ("1000000,1000000", "0,0", 4, 0, "a view"),
        ("1000000,1000000", "1000000,1", 4, 0, "larger than its storage"),
        ("4,", "1,", 4, 1, "larger than its storage"),
        ("4,4", "1,1", 16, 0, "a view"),
        ("4,", "1,", 1_000_000, 0, None),
        ("4,", "1,1", 4, 0, "a tensor that is not valid"),
        ("9223372036854775807,9223372036854775807", "1,1", 4, 0, "a view"),
    ],
)
def test_a_tensor_is_a_part_of_its_storage(
    shape: str, strides: str, size: int, offset: int, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    write_archive(path, tensor(shape, strides, size, offset), {"0": np.arange(4, dtype="<f4").tobytes()})
    if message is None:
        np.testing.assert_array_equal(read(path)["x"], np.arange(4))
        return
    with pytest.raises(WeightsError, match=message):
        read(path)


def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(2**40)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=r"huge\.pth: it is incomplete"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_huge_table_of_contents_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(2**33)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 60000, 60000, 2**31, 0, 0))
    with pytest.raises(WeightsError, match="table of contents is larger"):
        read(path)


def test_a_program_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.pt", dumped({}), {}, **{"constants.pkl": b""})
    with pytest.raises(WeightsError, match="it is a program"):
        read(tmp_path / "x.pt")
