"""Diagrams of networks, drawn from their graphs: boxes from input to output, as SVG that follows the page's theme.

The layout is our own (rows by longest path, slots where edges pass a row), because the maintained alternatives need a
binary (Graphviz) or a script from another host (Mermaid), and neither orders branches as the papers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from keras_cnns.networks.graph import graph_nodes

BOX_WIDTH, LINE_HEIGHT, PADDING = 176, 17, 8
COLUMN_GAP, ROW_GAP, SLOT_WIDTH = 22, 30, 20
LIGHT = {
    "Activation", "BatchNormalization", "Dropout", "Flatten", "LocalResponseNormalization", "ReLU", "ZeroPadding2D",
}  # fmt: skip
JOINING = {"Add", "Concatenate"}
PRE_ACTIVATION = {"Activation", "BatchNormalization", "ReLU"}
"""Layers that begin a box if they come before the convolution that they belong to."""
WORDS = {
    "BatchNormalization": "batch normalization",
    "ReLU": "ReLU",
    "ZeroPadding2D": "zero padding",
    "GlobalAveragePooling2D": "global average pooling",
    "LocalResponseNormalization": "local response normalization",
    "Add": "add",
    "Concatenate": "concatenate",
}
SPELLED = {"relu": "ReLU"}


@dataclass(eq=False)
class Box:
    """A box of a diagram, or a slot where an edge passes a row.

    Attributes:
        lines: Lines of text; none in a slot.
        before: The boxes whose outputs are the inputs of this one.
        kinds: Class names of the layers in the box.
        row: Index of the row, from the top.
        x: Horizontal centre.
        y: Upper edge.
        row_height: Height of the highest box in the row.
    """

    lines: list[str]
    before: list[Box]
    kinds: list[str] = field(default_factory=list)
    row: int = 0
    x: float = 0.0
    y: float = 0.0
    row_height: int = 0

    @property
    def width(self) -> int:
        """Width in pixels."""
        return BOX_WIDTH if self.lines else SLOT_WIDTH

    @property
    def height(self) -> int:
        """Height in pixels; the height of its row for a slot."""
        return LINE_HEIGHT * len(self.lines) + 2 * PADDING if self.lines else self.row_height


def diagram(model: Any, title: str) -> str:
    """Draw a functional model as SVG, with one row per box on the longest path.

    Args:
        model: The network, or a part of one made into a model.
        title: Text alternative for screen readers.
    """
    return draw(arrange(merge(make_boxes(model))), title)


def make_boxes(model: Any) -> list[Box]:
    """Return a box for each input and layer, in the order of execution."""
    made: dict[int, Box] = {id(tensor): Box([format_shape(tensor)], [], ["Input"]) for tensor in model.inputs}
    boxes = list(made.values())
    for operation, inputs, outputs in graph_nodes(model):
        kind = type(operation).__name__
        before = list(dict.fromkeys(made[id(tensor)] for tensor in inputs))
        box = Box([label(operation), format_shape(outputs[0])], before, [kind])
        boxes.append(box)
        made.update((id(tensor), box) for tensor in outputs)
    return boxes


def label(operation: Any) -> str:
    """Return the description of a layer: its operation, window, stride and groups."""
    kind = type(operation).__name__
    if kind in ("Conv2D", "MaxPooling2D", "AveragePooling2D"):
        is_convolution = kind == "Conv2D"
        height, width = operation.kernel_size if is_convolution else operation.pool_size
        name = "convolution" if is_convolution else "max pooling" if kind == "MaxPooling2D" else "average pooling"
        stride = max(operation.strides)
        groups = f", {operation.groups} groups" if is_convolution and operation.groups > 1 else ""
        return f"{height}×{width} {name}{f', stride {stride}' if stride > 1 else ''}{groups}"
    if kind == "Activation":
        name = getattr(operation.activation, "__name__", "activation")
        return SPELLED.get(name, name)
    return WORDS.get(kind, split_words(kind))


def split_words(kind: str) -> str:
    """Return a class name as separate words."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()


def format_shape(tensor: Any) -> str:
    """Format the shape of a tensor without its batch axis."""
    return "×".join("?" if side is None else str(side) for side in tensor.shape[1:])


