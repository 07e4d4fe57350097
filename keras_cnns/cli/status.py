"""The progress that commands show: that of Python, and before it a message while the backend is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import show_progress
from keras_cnns.lazy import import_needed


@contextmanager
def show_status(text: str = "loading TensorFlow", *, backend: bool = True) -> Iterator[Progress]:
    """Show progress while the block runs, and load the backend first.

    Args:
        text: What is shown at a terminal before the first message.
        backend: Whether the command needs the backend.
    """
    with show_progress(progress=True, text=text) as progress:
        if backend:
            import_needed("keras")
        yield progress
