"""Users read standard terms: phrases that readers stumbled over do not occur in anything that is shown to them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each phrase as a regular expression, and the standard term.
REPLACED = {
    r"\b(the|arrows of the) house\b": "package layout",
    r"\brooms? of (its|their|our) own\b|\bbelow this room\b": "package",
    r"\bin a circle\b|\bcircle of imports\b": "import cycle",
    r"\b(makes?|made|reads?|sees?|new|zero|output|input|all) maps\b": "channels",
    r"(?<!feature )\bmaps (that|of) (each|its|the)\b": "channels",
    r"\bwritten whole\b|\bwhole or not at all\b": "written atomically",
    r"\bpatience\b.{0,40}\bstore\b|\bstore\b.{0,40}\bpatience\b": "retry timeout",
    r"\b(how far|what) \w+ (layers?|networks?|values?) sees?\b|\bwhere a network sees\b": "receptive field",
    r"\blooked at\b|\blooks at (a|the) test\b|\bnumber of looks\b": "test-set evaluations",
    r"\bread back\b": "reused result",
    r"\bworn\b": "recycled worker",
    r"\bin (its )?parts of\b|\bbatch(es)? in (2|two|so many|more) parts\b": "micro-batches",
    r"(?<![\w-])--(against|each|views)\b": "--cost, --per-run, --tta",
    r"\b(cores|GPUs|memory|milliseconds|workers) a trial\b": "per trial",
    r"\b(images|seconds) a step\b|\bimages a second\b": "per step, per second",
    r"\bwho is held out\b|\bwho is in which split\b": "validation split",
    r"\bwho stops\b|\bfalls? behind\b": "early stopping of trials",
    r"\bcores inside fit\b": "core utilisation",
    r"\bwhat mattered\b": "hyperparameter importance",
    r"\btaken for\b|\btakes? (it|them|images?) for\b": "predicted as",
    r"\b(is|are|was|were) no (number|name|file|image|pixel|time|condition|picture|setting|network|run)s?\b": "is not a",
    r"\bmend(s|ed)?\b": "fix",
    r"\bbehind each other\b|\bbeside each other\b": "concatenate; side by side",
    r"\bzeros (around|beyond)\b|\bpixels of zeros\b": "zero padding",
    r"\b(maximum|average|convolution), step \d\b": "pooling, stride",
    r"\bwhoever\b": "a user who",
    r"\bthe (better|higher|larger) the (darker|paler)\b": "higher is darker",
    r"\b(tells?|told|telling) (\w+ )?apart\b": "distinguish",
    r"\bgoes on with\b|\bgo on with --resume\b|\bWhat is \w+ goes on\b": "resume",
    r"\b(is|are|was|were|be|being) told\b|\bsays of itself\b|\bsay of (itself|themselves)\b": "is reported",
}
SHOWN = ("README.md", "CHANGELOG.md", "docs/**/*.md", "keras_cnns/**/*.html", "docs/cluster/*")
CODE = ("keras_cnns/**/*.py", "tuning/**/*.py", "experiments/**/*.py", "docs/hooks/*.py", "benchmarks/*.py")


@functools.cache
def shown_texts() -> tuple[tuple[str, str], ...]:
    """Return each text with where it is: documents, and the strings and docstrings of the code."""
    found = [
        (str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        for pattern in SHOWN
        for path in sorted(ROOT.glob(pattern))
        if path.is_file()
    ]
    for path in sorted(path for pattern in CODE for path in ROOT.glob(pattern)):
        found += [(f"{path.relative_to(ROOT)}:{line}", text) for line, text in strings_in(path)]
    found += [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node.name.replace("_", " "))
        for path in sorted(ROOT.glob("tests/test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    return tuple(found)


def strings_in(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@pytest.mark.parametrize("phrase", REPLACED)
def test_no_shown_text_has_a_phrase_that_readers_stumble_over(phrase: str) -> None:
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [
        f"{where}: ...{' '.join(text[max(0, match.start() - 40) : match.end() + 40].split())}..."
        for where, text in shown_texts()
        for match in pattern.finditer(" ".join(text.split()) if where.endswith(".py") else text)
    ]
    assert not found, f"say {REPLACED[phrase]!r}:\n" + "\n".join(found)
