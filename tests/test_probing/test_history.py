"""The history holds what was logged, once, in order."""

import json

import pytest

from mmman.probing.history import read_history


def write(work_dir, time, lines):
    folder = work_dir / time / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))


def line(step, value, **more):
    return {'loss': value, 'local1.loss': 2 * value, 'local1.scale': 1.0, 'local1.loss_cls': 9, 'step': step, **more}


def test_losses_and_scales(tmp_path):
    write(tmp_path, '20260101_000000', [line(1, 3.0), line(2, 2.0), {'coco/bbox_mAP': 0.1, 'step': 2}])
    history = read_history(tmp_path)
    assert history.steps == [1, 2]
    assert history.losses == {'block 1': [6.0, 4.0], 'block 2 (model)': [3.0, 2.0]}
    assert history.scales == {'block 1': [1.0, 1.0]}


def test_a_resumed_run_goes_on_where_it_begins(tmp_path):
    write(tmp_path, '20260101_000000', [line(1, 3.0), line(2, 2.0), line(3, 9.0)])
    write(tmp_path, '20260102_000000', [line(2, 2.5), line(4, 1.0)])
    write(tmp_path, '20260103_000000', [])  # died at once
    history = read_history(tmp_path)
    assert (history.steps, history.losses['block 2 (model)']) == ([1, 2, 4], [3.0, 2.5, 1.0])


def test_without_a_scale_there_is_none(tmp_path):
    write(tmp_path, '20260101_000000', [{'loss': 1, 'local1.loss': 2, 'local2.loss': 3, 'step': 1}])
    history = read_history(tmp_path)
    assert list(history.losses) == ['block 1', 'block 2', 'block 3 (model)']
    assert history.scales == {}


def test_nothing_to_read_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing was logged'):
        read_history(tmp_path)
    write(tmp_path, '20260101_000000', [{'loss': 1, 'step': 1}])
    with pytest.raises(ValueError, match='LocalLossHook'):
        read_history(tmp_path)
