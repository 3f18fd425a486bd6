import json

import pytest
from mmengine.config import Config
from scenarios.runner import tiny_run_cfg

from mmman.apis.end_to_end import end_to_end
from mmman.costs import benchmark
from mmman.costs.benchmark import MeasurementError, Row, Way, measure_ways, median_ratios, save, table


def test_ways_are_measured_in_processes_of_their_own(tmp_path, bccd):
    cfg = tiny_run_cfg(4, tmp_path, *bccd)
    lines = []
    rows = measure_ways([Way('end to end', end_to_end(cfg)), Way('local', cfg)], rounds=2, report=lines.append)
    assert [row.name for row in rows] == ['end to end', 'local']
    assert [row.peak for row in rows] == [5101482, 5655678]  # as in tests/test_contracts/test_memory.py
    assert len(rows[1].blocks) == 4
    assert rows[0].time == 1 and all(row.seconds > 0 for row in rows)
    assert len(lines) == 2 + 2


def test_times_are_ratios_to_the_first_in_the_same_round():
    assert median_ratios([[1, 2], [10, 20], [1, 5]]) == [1, 2]


def test_the_first_way_has_to_be_measured(tmp_path, bccd):
    cfg = tiny_run_cfg(1, tmp_path, *bccd)
    cfg.train_dataloader.dataset.ann_file = 'nowhere.json'
    with pytest.raises(RuntimeError, match="the process that measures 'broken' ended with exit code 1"):
        measure_ways([Way('broken', cfg)])


def test_a_later_way_that_cannot_be_measured_is_left_out(monkeypatch):
    class Process:
        def __init__(self, way, dry):
            if way.name == 'broken':
                raise MeasurementError('it ended')

        def ask(self, what):
            return dict(peak=10**6, parameters=0, gradients=0, states=0, activations=10**6, blocks=(10**6,), flops=1)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(benchmark, '_Process', Process)
    lines = []
    rows = measure_ways([Way(name, Config()) for name in ('first', 'broken', 'last')], report=lines.append)
    assert [row.name for row in rows] == ['first', 'last']
    assert lines[1] == 'broken: left out, it ended'


MB = 10**6
ROWS = [
    Row('end to end', 100 * MB, 10 * MB, 9 * MB, 20 * MB, 61 * MB, (100 * MB,), 1000, 1.0, 2.0),
    Row('local', 25 * MB, 12 * MB, 3 * MB, 8 * MB, 2 * MB, (25 * MB, 20 * MB), 1100, 1.25, 2.5),
]


def test_rows_are_printed_and_saved(tmp_path):
    assert table(ROWS).splitlines()[-1] == '| local | 25 | 0.250 | 12 | 3 | 8 | 2 | 1.100 | 1.25 | **25** 20 |'
    save(ROWS, tmp_path / 'rows.json')
    assert json.loads((tmp_path / 'rows.json').read_text())[1]['blocks'] == [25 * MB, 20 * MB]
