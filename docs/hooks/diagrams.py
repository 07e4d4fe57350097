"""Diagrams of networks, drawn from their graphs: boxes from input to output, as SVG that takes the page's colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from keras_cnns.networks.graph import graph_steps

BOX_WIDTH, LINE_HEIGHT, PADDING = 176, 17, 8
COLUMN_GAP, ROW_GAP, SLOT_WIDTH = 22, 30, 20
LIGHT = {
    "Activation", "BatchNormalization", "Dropout", "Flatten", "LocalResponseNormalization", "ReLU", "ZeroPadding2D",
}  # fmt: skip
JOINING = {"Add", "Concatenate"}
BEFORE_CONVOLUTIONS = {"Activation", "BatchNormalization", "ReLU"}
"""What a box begins with where these come before the convolution they belong to."""
WORDS = {
    "BatchNormalization": "batch norm",
    "ReLU": "ReLU",
    "ZeroPadding2D": "zeros around",
    "GlobalAveragePooling2D": "global average",
    "LocalResponseNormalization": "local response norm",
    "Add": "sum",
    "Concatenate": "behind each other",
}
SPELLED = {"relu": "ReLU"}


@dataclass(eq=False)
class Box:
    """One box of a diagram, or a slot where a line passes a row.

    Attributes:
        lines: What stands in it; nothing in a slot.
        before: The boxes whose output it takes.
        kinds: The kinds of the layers in it.
        row: Its row, from the top.
        x: Its middle.
        y: Its upper edge.
        row_height: The height of the highest box of its row.
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
        """Return its width in pixels."""
        return BOX_WIDTH if self.lines else SLOT_WIDTH

    @property
    def height(self) -> int:
        """Return its height in pixels; of a slot that of its row."""
        return LINE_HEIGHT * len(self.lines) + 2 * PADDING if self.lines else self.row_height


def diagram(model: Any, title: str) -> str:
    """Draw a functional model as SVG, a row for each box on the longest way.

    Args:
        model: The network, or a part of one made into a model.
        title: What a reader that cannot see it is told.
    """
    boxes = merged(boxes_of(model))
    rows = arranged(boxes)
    return drawn(rows, title)


def boxes_of(model: Any) -> list[Box]:
    """Return a box for each input and layer, in the order of execution."""
    made: dict[int, Box] = {id(tensor): Box([shape_of(tensor)], [], ["Input"]) for tensor in model.inputs}
    boxes = list(made.values())
    for operation, inputs, outputs in graph_steps(model):
        kind = type(operation).__name__
        before = list(dict.fromkeys(made[id(tensor)] for tensor in inputs))
        box = Box([label(operation), shape_of(outputs[0])], before, [kind])
        boxes.append(box)
        made.update((id(tensor), box) for tensor in outputs)
    return boxes


def label(operation: Any) -> str:
    """Say what a layer is."""
    kind = type(operation).__name__
    if kind in ("Conv2D", "MaxPooling2D", "AveragePooling2D"):
        convolves = kind == "Conv2D"
        height, width = operation.kernel_size if convolves else operation.pool_size
        name = "convolution" if convolves else "maximum" if kind == "MaxPooling2D" else "average"
        steps = max(operation.strides)
        groups = f", {operation.groups} groups" if convolves and operation.groups > 1 else ""
        return f"{height}×{width} {name}{f', step {steps}' if steps > 1 else ''}{groups}"
    if kind == "Activation":
        name = getattr(operation.activation, "__name__", "activation")
        return SPELLED.get(name, name)
    return WORDS.get(kind, spaced(kind))


def spaced(kind: str) -> str:
    """Write the name of a class as words."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()


def shape_of(tensor: Any) -> str:
    """Write the shape of what a layer gives for one image."""
    return "×".join("?" if side is None else str(side) for side in tensor.shape[1:])


def merged(boxes: Iterable[Box]) -> list[Box]:
    """Put light layers into the box of what they follow, or come before, where nothing branches between."""
    left = list(boxes)
    for box in [box for box in left if box.kinds[0] in LIGHT]:
        (before,) = box.before
        after = [other for other in left if box in other.before]
        forward = len(after) == 1 and after[0].kinds[0] not in JOINING
        backward = before.kinds != ["Input"] and before.kinds[-1] not in JOINING and followers(before, left) == 1
        if backward and not (forward and before.kinds[0] in BEFORE_CONVOLUTIONS):
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


def followers(box: Box, boxes: Sequence[Box]) -> int:
    """Return how many boxes take what a box gives."""
    return sum(box in other.before for other in boxes)


def arranged(boxes: Sequence[Box]) -> list[list[Box]]:
    """Put boxes in rows, each below all that it takes, with slots where lines pass, and give each its place."""
    for box in boxes:
        box.row = 1 + max((before.row for before in box.before), default=-1)
    rows: list[list[Box]] = [[] for _ in range(1 + max(box.row for box in boxes))]
    for box in boxes:
        rows[box.row].append(box)
        box.before = [passing(before, box, rows) for before in box.before]
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


def passing(before: Box, box: Box, rows: Sequence[list[Box]]) -> Box:
    """Return what is directly above a box on the line from another: that one, or the last of the slots between."""
    for row in range(before.row + 1, box.row):
        before = Box([], [before], ["slot"], row)
        rows[row].append(before)
    return before


def drawn(rows: Sequence[Sequence[Box]], title: str) -> str:
    """Draw rows of boxes."""
    left = min(box.x - box.width / 2 for row in rows for box in row) - 2
    right = max(box.x + box.width / 2 for row in rows for box in row) + 2
    below = max(box.y + box.height for row in rows for box in row) + 2
    size = {"viewBox": f"{left:g} -2 {right - left:g} {below + 2:g}", "width": f"{right - left:g}"}
    svg = ET.Element("svg", {**size, "class": "diagram", "role": "img", "aria-label": title})
    for row in rows:
        for box in row:
            for before in box.before:
                line(svg, before, box)
    for box in (box for row in rows for box in row if box.lines):
        edge = {"x": f"{box.x - box.width / 2:g}", "y": f"{box.y:g}", "rx": "5"}
        ET.SubElement(svg, "rect", {**edge, "width": f"{box.width}", "height": f"{box.height}"})
        for number, text in enumerate(box.lines):
            place = {"x": f"{box.x:g}", "y": f"{box.y + PADDING + LINE_HEIGHT * (number + 0.72):g}"}
            last: Mapping[str, str] = {"class": "shape"} if number == len(box.lines) - 1 else {}
            ET.SubElement(svg, "text", {**place, **last}).text = text
    return ET.tostring(svg, encoding="unicode")


def line(svg: ET.Element, before: Box, box: Box) -> None:
    """Draw the line from a box to one below."""
    top, bottom = before.y + before.height, box.y
    half = (top + bottom) / 2
    curve = f"M{before.x:g} {top:g}C{before.x:g} {half:g} {box.x:g} {half:g} {box.x:g} {bottom:g}"
    if not box.lines:
        curve += f"V{bottom + box.height:g}"
    ET.SubElement(svg, "path", {"d": curve})
