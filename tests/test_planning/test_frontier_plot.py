from operator import itemgetter

from mmman.planning.frontier_plot import plot_frontier
from mmman.planning.pareto import undominated


def test_the_frontier_is_what_nothing_beats():
    points = [(1.0, 1.0), (0.5, 1.2), (0.6, 1.3), (0.4, 1.3), (0.9, 1.1)]
    assert undominated(points, itemgetter(0), itemgetter(1)) == [(1.0, 1.0), (0.9, 1.1), (0.5, 1.2), (0.4, 1.3)]


def test_the_frontier_is_drawn(tmp_path):
    plot_frontier([('end to end', 1.0, 1.0), ('local', 0.5, 1.2)], 'FLOPs', tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 1000
