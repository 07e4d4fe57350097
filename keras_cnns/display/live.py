"""Live displays of progress: at a terminal, and in a notebook."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from keras_cnns.display.progress import Progress, format_metrics
from keras_cnns.display.summary import Bar, Summary, SummaryTable, to_html, to_text
from keras_cnns.display.sweep_state import (
    MAX_ROWS,
    SweepState,
    format_duration,
    select_rows,
    summarize,
    trial_cells,
    trial_columns,
)

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, ConsoleOptions, RenderResult

OTHER_LINES = 8
SECONDS_PER_UPDATE = 0.2


class LiveProgress(Progress):
    """The state of a live display: a message, the bar of a training, or the trials of a sweep.

    Args:
        text: What is shown before the first message.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.epochs = 0
        self.epochs_done = 0.0
        self.metrics: Mapping[str, float] = {}
        self.training_began = 0.0
        self.training = self.ended = False
        self.state: SweepState | None = None
        self.began = time.monotonic()

    def refresh(self) -> None:
        """Show the current state."""

    def message(self, text: str) -> None:
        """Show the message instead of a bar."""
        self.text, self.training = text, False
        self.refresh()

    def begin_training(self, epochs: int) -> None:
        """Show a bar over all epochs."""
        self.epochs, self.epochs_done, self.metrics = epochs, 0.0, {}
        self.training, self.training_began = True, time.monotonic()
        self.refresh()

    def step(self, done: int, total: int) -> None:
        """Show the progress within an epoch."""
        self.epochs_done = int(self.epochs_done) + min(done / total, 0.999)
        self.refresh()

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of an epoch."""
        self.epochs_done, self.metrics = float(number), metrics
        self.refresh()

    def begin_sweep(self, state: SweepState) -> None:
        """Show the trials instead of the message."""
        self.state = state
        self.refresh()

    def update_sweep(self) -> None:
        """Show the trials instead of the message."""
        if self.has_trials:
            self.text = ""
        self.refresh()

    @property
    def has_trials(self) -> bool:
        """Whether trials have begun."""
        return self.state is not None and bool(self.state.running or self.state.ended)

    @property
    def lines(self) -> list[str]:
        """The lines of the display, without the bar."""
        seconds = format_duration(time.monotonic() - self.began)
        status = f"{self.text} ... {seconds}" if self.text else ""
        if self.state is None:
            return [status or f"done in {seconds}"]
        found = [*(summarize(self.state) if self.has_trials else []), status, self.state.store_error]
        return list(filter(None, found))

    @property
    def bar(self) -> Bar | None:
        """The bar of a training."""
        if not self.training or not self.epochs:
            return None
        share = self.epochs_done / self.epochs
        spent = time.monotonic() - self.training_began
        left = "" if self.ended or not 0 < share < 1 else f", about {format_duration(spent * (1 - share) / share)} left"
        current = int(self.epochs_done) + (not self.ended)
        epoch = f"epoch {min(current, self.epochs)}/{self.epochs}"
        return Bar(title=epoch, share=share, text=f"{format_metrics(self.metrics)}{left}".removeprefix(", "))


class TerminalProgress(LiveProgress):
    """Shows progress at a terminal, within its height, while the context is entered.

    Args:
        console: The terminal.
        text: What is shown before the first message.
    """

    def __init__(self, console: Console, text: str) -> None:
        super().__init__(text)
        self.live = Live(
            self,
            console=console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=sys.stdout.isatty(),  # what the user prints appears above the display
        )
        self.spinner = Spinner("dots")

    def __enter__(self) -> Self:
        """Begin to show progress."""
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the display."""
        self.live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the display within the height of the terminal."""
        bar = self.bar
        if bar is not None:
            row = Table.grid(padding=(0, 1))
            row.add_row(Text(bar.title), ProgressBar(1, bar.share, width=min(40, console.width // 3)), Text(bar.text))
            yield row
            return
        if self.state is None:
            self.spinner.text = Text(self.lines[0], no_wrap=True, overflow="ellipsis")
            yield self.spinner
            return
        for line in self.lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")
        rows = min(MAX_ROWS, options.size.height - OTHER_LINES)
        if self.has_trials and rows > 0:
            yield make_trial_table(self.state, rows)


def make_trial_table(state: SweepState, rows: int) -> Table:
    """Return a table of the running trials, in at most half of the rows, and of the best ended ones."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in trial_columns(state):
        is_text = name in ("network", "status")  # text is cut off on narrow terminals, numbers are not
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    shown, best = select_rows(state, rows), state.best
    for row in shown:
        style = "bold" if row is best else "" if row.ended else "cyan"
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in trial_cells(row, state)), style=style)
    hidden = len(state.running) + len(state.ended) - len(shown)
    if hidden:
        table.caption = f"and {hidden} more"
        table.caption_justify = "left"
    return table


class NotebookProgress(LiveProgress):
    """Shows progress in the output of a notebook's cell, which keeps the last state.

    Args:
        text: What is shown before the first message.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.shown_at = time.monotonic()
        # rich needs ipywidgets for this, which not every notebook shows.
        self.handle: Any = importlib.import_module("IPython.display").display(
            self.mimebundle(), raw=True, display_id=True
        )

    def __enter__(self) -> Self:
        """Begin to show progress."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Show the last state, and how long the call took."""
        self.ended = True
        self.training = bool(self.metrics)
        self.text = f"failed with {kind.__name__}" if kind else ""
        self.refresh()

    def step(self, done: int, total: int) -> None:
        """Show the progress within an epoch, a few times per second."""
        self.epochs_done = int(self.epochs_done) + min(done / total, 0.999)
        if time.monotonic() - self.shown_at >= SECONDS_PER_UPDATE:
            self.refresh()

    def refresh(self) -> None:
        """Replace what the cell shows."""
        self.shown_at = time.monotonic()
        self.handle.update(self.mimebundle(), raw=True)

    def mimebundle(self) -> dict[str, str]:
        """Return the display as text and as HTML."""
        tables = []
        if self.state is not None and self.has_trials:
            rows = [trial_cells(row, self.state) for row in select_rows(self.state, MAX_ROWS)]
            tables = [SummaryTable(columns=trial_columns(self.state), rows=rows, text_columns=0)]
        bar, lines = self.bar, self.lines
        if bar:
            lines = lines if self.text else []
        title = lines.pop(0) if tables else ""
        shown = Summary(title=title, notes=lines, bar=bar, tables=tables)
        return {"text/plain": to_text(shown), "text/html": to_html(shown)}
