"""A 1x1 convolution before a large one: how much it saves.

Szegedy et al. 2015, section 3: "1x1 convolutions are used to compute reductions before the expensive 3x3 and 5x5
convolutions". Courses show it with a 5x5 convolution from 200 to 32 channels on a 32x32 feature map, directly or
through 16 channels; a figure of 4.3 million multiply-accumulates is often quoted for the latter.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.reporting import report
from keras_cnns import Counts
from keras_cnns.comparing.formatting import format_tick
from keras_cnns.networks.counting import CostCounter, SymbolicTensor
from keras_cnns.networks.operations import convolution
from keras_cnns.plotting import COLOURS, INK, make_figure, style_axes

SIDE, CHANNELS, NEW_CHANNELS, KERNEL = 32, 200, 32, 5
NARROW = 16
QUOTED = 4.3e6


def direct() -> Counts:
    """Count the large convolution on all channels."""
    counter = CostCounter()
    convolution(SymbolicTensor(SIDE, SIDE, CHANNELS, counter), NEW_CHANNELS, KERNEL, name="large")
    return counter.counts()


def through(width: int) -> tuple[Counts, Counts]:
    """Count the 1x1 convolution to `width` channels, and the large one on these."""
    first, second = CostCounter(), CostCounter()
    convolution(SymbolicTensor(SIDE, SIDE, CHANNELS, first), width, 1, name="narrow")
    convolution(SymbolicTensor(SIDE, SIDE, width, second), NEW_CHANNELS, KERNEL, name="large")
    return first.counts(), second.counts()


def cost(width: int) -> int:
    """Return the multiply-accumulates of both convolutions together."""
    return sum(counts.macs for counts in through(width))


def run() -> None:
    """Count, and write the results."""
    whole, (narrow, large) = direct(), through(NARROW)
    widths = range(1, CHANNELS + 1)
    dearer = next(width for width in widths if cost(width) > whole.macs)
    reaching = max(width for width in widths if cost(width) <= QUOTED)
    numbers = {
        "direct": f"{whole.macs:,}",
        "narrow": f"{narrow.macs:,}",
        "large": f"{large.macs:,}",
        "both": f"{cost(NARROW):,}",
        "factor": f"{whole.macs / cost(NARROW):.1f}",
        "weights": f"{whole.total_parameters:,}",
        "weights_through": f"{narrow.total_parameters + large.total_parameters:,}",
        "dearer": str(dearer),
        "reaching": str(reaching),
        "reached": f"{cost(reaching):,}",
    }
    report("bottleneck", numbers, draw([*widths], whole.macs))


def draw(widths: list[int], whole: int) -> Figure:
    """Draw the cost of the two convolutions against the number of channels between them."""
    figure = make_figure(8, 4.4)
    panel = figure.add_subplot()
    panel.plot(widths, [cost(width) for width in widths], color=COLOURS[0], label="1×1, then 5×5", linewidth=2)
    panel.axhline(whole, color=COLOURS[1], linewidth=2, label="5×5 on all channels")
    panel.axhline(QUOTED, color=COLOURS[2], linewidth=1.2, linestyle="--", label="the quoted 4.3M")
    panel.plot([NARROW], [cost(NARROW)], "o", color=COLOURS[0])
    panel.annotate(
        f"{NARROW} channels: {cost(NARROW) / 1e6:.1f}M",
        (NARROW, cost(NARROW)),
        (8, -14),
        textcoords="offset points",
        color=INK,
    )
    panel.set_xlim(0, CHANNELS)
    panel.set_ylim(0, 1.3 * whole)
    panel.set_xlabel("channels between the two convolutions", color=INK)
    panel.set_ylabel("multiply-accumulates", color=INK)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    style_axes(panel)
    panel.legend(frameon=False, labelcolor=INK)
    return figure
