"""The contents of pickles with state dicts, without unpickling.

A pickle is a program that can call any function. Here its opcodes are interpreted one at a time: those that make
numbers, texts, lists, tuples and dictionaries, and calls of the few functions that tensors need, each of which is
replaced by a description. Any other opcode or name is refused. Nothing is imported and nothing is called.
"""

from __future__ import annotations

import itertools
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_BYTES = 2**22  # a state dict takes about 200 bytes and 40 opcodes per array
MAX_OPCODES = 2**19
MAX_COPIED = 2**20  # items in the arguments of all calls
MAX_AXES = 8
BROKEN = "its pickle is broken"
TOO_LARGE = "its pickle is larger than that of any state dict"


class PickleError(Exception):
    """A pickle has something other than a state dict, or is broken."""


class Readable(Protocol):
    """What `pickletools` reads."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""

    def readline(self, size: int, /) -> bytes:
        """Return the next line."""


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle refers to, as "module.name"."""

    full: str


@dataclass(frozen=True)
class Storage:
    """A block of numbers outside of the pickle.

    Attributes:
        kind: PyTorch's name of the type of the numbers, such as "FloatStorage".
        key: Its key in the file.
        size: How many numbers it has.
    """

    kind: str
    key: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """A tensor: a part of a storage.

    Attributes:
        storage: The storage.
        offset: The position of the first number.
        shape: The shape.
        strides: The distance of neighbours along each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Limited:
    """A file of which at most some bytes can be read."""

    def __init__(self, file: Readable, limit: int = MAX_BYTES) -> None:
        self.file = file
        self.left = limit

    def read(self, size: int) -> bytes:
        """Return the next bytes, or raise a `PickleError` if there are too many."""
        if size > self.left:
            raise PickleError(TOO_LARGE)
        self.left -= size
        return self.file.read(size)

    def readline(self) -> bytes:
        """Return the next line, or raise a `PickleError` if it is too long."""
        line = self.file.readline(self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise PickleError(TOO_LARGE)
        return line


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number that is not negative and not larger than any file."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def make_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> Tensor:
    """Return a tensor, from the arguments of `torch._utils._rebuild_tensor_v2`."""
    if (
        isinstance(storage, Storage)
        and isinstance(offset, int)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= MAX_AXES
        and all(map(is_whole, (offset, *shape, *strides)))
    ):
        return Tensor(storage, offset, shape, strides)
    raise PickleError("it has a tensor that is not valid")


def make_parameter(tensor: object, *_: object) -> object:
    """Return the tensor of a parameter, from the arguments of `torch._utils._rebuild_parameter`."""
    return tensor


def make_dictionary(items: object = (), *_: object) -> dict[Any, Any]:
    """Return a dictionary, from the arguments of `collections.OrderedDict`."""
    if isinstance(items, tuple | list):
        return dict(items)
    raise PickleError("it has a dictionary that is not valid")


CALLS: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": make_dictionary,
    "torch._utils._rebuild_tensor": make_tensor,
    "torch._utils._rebuild_tensor_v2": make_tensor,
    "torch._utils._rebuild_parameter": make_parameter,
    "torch.Size": lambda sizes: sizes,
}
STORAGES = ("FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage",
    "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage")  # fmt: skip
NAMES = {*CALLS, *(f"torch.{kind}" for kind in STORAGES)}


def read_pickle(file: Readable, storages: dict[str, Storage] | None = None) -> Any:
    """Return what the next pickle of a file contains; the file is left at its end.

    Tensors are returned as `Tensor`, and names as `Name`. All storages that the pickle names are added to `storages`.

    Raises:
        PickleError: The pickle has something other than a state dict, or is broken.
    """
    machine = Machine({} if storages is None else storages)
    limited: Any = Limited(file)  # `pickletools` needs only these two methods of a file
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(limited), MAX_OPCODES):
            if opcode.name == "STOP":
                return machine.pop()
            machine.execute(opcode.name, argument)
    except PickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise PickleError(BROKEN) from None
    raise PickleError("its pickle has no end, or is larger than that of any state dict")


class Machine:
    """Interprets the opcodes of a pickle."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def pop(self) -> Any:
        """Return the topmost value and remove it."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise PickleError(BROKEN)
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Return the values above the topmost mark, and remove them and the mark."""
        position = self.marks.pop()
        values = self.stack[position:]
        del self.stack[position:]
        return values

    def execute(self, name: str, argument: Any) -> None:
        """Execute an opcode, given its name in `pickletools`."""
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in NUMBERS_AND_TEXTS:
            self.stack.append(argument)
        elif name in ACTIONS:
            ACTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleError(f"it has more than tensors (the pickle's opcode {name})")


