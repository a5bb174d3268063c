"""Where the shapes of a chart stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.console.charts import Column, growth, mirror

COUNTS = st.integers(0, 10**9)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), max_size=20))
def test_people_stand_on_the_line_and_machines_hang_below_it(numbers: list[tuple[int, int, int]]) -> None:
    """Every number is drawn to one scale inside the chart: people upwards, machines downwards, none over another."""
    chart = mirror([Column("", "", *each) for each in numbers])
    assert 2 <= len(chart.lines) <= 10
    assert [y for y, _ in chart.lines] == sorted(y for y, _ in chart.lines)
    heights = {"o": 0, "c": 1, "k": 2}
    top, most = chart.lines[0]
    scale = (chart.base - top) / most
    for box in chart.boxes:
        assert -1e-6 <= box.y <= box.y + box.height <= chart.height + 1e-6
        number = numbers[int(box.x // chart.step)][heights[box.kind]]
        assert abs(box.height - number * scale) < 1e-6
        assert abs((box.y if box.kind == "k" else box.y + box.height) - chart.base) < 1e-6
    assert len(chart.boxes) == sum(bool(each) for counts in numbers for each in counts)


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_a_curve_stays_inside(values: list[float], usual: list[float]) -> None:
    """Both curves have one scale and one time, and leave the chart nowhere."""
    chart = growth(values, usual)
    for path, points in ((chart.line, values), (chart.usual, usual)):
        drawn = [tuple(map(float, point.split())) for point in path.removeprefix("M").split("L") if point]
        assert len(drawn) == len(points)
        assert all(0 <= x <= chart.width and -0.1 <= y <= chart.height for x, y in drawn)
    assert chart.lines[-1] == (chart.height, 0)
