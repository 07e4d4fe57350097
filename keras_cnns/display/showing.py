"""The choice of a display of progress: a live one at a terminal or in a notebook, else lines on standard error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

from rich.console import Console

from keras_cnns.display.live import NotebookProgress, TerminalProgress
from keras_cnns.display.progress import LineProgress, Progress
from keras_cnns.errors import SettingError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@contextmanager
def show_progress(progress: bool | Progress, text: str = "starting") -> Iterator[Progress]:
    """Show progress while the block runs.

    Args:
        progress: True shows progress at the terminal, in the cell of a notebook, or else as lines on standard error;
            False shows nothing; a `Progress` is used as it is.
        text: What a live display shows before the first message.

    Raises:
        SettingError: `progress` is something else.
    """
    if isinstance(progress, Progress):
        yield progress
    elif not isinstance(progress, bool):
        raise SettingError(f"progress={progress!r} is not possible: use True, False or a keras_cnns.Progress.")
    elif not progress:
        yield Progress()
    elif is_notebook():
        with NotebookProgress(text) as shown:
            yield shown
    elif (console := Console(stderr=True)).is_terminal and not console.is_dumb_terminal:
        with TerminalProgress(console, text) as shown_at_terminal:
            yield shown_at_terminal
    else:
        with LineProgress() as lines:
            yield lines


def shows_progress(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function with a keyword argument `progress`, as of `show_progress`: it receives the `Progress`."""

    @functools.wraps(function)
    def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        with show_progress(cast("bool | Progress", options.pop("progress", True))) as progress:
            options["progress"] = progress
            return function(*arguments, **options)

    return call


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
