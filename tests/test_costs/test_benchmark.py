import json

import pytest
from scenarios.runner import tiny_run_cfg

from mmman.costs.benchmark import Row, Way, choose, measure_ways, median_ratios, save, table, ways_of
from mmman.costs.variants import end_to_end


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


def test_a_process_that_dies_is_named(tmp_path, bccd):
    cfg = tiny_run_cfg(1, tmp_path, *bccd)
    cfg.train_dataloader.dataset.ann_file = 'nowhere.json'
    with pytest.raises(RuntimeError, match="the process that measures 'broken' ended with exit code 1"):
        measure_ways([Way('broken', cfg)])


def test_end_to_end_comes_first_and_its_rivals_follow(tmp_path, bccd):
    cfg, tuned = tiny_run_cfg(4, tmp_path, *bccd), tiny_run_cfg(4, tmp_path, *bccd)
    tuned.model.backbone.with_cp = [1]
    names = [way.name for way in ways_of(cfg, tuned)]
    assert names == [
        'end to end',
        'end to end, with_cp',
        'end to end, all recomputed',
        'end to end, AMP',
        'as configured',
        'tuned',
        'tuned, nothing recomputed',
        'tuned, AMP',
    ]


def test_rows_are_chosen_by_name(tmp_path, bccd):
    ways = ways_of(tiny_run_cfg(4, tmp_path, *bccd))
    assert [way.name for way in choose(ways, ['as configured', 'end to end'])] == ['end to end', 'as configured']
    with pytest.raises(ValueError, match="there is no way 'tuned': name some of 'end to end', 'end to end, with_cp'"):
        choose(ways, ['tuned'])


MB = 10**6
ROWS = [
    Row('end to end', 100 * MB, 10 * MB, 9 * MB, 20 * MB, 61 * MB, (100 * MB,), 1000, 1.0, 2.0),
    Row('local', 25 * MB, 12 * MB, 3 * MB, 8 * MB, 2 * MB, (25 * MB, 20 * MB), 1100, 1.25, 2.5),
]


def test_rows_are_printed_and_saved(tmp_path):
    assert table(ROWS).splitlines()[-1] == '| local | 25 | 0.250 | 12 | 3 | 8 | 2 | 1.100 | 1.25 | **25** 20 |'
    save(ROWS, tmp_path / 'rows.png')
    assert json.loads((tmp_path / 'rows.json').read_text())[1]['blocks'] == [25 * MB, 20 * MB]