def merge(boxes: Iterable[Box]) -> list[Box]:
    """Merge light layers into the box before or after them, unless the graph branches in between."""
    left = list(boxes)
    for box in [box for box in left if box.kinds[0] in LIGHT]:
        (before,) = box.before
        after = [other for other in left if box in other.before]
        forward = len(after) == 1 and after[0].kinds[0] not in JOINING
        backward = before.kinds != ["Input"] and before.kinds[-1] not in JOINING and count_successors(before, left) == 1
        if backward and not (forward and before.kinds[0] in PRE_ACTIVATION):
            into, lines = before, [*before.lines[:-1], *box.lines]
            into.kinds += box.kinds
        elif forward:
            into, lines = after[0], [*box.lines[:-1], *after[0].lines]
            into.kinds = box.kinds + into.kinds
            into.before = [before if other is box else other for other in into.before]
        else:
            continue
        into.lines = lines
        left.remove(box)
        for other in left:
            other.before = [into if one is box else one for one in other.before]
    return left


def count_successors(box: Box, boxes: Sequence[Box]) -> int:
    """Return how many boxes have the output of a box as an input."""
    return sum(box in other.before for other in boxes)


def arrange(boxes: Sequence[Box]) -> list[list[Box]]:
    """Arrange boxes in rows below their inputs, with slots where edges pass a row, and set their coordinates."""
    for box in boxes:
        box.row = 1 + max((before.row for before in box.before), default=-1)
    rows: list[list[Box]] = [[] for _ in range(1 + max(box.row for box in boxes))]
    for box in boxes:
        rows[box.row].append(box)
        box.before = [add_slots(before, box, rows) for before in box.before]
    y = 0.0
    for row in rows:
        middles = {id(box): sum(before.x for before in box.before) / max(1, len(box.before)) for box in row}
        row.sort(key=lambda box: middles[id(box)])
        x = -(sum(box.width for box in row) + COLUMN_GAP * (len(row) - 1)) / 2
        for box in row:
            box.x = x + box.width / 2
            x += box.width + COLUMN_GAP
        highest = max(box.height for box in row if box.lines)
        for box in row:
            box.row_height = highest
            box.y = y + (highest - box.height) / 2
        y += highest + ROW_GAP
    return rows


def add_slots(before: Box, box: Box, rows: Sequence[list[Box]]) -> Box:
    """Add slots to the rows between two boxes; return the last slot, or the upper box if there are none."""
    for row in range(before.row + 1, box.row):
        before = Box([], [before], ["slot"], row)
        rows[row].append(before)
    return before


def draw(rows: Sequence[Sequence[Box]], title: str) -> str:
    """Return rows of boxes with their edges as SVG."""
    left = min(box.x - box.width / 2 for row in rows for box in row) - 2
    right = max(box.x + box.width / 2 for row in rows for box in row) + 2
    below = max(box.y + box.height for row in rows for box in row) + 2
    size = {"viewBox": f"{left:g} -2 {right - left:g} {below + 2:g}", "width": f"{right - left:g}"}
    svg = ET.Element("svg", {**size, "class": "diagram", "role": "img", "aria-label": title})
    for row in rows:
        for box in row:
            for before in box.before:
                draw_edge(svg, before, box)
    for box in (box for row in rows for box in row if box.lines):
        edge = {"x": f"{box.x - box.width / 2:g}", "y": f"{box.y:g}", "rx": "5"}
        ET.SubElement(svg, "rect", {**edge, "width": f"{box.width}", "height": f"{box.height}"})
        for number, text in enumerate(box.lines):
            position = {"x": f"{box.x:g}", "y": f"{box.y + PADDING + LINE_HEIGHT * (number + 0.72):g}"}
            last: Mapping[str, str] = {"class": "shape"} if number == len(box.lines) - 1 else {}
            ET.SubElement(svg, "text", {**position, **last}).text = text
    return ET.tostring(svg, encoding="unicode")


def draw_edge(svg: ET.Element, before: Box, box: Box) -> None:
    """Draw the edge from a box to one below it."""
    top, bottom = before.y + before.height, box.y
    half = (top + bottom) / 2
    curve = f"M{before.x:g} {top:g}C{before.x:g} {half:g} {box.x:g} {half:g} {box.x:g} {bottom:g}"
    if not box.lines:
        curve += f"V{bottom + box.height:g}"
    ET.SubElement(svg, "path", {"d": curve})
