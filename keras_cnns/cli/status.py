"""A status line that commands show at a terminal while they work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console

from keras_cnns.lazy import load_backend


@contextmanager
def show_status(message: str = "loading TensorFlow", *, backend: bool = True) -> Iterator[Callable[[str], None]]:
    """Show a status line while the block runs, and load the backend first; print nothing if there is no terminal.

    Args:
        message: The first message.
        backend: Whether the command needs the backend.

    Yields:
        A function that replaces the message.
    """
    # TensorFlow warns that functions are retraced where several networks predict a few batches each.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    console = Console(stderr=True)
    with console.status(message) if console.is_terminal else nullcontext() as status:
        if backend:
            load_backend()
        yield status.update if status else lambda _: None
