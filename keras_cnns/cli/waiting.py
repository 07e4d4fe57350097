"""What a command shows while it works: at a terminal a line that says what is being done, otherwise nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def waiting(first: str = "loading TensorFlow") -> Iterator[Callable[[str], None]]:
    """Show what is being done; it is gone when the work is.

    TensorFlow's warnings that several networks are each asked only a few times are left out.

    Args:
        first: What is being done to begin with.

    Yields:
        What is to be told of each next piece of work.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` does not wait for it

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(first) as status:
        yield status.update
