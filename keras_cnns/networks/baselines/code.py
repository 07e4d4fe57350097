"""The user's code: a file that defines networks is executed when it is named, and identified by its SHA-256."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_cnns.cache import cache_folder
from keras_cnns.errors import DataError, ModelNameError, first_line
from keras_cnns.lazy import import_needed, keras

CODE = "code"
"""What identifies a training of a network of the user's: the SHA-256 of its file."""
PATH_TAG, CHECKSUM_TAG = "code.path", "code.sha256"
PRIVATE_MODULE = "keras_cnns_user_"
DIGITS = 16


@dataclass(frozen=True)
class Code:
    """A file that defines a network.

    Attributes:
        path: Its absolute path.
        sha256: Its SHA-256.
    """

    path: Path
    sha256: str

    def to_tags(self) -> dict[str, str]:
        """Return the tags of a run whose network the file defines."""
        return {PATH_TAG: str(self.path), CHECKSUM_TAG: self.sha256}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Code | None:
        """Return the file that defines the network of a run; None for networks of families and of Keras."""
        return cls(Path(tags[PATH_TAG]), tags[CHECKSUM_TAG]) if {PATH_TAG, CHECKSUM_TAG} <= tags.keys() else None


def read_code(path: Path) -> Code:
    """Return a file with its checksum.

    Raises:
        ModelNameError: The file cannot be read.
    """
    return Code(path.resolve(), hashlib.sha256(read_bytes(path)).hexdigest())


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise a `ModelNameError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelNameError(
            f"{path}: the file with the network cannot be read ({error.strerror}); a network of your own is "
            f"FILE.py:FUNCTION."
        ) from None


EXECUTED: dict[Code, ModuleType] = {}


def execute(code: Code) -> ModuleType:
    """Execute a file as a module of a private name, once for each content, and return the module.

    Nothing is found through the working folder: the file is not in `sys.modules` afterwards, and its folder is not in
    `sys.path`. Its layers are registered with Keras, so that saved networks with them can be loaded in this process.

    Raises:
        ModelNameError: The file has changed, or its execution fails.
    """
    if code in EXECUTED:
        return EXECUTED[code]
    content = read_bytes(code.path)
    if hashlib.sha256(content).hexdigest() != code.sha256:
        raise ModelNameError(
            f"{code.path}: the file has changed; restore the version with SHA-256 {code.sha256[:DIGITS]}..."
        )
    import_needed("keras")
    module = ModuleType(f"{PRIVATE_MODULE}{code.sha256[:DIGITS]}")
    module.__file__ = str(code.path)
    sys.modules[module.__name__] = module  # dataclasses find their module there
    try:
        exec(compile(content, str(code.path), "exec"), vars(module))  # noqa: S102 - the user names the file for this
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code can raise anything
        raise ModelNameError(f"{code.path}: its execution fails: {describe_error(error)}.") from None
    finally:
        del sys.modules[module.__name__]
    register_objects(module)
    EXECUTED[code] = module
    return module


def note_as_executed(code: Code) -> None:
    """Note that the user has named and executed a file on this machine."""
    with suppress(DataError, OSError):  # without a cache, the user is asked to name it again
        (cache_folder(CODE) / code.sha256).touch()


def check_executed_before(recorded: Code | None) -> Code:
    """Return the file that a run or a lock file names, which can come from anybody, if the user has executed it before.

    Raises:
        ModelNameError: The user has not, or no file is recorded.
    """
    if recorded is None:
        raise ModelNameError("it is not recorded which file defines the network.")
    if re.fullmatch("[0-9a-f]{64}", recorded.sha256) is None or not (cache_folder(CODE) / recorded.sha256).exists():
        raise ModelNameError(
            f"{recorded.path}: this version of the file has not been executed on this machine; if you trust it, name "
            f"its network once, such as with `keras-cnns describe FILE.py:FUNCTION`."
        )
    return recorded


def register_objects(module: ModuleType) -> None:
    """Register the classes of a module that Keras can save, and its activations, unless the module does it itself."""
    for name, found in vars(module).items():
        if getattr(found, "__module__", None) != module.__name__ or name.startswith("__"):
            continue
        saved = hasattr(found, "get_config") if inspect.isclass(found) else is_activation(found)
        if saved and keras.saving.get_registered_name(found) == found.__name__:
            keras.saving.register_keras_serializable(package=module.__name__)(found)


def is_activation(found: Any) -> bool:
    """Return whether an object is a function of one argument, as activations are."""
    return inspect.isfunction(found) and len(inspect.signature(found).parameters) == 1


def import_installed(name: str) -> ModuleType:
    """Import an installed module; files in the working folder are not found.

    Raises:
        ModelNameError: There is no such module, or its import fails.
    """
    import_needed("keras")
    try:
        with without_working_folder():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = "" if error.name == name.partition(".")[0] else f" ({first_line(error)})"
        raise ModelNameError(
            f"there is no installed module {name!r}{missing}; the function of a file is FILE.py:FUNCTION."
        ) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the code of another package can raise anything
        raise ModelNameError(f"the import of the module {name} fails: {describe_error(error)}.") from None


def find_module_file(name: str) -> Path | None:
    """Return the file of an installed module without importing it; None if it has none or is not installed."""
    package, *rest = name.split(".")
    with without_working_folder(), suppress(ValueError, ImportError):
        spec = find_spec(package)
        if spec is None or (rest and spec.submodule_search_locations is None):
            return None
        if not rest:
            return Path(spec.origin) if spec.has_location and spec.origin else None
        for folder in spec.submodule_search_locations or ():
            for path in (Path(folder, *rest).with_suffix(".py"), Path(folder, *rest, "__init__.py")):
                if path.is_file():
                    return path
    return None


@contextmanager
def without_working_folder() -> Iterator[None]:
    """Remove the working folder from the folders in which Python finds modules."""
    before = list(sys.path)
    sys.path[:] = [folder for folder in before if folder and Path(folder).resolve() != Path.cwd()]
    try:
        yield
    finally:
        sys.path[:] = before


def needs_code(configuration: Any) -> bool:
    """Return whether a saved network has layers that a file of the user defines."""
    return re.search(rf"\b{PRIVATE_MODULE}[0-9a-f]{{{DIGITS}}}\b", json.dumps(configuration)) is not None


def describe_error(error: BaseException) -> str:
    """Return the class of an error and its message in one line of moderate length."""
    return f"{type(error).__name__}: {first_line(error)[:200]}".rstrip(".")
