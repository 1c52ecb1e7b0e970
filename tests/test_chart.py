"""Charts: axes, and labels that do not lie on each other."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_host.chart import Axis, Line, Point, chart, linear_axis, log_axis

positive = st.floats(1e-7, 1e9)


@given(st.lists(positive, min_size=1, max_size=20))
def test_log_axis_holds_every_value_and_at_least_three_ticks(values):
    axis = log_axis("", values, str)
    assert axis.low < min(values) <= max(values) < axis.high
    ticks = axis.ticks()
    assert len(ticks) >= 3
    assert len({round(axis.share(t), 6) for t in ticks}) == len(ticks)
    assert all(0 <= axis.share(t) <= 1 for t in ticks)


@given(st.lists(st.just(0.0) | st.floats(1e-6, 1e7), max_size=20))
def test_linear_axis_runs_from_zero_past_every_value(values):
    axis = linear_axis("", values, str)
    assert axis.low == 0
    assert axis.high >= max(values, default=0) * 0.999999
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 12
    assert ticks[0] == 0
    assert 0 <= axis.high * 1.000001 - ticks[-1] < ticks[1] * 1.000001


def test_axis_places_values_by_their_logarithm():
    axis = Axis("", 1, 10_000, True, str)
    assert [axis.share(v) for v in (1, 100, 10_000)] == pytest.approx([0, 0.5, 1])
    assert axis.share(0) == 0  # what a logarithm cannot show lies on the edge
    assert axis.ticks() == [1, 10, 100, 1000, 10_000]


def test_values_that_are_no_numbers_do_not_break_an_axis():
    axis = log_axis("", [math.nan, math.inf, 0.0, -1.0], str)
    assert math.isfinite(axis.low)
    assert axis.low < axis.high


@pytest.mark.parametrize("seed", range(20))
def test_labels_of_crowded_points_do_not_overlap(seed: int):
    from train_host.chart import _labels

    rng = random.Random(seed)
    places = [(rng.gauss(250, 40), rng.gauss(180, 30)) for _ in range(14)]
    points = [Point(0, 0, "method", "", f"setting {i}") for i in range(14)]
    _, labels = _labels(points, places, [], (76, 12, 518, 352))
    assert len(labels) == 14
    at = [
        tuple(float(t.split(f'{key}="')[1].split('"')[0]) for key in (" x", " y")) for t in labels
    ]
    for i, (x, y) in enumerate(at):
        for other_x, other_y in at[i + 1 :]:
            assert abs(x - other_x) >= 60 or abs(y - other_y) >= 15.9


def test_step_line_keeps_its_value_until_the_next():
    axis = Axis("", 0, 10, False, str)
    drawn = chart("", axis, axis, [], [Line([(0, 10), (5, 5), (10, 0)], "best", "", step=True)])
    corners = [
        tuple(map(float, pair.split(",")))
        for pair in drawn.split('points="')[1].split('"')[0].split()
    ]
    assert len(corners) == 5
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(corners))


def test_a_point_shows_from_where_to_where_both_its_values_may_lie():
    axis = Axis("", 0, 10, False, str)
    point = Point(5, 5, "system-0", "", spread=(4, 7), spread_x=(2, 6))
    drawn = chart("", axis, axis, [point])
    upright, level = (part.split('"')[0] for part in drawn.split('class="spread system-0" d="')[1:])
    x, y, top = (float(n) for n in upright.replace("M", "").replace("V", " ").split())
    left, middle, right = (float(n) for n in level.replace("M", "").replace("H", " ").split())
    assert left < x < right
    assert top < middle < y
    assert (x - left) / (right - x) == pytest.approx(3, abs=0.01)


def test_text_from_data_is_escaped():
    axis = log_axis("<x>", [1.0, 2.0], str)
    hostile = '"><script>'
    drawn = chart(hostile, axis, axis, [Point(1, 1, "student", hostile, hostile)])
    assert "<script>" not in drawn
    assert "<x>" not in drawn
    assert drawn.count("&lt;script&gt;") == 4
