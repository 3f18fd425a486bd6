"""A file belongs to its run and its folder: what another run wrote stays, and a folder may be moved."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from scenarios.toy_run import file, train

from mmman.resume.last_checkpoint import last_checkpoint, moved_checkpoint
from mmman.resume.storage import PART_SUFFIX, AtomicLocalBackend

BEST = dict(save_best='acc', rule='greater')
TWO_BEST = dict(save_best=['acc', 'other'], rule='greater')


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)


def names(folder):
    return {path.name for path in Path(folder).glob('*.pth')}


def go_on(work_dir, load_from=None, **options):
    """Resume from a checkpoint, without one from the latest in the folder."""
    return train(work_dir, resume=True, load_from=load_from, **options)[0]


@pytest.mark.parametrize('best', [BEST, TWO_BEST])
def test_what_another_run_wrote_stays_in_either_folder(best, tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    options = dict(gain=1, checkpoint=dict(max_keep_ckpts=2, **best))
    train(first, iters=4, **options)
    # Of the same names as those of the first run, which its list of kept ones and its best one name.
    train(second, iters=3, **options)
    before = names(first), names(second)
    assert {'iter_3.pth', 'iter_4.pth', 'best_acc_iter_2.pth'} <= before[0] and 'best_acc_iter_2.pth' in before[1]
    options['checkpoint']['published_keys'] = ['state_dict']  # of the best ones, too, where they are this run's
    go_on(second, file(first, 4), iters=10, **{**options, 'gain': 10})
    assert names(first) == before[0]
    assert before[1] < names(second)
    # Of its own it keeps two and the best.
    own = {'iter_9.pth', 'iter_10.pth', 'best_acc_iter_10.pth'}
    others = {'best_other_iter_10.pth'} if best is TWO_BEST else set()
    assert {name for name in names(second) - before[1] if '-' not in name} == own | others


def test_in_a_folder_of_its_own_for_checkpoints_too(tmp_path):
    options = dict(gain=1, checkpoint=dict(max_keep_ckpts=1, out_dir=str(tmp_path / 'files'), **BEST))
    first, second = tmp_path / 'files' / 'first', tmp_path / 'files' / 'second'
    train(tmp_path / 'first', iters=4, **options)
    train(tmp_path / 'second', iters=4, **options)
    go_on(tmp_path / 'second', file(first, 4), iters=6, **{**options, 'gain': 10})
    assert names(first) == {'iter_4.pth', 'best_acc_iter_2.pth'}
    assert names(second) == {'iter_4.pth', 'best_acc_iter_2.pth', 'iter_6.pth', 'best_acc_iter_6.pth'}


def test_a_checkpoint_that_was_copied_into_the_folder_of_another_run(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    options = dict(checkpoint=dict(max_keep_ckpts=1))
    train(first, iters=2, **options)  # replaced iter_1, which is what the checkpoint says of it
    train(second, iters=1, **options)
    shutil.copy(file(first, 2), second)
    go_on(second, file(second, 2), iters=4, **options)
    assert names(second) == {'iter_1.pth', 'iter_4.pth'}


@pytest.mark.parametrize('move', [None, shutil.move, shutil.copytree])
def test_a_resumed_run_removes_its_own_wherever_its_folder_is(move, tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    options = dict(checkpoint=dict(max_keep_ckpts=2, **BEST))
    train(old, iters=3, gain=1, **options)
    before = names(old)
    if move is None:
        new = old
    else:
        move(old, new)
    runner = go_on(new, iters=6, gain=10, **options)
    assert names(new) == {'iter_5.pth', 'iter_6.pth', 'best_acc_iter_4.pth'}
    assert runner.message_hub.get_info('best_ckpt') == str(new / 'best_acc_iter_4.pth')
    assert last_checkpoint(new) == file(new, 6)
    if move is shutil.copytree:
        assert names(old) == before and last_checkpoint(old) == file(old, 3)


def test_fewer_are_kept_than_before(tmp_path):
    train(tmp_path, iters=4, checkpoint=dict(max_keep_ckpts=4))
    go_on(tmp_path, iters=5, checkpoint=dict(max_keep_ckpts=2))
    assert names(tmp_path) == {'iter_4.pth', 'iter_5.pth'}


def test_a_best_checkpoint_that_replaces_one_of_its_name_stays(tmp_path):
    # A hook that counts epochs, in a loop of iterations: it is epoch 0 all the time.
    train(tmp_path, iters=6, gain=1, checkpoint=dict(by_epoch=True, save_best='other', rule='greater'))
    assert 'best_other_epoch_0.pth' in names(tmp_path)
    assert torch.load(tmp_path / 'best_other_epoch_0.pth', weights_only=False)['meta']['iter'] == 6


def test_what_the_run_left_when_it_was_killed_is_cleared_away_and_what_another_one_is_writing_stays(tmp_path):
    train(tmp_path, iters=1)
    run_id = torch.load(file(tmp_path, 1), weights_only=False)['meta']['run_id']
    left, living = (tmp_path / f'iter_2.pth.{owner}{PART_SUFFIX}' for owner in (run_id, 'another'))
    left.write_bytes(b'half')
    living.write_bytes(b'half')
    go_on(tmp_path, iters=2)
    assert list(tmp_path.glob(f'*{PART_SUFFIX}')) == [living]


def test_two_owners_write_the_same_file_without_disturbing_each_other(tmp_path, monkeypatch):
    one, two = AtomicLocalBackend('one'), AtomicLocalBackend('two')
    # While the first one waits for the disk, the second one writes.
    monkeypatch.setattr(os, 'fsync', lambda descriptor: monkeypatch.undo() or two.put(b'two', tmp_path / 'file'))
    one.put(b'one', tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == b'one' and [path.name for path in tmp_path.iterdir()] == ['file']


class TestMovedCheckpoint:
    def test_what_is_in_its_place_or_on_no_disk_was_not_moved(self, tmp_path):
        assert moved_checkpoint(tmp_path) is None
        (tmp_path / 'a.pth').touch()
        for named in (tmp_path / 'a.pth', 's3://bucket/a.pth'):
            (tmp_path / 'last_checkpoint').write_text(str(named))
            assert moved_checkpoint(tmp_path) is None

    def test_by_a_link_it_is_the_same_place(self, tmp_path):
        (tmp_path / 'real').mkdir()
        (tmp_path / 'link').symlink_to(tmp_path / 'real')
        (tmp_path / 'real' / 'a.pth').touch()
        (tmp_path / 'real' / 'last_checkpoint').write_text(str(tmp_path / 'link' / 'a.pth'))
        assert moved_checkpoint(tmp_path / 'real') is None

    def test_of_a_separate_folder_of_checkpoints(self, tmp_path):
        work_dir, files = tmp_path / 'work', tmp_path / 'files'
        work_dir.mkdir(), files.mkdir()
        (work_dir / 'last_checkpoint').write_text('/gone/files/a.pth\n')
        assert moved_checkpoint(work_dir, [files]) is None
        (files / 'a.pth').touch()
        assert moved_checkpoint(work_dir, [files]) == str(files / 'a.pth')
        (work_dir / 'last_checkpoint').write_text(str(files / 'a.pth'))
        (work_dir / 'a.pth').touch()
        assert moved_checkpoint(work_dir, [files]) is None
