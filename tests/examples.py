"""The examples of the docs under names that nobody adds to the project."""

from __future__ import annotations

import re


def rename_examples(text: str) -> str:
    """Prefix the names of the family, source, metric and augmentation in their code."""
    text = re.sub(r'"(squeezenet|stripes|flips)', r'"example-\1', text)
    return text.replace('"youden', '"example_youden')
