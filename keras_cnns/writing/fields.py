"""Fields of the facts that a write-up is composed from, and how their values are printed.

A field is a JSON pointer (RFC 6901) into the facts, such as `/evaluation/metrics/auc`, in which `~2` and `~3` stand for
`,` and `*` in a key. `sum(...)` and `count(...)` of pointers with a wildcard `*`, separated by commas, are the sum and
the number of the values that they find. `key(...)` of a pointer is its last key, such as the name of a class whose
images are counted there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_cnns.errors import ReportError

WILDCARD = "*"
FUNCTION = re.compile(r"(sum|count|key)\((.*)\)", re.DOTALL)
ESCAPES = {"~": "~0", "/": "~1", ",": "~2", "*": "~3"}
HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
"""The Unicode categories of characters that cannot be seen."""


@dataclass(frozen=True)
class Value:
    """A value as printed.

    Attributes:
        text: What is printed.
        field: The field that has the value.
        value: The value.
        form: The name of the format in `FORMATS`.
    """

    text: str
    field: str
    value: Any
    form: str


def format_count(value: Any) -> str:
    """Return a whole number with separators of thousands."""
    if int(value) != value:
        raise ReportError(f"{value!r} is not a whole number; store a count there.")
    return f"{int(value):,}"


def with_minus(text: str) -> str:
    """Return a number with a minus sign instead of a hyphen."""
    return f"−{text[1:]}" if text.startswith("-") else text


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "count": format_count,
    "rate": lambda value: with_minus(f"{value:.3f}"),
    "percent": lambda value: f"{100 * value:g}%",
    "number": lambda value: with_minus(f"{value:.4g}"),
    "seconds": lambda value: f"{value:.1f}",
    "date": lambda value: str(value)[:10],
}
"""The functions that print a value, by name."""


def pointer(*keys: object) -> str:
    """Return the JSON pointer of nested keys, which may contain any characters."""
    return "".join(f"/{''.join(ESCAPES.get(letter, letter) for letter in str(key))}" for key in keys)


def decode(part: str) -> str:
    """Return the key that a part of a pointer stands for."""
    for letter, escape in reversed(ESCAPES.items()):
        part = part.replace(escape, letter)
    return part


def find_values(facts: Any, field: str) -> list[Any]:
    """Return the values that a pointer finds, None included; several or none if it has a wildcard."""
    found = [facts]
    for part in field.split("/")[1:]:
        if part == WILDCARD:
            found = [value for parent in found for value in children(parent)]
            continue
        found = [child for parent in found for child in lookup(parent, decode(part))]
    return found


def children(parent: Any) -> list[Any]:
    """Return the values of a mapping or sequence."""
    if isinstance(parent, Mapping):
        return list(parent.values())
    return list(parent) if is_sequence(parent) else []


def lookup(parent: Any, key: str) -> list[Any]:
    """Return a list with the value of a key or index, or an empty one if there is none."""
    if isinstance(parent, Mapping):
        return [parent[key]] if key in parent else []
    if is_sequence(parent) and key.isdecimal() and int(key) < len(parent):
        return [parent[int(key)]]
    return []


def is_sequence(value: Any) -> bool:
    """Return whether a value is a list or tuple."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def find(facts: Any, field: str) -> Any:
    """Return the value of a field; None if there is none, or if the values of a sum are not all known."""
    function = FUNCTION.fullmatch(field)
    if function is None:
        found = find_values(facts, field)
        return found[0] if found else None
    name, pointers = function.groups()
    values = [value for each in pointers.split(",") for value in find_values(facts, each)]
    if name == "count":
        return len(values)
    if name == "key":
        return decode(pointers.rpartition("/")[2]) if values else None
    return None if not values or any(value is None for value in values) else sum(values)


def print_value(facts: Any, field: str, form: str) -> Value:
    """Return the value of a field as printed.

    Raises:
        ReportError: There is no such field, or its value is not known.
    """
    value = find(facts, field)
    if value is None or isinstance(value, Mapping) or is_sequence(value):
        raise ReportError(
            f"the run does not have {field}, so that it cannot be written; this is a mistake of a template."
        )
    return Value(clean(FORMATS[form](value)), field, value, form)


def clean(text: str) -> str:
    """Return a text on one line that every format can contain: composed, with visible control characters."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(show(letter) for letter in composed)


def show(letter: str) -> str:
    """Return a character or, if it is a control, surrogate or private one, its escape."""
    return letter.encode("unicode_escape").decode() if unicodedata.category(letter) in HIDDEN else letter