def find_name(module: object, name: object) -> Name:
    """Return a name, or raise a `PickleError` if it is none of those that state dicts need."""
    full = f"{module}.{name}"
    if full not in NAMES:
        shown = "".join(character if character.isprintable() else "?" for character in full)[:80]
        raise PickleError(f"it has more than tensors ({shown})")
    return Name(full)


def call(machine: Machine, _: object) -> None:
    """Replace a name and arguments by what `CALLS` makes of them."""
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Name) or function.full not in CALLS or not isinstance(arguments, tuple):
        raise PickleError("it has more than tensors (a call)")
    machine.copied += sum(len(argument) for argument in arguments if isinstance(argument, tuple | list))
    if machine.copied > MAX_COPIED:
        raise PickleError(TOO_LARGE)
    machine.stack.append(CALLS[function.full](*arguments))


def set_state(machine: Machine, _: object) -> None:
    """Ignore the attributes of a dictionary, such as the versions of modules."""
    machine.pop()
    if not isinstance(machine.stack[-1], dict):
        raise PickleError("it has more than tensors (the state of an object)")


def find_storage(machine: Machine, _: object) -> None:
    """Replace a persistent ID by the storage that it refers to."""
    found = machine.pop()
    if not isinstance(found, tuple) or len(found) < 5 or found[0] != "storage" or not isinstance(found[1], Name):
        raise PickleError("it has more than tensors (a persistent ID)")
    _, name, key, _, size = found[:5]
    module, _, kind = name.full.partition(".")
    if module != "torch" or kind not in STORAGES or not isinstance(key, str) or not is_whole(size):
        raise PickleError("it has a storage that is not valid")
    machine.storages[key] = Storage(kind, key, size)
    machine.stack.append(machine.storages[key])


def set_items(machine: Machine, values: list[Any]) -> None:
    """Add keys and values to the dictionary on the stack."""
    if not isinstance(machine.stack[-1], dict):
        raise PickleError(BROKEN)
    machine.stack[-1].update(zip(values[::2], values[1::2], strict=True))


def append(machine: Machine, values: list[Any]) -> None:
    """Add values to the list on the stack."""
    if not isinstance(machine.stack[-1], list):
        raise PickleError(BROKEN)
    machine.stack[-1].extend(values)


def push_tuple(machine: Machine, size: int) -> None:
    """Replace the topmost values by a tuple of them."""
    values = [machine.pop() for _ in range(size)]
    machine.stack.append(tuple(values[::-1]))


def push_dictionary(machine: Machine) -> None:
    """Replace the values above the mark by a dictionary of them."""
    values = machine.pop_to_mark()
    machine.stack.append(dict(zip(values[::2], values[1::2], strict=True)))


def remember(machine: Machine, key: int) -> None:
    """Keep the topmost value in the memo."""
    machine.memo[key] = machine.stack[-1]


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS_AND_TEXTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
ACTIONS: Mapping[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: push_tuple(machine, 1),
    "TUPLE2": lambda machine, _: push_tuple(machine, 2),
    "TUPLE3": lambda machine, _: push_tuple(machine, 3),
    "DICT": lambda machine, _: push_dictionary(machine),
    "APPEND": lambda machine, _: append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: append(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: set_items(machine, [machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: set_items(machine, machine.pop_to_mark()),
    "PUT": remember,
    "BINPUT": remember,
    "LONG_BINPUT": remember,
    "MEMOIZE": lambda machine, _: remember(machine, len(machine.memo)),
    "GET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "LONG_BINGET": lambda machine, key: machine.stack.append(machine.memo[key]),
    "GLOBAL": lambda machine, names: machine.stack.append(find_name(*names.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.stack.append(find_name(*[machine.pop(), machine.pop()][::-1])),
    "REDUCE": call,
    "BUILD": set_state,
    "BINPERSID": find_storage,
}
