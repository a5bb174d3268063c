"""The geometry of the charts. Templates draw it: SVG for shapes, text beside it for labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_HEIGHT = 200.0
_WIDTH = 10.0
"""Of one step."""
MOST_STEPS = 120
"""More than that nobody can tell apart: the next coarser step is drawn."""


@dataclass(frozen=True, slots=True)
class Column:
    """One step of a chart, as three numbers."""

    label: str
    """Stands below; empty: nothing does."""
    title: str
    """What a pointer reads."""
    opens: int
    clicks: int
    machines: int
    marked: bool = False
    """Whether something was sent."""
    name: str = ""
    """The step in words, for the table."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: one number of one step."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mirror:
    """People above a base line and machines below it, on one scale.

    :param lines: the heights of the lines, and what stands beside each, from the top.
    """

    width: float
    height: float
    base: float
    lines: tuple[tuple[float, int], ...]
    boxes: tuple[Box, ...]
    columns: tuple[Column, ...]
    step: float = _WIDTH


def mirror(columns: Sequence[Column]) -> Mirror:
    """Return the chart of some steps."""
    above = max((max(each.opens, each.clicks) for each in columns), default=0)
    below = max((each.machines for each in columns), default=0)
    unit = _unit(max(above, below))
    up, down = max(1, math.ceil(above / unit)), math.ceil(below / unit)
    scale = _HEIGHT / ((up + down) * unit)
    base = up * unit * scale
    boxes = []
    for place, each in enumerate(columns):
        x = place * _WIDTH
        opens, clicks, machines = each.opens * scale, each.clicks * scale, each.machines * scale
        boxes += [
            Box("o", x + 1.5, base - opens, 7, opens),
            Box("c", x + 3, base - clicks, 4, clicks),
            Box("k", x + 1.5, base, 7, machines),
        ]
    lines = tuple((base - step * unit * scale, abs(step) * unit) for step in range(up, -down - 1, -1))
    shown = tuple(box for box in boxes if box.height)
    return Mirror(max(1, len(columns)) * _WIDTH, _HEIGHT, base, lines, shown, tuple(columns))


@dataclass(frozen=True, slots=True)
class Growth:
    """A curve of what has come so far, and the usual one.

    :param line: the points of the curve, for an SVG path.
    :param area: the same, closed at the base line.
    :param usual: the points of the usual curve; empty: there is none.
    """

    width: float
    height: float
    line: str
    area: str
    usual: str
    lines: tuple[tuple[float, float], ...]


def growth(values: Sequence[float], usual: Sequence[float], width: float = 400.0, steps: int = 1) -> Growth:
    """Return the chart of two curves over the same steps.

    :param values: shares from 0 to 1; shorter than *usual* while not all of the time has passed.
    :param steps: that the chart has at least.
    """
    top = max((*values, *usual, 0.0))
    unit = _share_unit(top)
    up = max(1, math.ceil(top / unit))
    steps = max(len(values) - 1, len(usual) - 1, steps)

    def path(points: Sequence[float]) -> str:
        heights = [_HEIGHT - _HEIGHT * value / (up * unit) for value in points]
        at = [f"{place * width / steps:.1f} {height:.1f}" for place, height in enumerate(heights)]
        return "M" + "L".join(at) if at else ""

    line = path(values)
    end = (len(values) - 1) * width / steps if values else 0
    area = f"{line}L{end:.1f} {_HEIGHT}L0 {_HEIGHT}Z" if values else ""
    lines = tuple((_HEIGHT - _HEIGHT * step / up, step * unit) for step in range(up, -1, -1))
    return Growth(width, _HEIGHT, line, area, path(usual), lines)


def _unit(largest: int) -> int:
    """Return a round step so that at most four of them reach the largest number."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if 4 * factor * size >= largest:
                return factor * size
        size *= 10


def _share_unit(largest: float) -> float:
    """Return a round step of a share, so that at most five of them reach the largest."""
    return next((unit for unit in (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1) if 5 * unit >= largest), 0.2)
