from itertools import combinations
from operator import itemgetter

from matplotlib.text import Text

from mmman.planning.frontier_plot import draw_frontier, plot_frontier
from mmman.planning.pareto import undominated


def test_the_frontier_is_what_nothing_beats():
    points = [(1.0, 1.0), (0.5, 1.2), (0.6, 1.3), (0.4, 1.3), (0.9, 1.1)]
    assert undominated(points, itemgetter(0), itemgetter(1)) == [(1.0, 1.0), (0.9, 1.1), (0.5, 1.2), (0.4, 1.3)]


def test_the_frontier_is_drawn(tmp_path):
    plot_frontier([('end to end', 1.0, 1.0), ('local', 0.5, 1.2)], 'FLOPs', tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 1000


def test_no_number_lies_on_another_one():
    ways = [(f'end to end, way {i}', 1.0 - 0.001 * (i % 4), 1.0 + 0.001 * (i % 3)) for i in range(20)]
    figure = draw_frontier([('end to end', 1.0, 1.0), *ways, ('MAN++, AMP', 0.2, 1.4)], 'FLOPs')
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without their lines
    assert len(boxes) == 22 and figure.axes[0].texts[-1].get_text() == '22'
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
