"""Write `keras_cnns/__init__.pyi`, from which editors complete names of networks and their settings: `make stubs`.

For type checkers and editors, this file is the public API. Names and settings come from the registry, and the other
arguments from the signatures, so the file is written again after a change of either; a test compares both. Families of
other packages are not in it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras_cnns
from keras_cnns.networks import families
from keras_cnns.networks.family import Family
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, Name, NoneOr, TupleOf
from keras_cnns.plugins import import_modules

STUB = Path(keras_cnns.__file__).with_suffix(".pyi")
HEAD = '"""Written by `make stubs` from the registry of networks and the signatures: do not edit it."""\n'
NETWORK = ("name", "model")
"""Arguments with the name of a network."""


def write_stub() -> str:
    """Return the content of the file."""
    ours = [module.FAMILY for module in import_modules(families.__name__, families.__path__)]
    public = {name: getattr(keras_cnns, name) for name in keras_cnns.__all__ if name != "__version__"}
    blocks = {block.__name__: block for family in ours for block in family.blocks}
    imports = {"from typing import Literal, TypeAlias, overload"}
    declarations: list[str] = []
    for name, value in {**public, **blocks}.items():
        if name in public and inspect.isfunction(value) and takes_network(value):
            declarations += declare(value, ours)
            imports.update(find_imports(value))
        elif inspect.ismodule(value):
            package, _, module = value.__name__.rpartition(".")
            imports.add(f"from {package} import {module} as {name}")
        else:
            imports.add(f"from {value.__module__} import {name} as {name}")
    names = [f"{alias(family)}: TypeAlias = {literal(family.variants)}" for family in ours]
    names.append(f"_Network: TypeAlias = {' | '.join(map(alias, ours))}")
    return format_code("\n".join([HEAD, *sorted(imports), "", "__version__: str", *names, *declarations]))


def takes_network(function: Callable[..., Any]) -> bool:
    """Return whether the first argument of a function is the name of a network."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.name in NETWORK and first.annotation == "str"


def declare(function: Callable[..., Any], ours: Iterable[Family]) -> Iterator[str]:
    """Yield the overloads of a function: for each family with its settings, or for all networks if it takes none.

    The last one, for other texts, has no settings: names that are only known when the program runs, and the networks of
    others, are used with `**settings`.
    """
    name, signature = function.__name__, inspect.signature(function)
    first, *others = signature.parameters.values()
    if others[-1].kind is inspect.Parameter.VAR_KEYWORD:
        given = list(arguments(others[:-1]))
        overloads = [(alias(family), [*given, *typed_settings(family)]) for family in ours]
    else:
        given = list(arguments(others))
        overloads = [("_Network", given)]
    for kind, parameters in (*overloads, ("str", given)):
        listed = ", ".join([f"{first.name}: {kind}", *parameters])
        yield f"@overload\ndef {name}({listed}) -> {signature.return_annotation}: ..."


def typed_settings(family: Family) -> Iterator[str]:
    """Yield the settings of a family as they are declared."""
    for name, domain in next(iter(family.variants.values())).settings.domains().items():
        yield f"{name}: {annotation(domain)} = ..."


def arguments(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    """Yield parameters as they are declared, without the values of their defaults."""
    is_keyword_only = False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            yield "*"
        default = "" if parameter.default is inspect.Parameter.empty else " = ..."
        yield f"{parameter.name}: {parameter.annotation}{default}"


def alias(family: Family) -> str:
    """Return the name of the type of the names of a family's networks."""
    return f"_{family.name.title().replace('-', '')}"


def annotation(domain: Domain) -> str:
    """Return the type of the values of a setting."""
    match domain:
        case Choice():
            return "bool" if all(isinstance(value, bool) for value in domain.values) else literal(domain.values)
        case IntRange():
            return "int"
        case FloatRange():
            return "float"
        case Name():
            return "str"
        case TupleOf():
            return f"tuple[{annotation(domain.item)}, ...] | list[{annotation(domain.item)}]"
        case NoneOr():
            return f"{annotation(domain.domain)} | None"
    raise TypeError(f"{domain!r} has no type here")


def literal(values: Iterable[object]) -> str:
    """Return the type of some words, whole numbers or booleans."""
    return f"Literal[{', '.join(map(repr, values))}]"


def find_imports(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the imports of the names in a function's annotations, except public ones, which are imported anyway."""
    signature = inspect.signature(function)
    texts = [parameter.annotation for parameter in signature.parameters.values()] + [signature.return_annotation]
    named = {node.id for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    used = named - set(keras_cnns.__all__)
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(function.__module__)))):
        match node:
            case ast.Import():
                yield from (f"import {name.name}" for name in node.names if name.name in used)
            case ast.ImportFrom():
                yield from (f"from {node.module} import {name.name}" for name in node.names if name.name in used)
            case ast.ClassDef() if node.name in used:
                yield f"from {function.__module__} import {node.name}"


def format_code(code: str) -> str:
    """Return code with sorted imports, formatted by ruff."""
    for action in ("check --select I --fix --quiet", "format"):
        command = [sys.executable, "-m", "ruff", *action.split(), "--stdin-filename", str(STUB), "-"]
        code = subprocess.run(command, input=code, capture_output=True, text=True, check=True).stdout
    return code


if __name__ == "__main__":
    STUB.write_text(write_stub(), "utf-8")
