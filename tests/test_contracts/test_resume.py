"""Contract 7: training resumed at iteration n equals training that never stopped."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from scenarios.resumption import (
    assert_same_training,
    random_run_cfg,
    stop_workers,
    train_on_two_processes,
    train_until_killed,
)
from scenarios.runner import run, tiny_run_cfg
from scenarios.training import assert_same_state

from mmman.resume.own_files_hook import KEY

DATA = Path(__file__).parents[2] / 'demo' / 'data' / 'bccd_coco'
STOCK = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook')))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)


def scalars(runner, name):
    return runner.message_hub.get_scalar(f'train/{name}')._log_history.tolist()


def whole_and_resumed(tmp_path, at, last, **options):
    """Checkpoints of the end of a run without a break and of one resumed from the first one's checkpoint `at`."""
    options = {'num_blocks': 4, 'data_root': DATA, **options}
    run(random_run_cfg(work_dir=tmp_path / 'whole', **options))
    stop_workers()
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / at))
    run(random_run_cfg(work_dir=tmp_path / 'resumed', **options, **resume))
    stop_workers()
    return tmp_path / 'resumed' / last, tmp_path / 'whole' / last


def test_without_random_augmentation_mmengines_hook_is_enough(tmp_path):
    cfg = dict(num_blocks=4, data_root=DATA, classes=('WBC', 'RBC', 'Platelets'))
    whole = run(tiny_run_cfg(work_dir=tmp_path / 'whole', default_hooks=dict(checkpoint=dict(interval=4)), **cfg))
    checkpoint = tmp_path / 'whole' / 'iter_4.pth'
    expected = torch.load(checkpoint, weights_only=False)
    assert set(expected['optimizer']) == {'block1', 'block2', 'block3', 'block4'}
    resumed = run(tiny_run_cfg(work_dir=tmp_path / 'resumed', resume=True, load_from=str(checkpoint), **cfg))
    assert scalars(resumed, 'loss') == scalars(whole, 'loss')
    assert_same_state(resumed.model, whole.model)


OPTIONS = dict(
    iterations=dict(),
    plain_model=dict(num_blocks=None),
    workers=dict(num_workers=2),
    schedules_accumulation_and_ema=dict(
        optim_wrapper=dict(accumulative_counts=2),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6)],
        custom_hooks=[dict(type='mmman.LocalLossHook'), dict(type='EMAHook', momentum=0.1)],
    ),
    amp=dict(optim_wrapper=dict(type='mmman.CPUAmpOptimWrapper')),
)


@pytest.mark.parametrize('option', OPTIONS)
def test_resumed_training_equals_training_that_never_stopped(option, tmp_path):
    assert_same_training(*whole_and_resumed(tmp_path, 'iter_4.pth', 'iter_7.pth', **OPTIONS[option]))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_inside_of_an_epoch(num_workers, tmp_path):
    checkpoints = whole_and_resumed(tmp_path, 'iter_4.pth', 'iter_6.pth', max_epochs=2, num_workers=num_workers)
    assert_same_training(*checkpoints)


def test_at_the_end_of_an_epoch(tmp_path):
    options = dict(max_epochs=3, num_workers=2, default_hooks=dict(checkpoint=dict(by_epoch=True, interval=1)))
    assert_same_training(*whole_and_resumed(tmp_path, 'epoch_2.pth', 'epoch_3.pth', **options))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_mmengines_hook_resumes_other_training(num_workers, tmp_path):
    with pytest.raises(AssertionError, match='log'):
        assert_same_training(*whole_and_resumed(tmp_path, 'iter_4.pth', 'iter_7.pth', num_workers=num_workers, **STOCK))


ON_TWO = {
    'iterations': ({}, 'iter_7.pth'),
    # Epochs of three batches: after four iterations one is under way.
    'an epoch, accumulation, AMP and EMA': (
        dict(
            max_epochs=3,
            train_dataloader=dict(dataset=dict(indices=9)),
            optim_wrapper=dict(type='mmman.CPUAmpOptimWrapper', accumulative_counts=2),
            custom_hooks=[dict(type='mmman.LocalLossHook'), dict(type='EMAHook', momentum=0.1)],
        ),
        'iter_9.pth',
    ),
}


@pytest.fixture(scope='module')
def on_two_processes(tmp_path_factory):
    """What a run and one resumed from its iter_4.pth gave, each on two processes; and the folder of their own."""
    folder = tmp_path_factory.mktemp('two')
    cfgs = []
    for i, (options, _) in enumerate(ON_TWO.values()):
        options = dict(
            options,
            num_blocks=4,
            data_root=DATA,
            model_wrapper_cfg=dict(type='mmman.LocalDistributedDataParallel'),
            randomness=dict(seed=0, diff_rank_seed=True),
        )
        resume = dict(resume=True, load_from=str(folder / f'whole{i}' / 'iter_4.pth'))
        cfgs += [
            random_run_cfg(work_dir=folder / f'whole{i}', **options),
            random_run_cfg(work_dir=folder / f'resumed{i}', **options, **resume),
        ]
    for cfg in cfgs:
        # Running statistics of rank 1 are in no checkpoint; with these norms, there are none.
        cfg.model.backbone.backbone.norm_cfg = dict(type='GN', num_groups=4)
    runs = train_on_two_processes(cfgs, folder / 'processes')
    return {
        name: (*runs[2 * i : 2 * i + 2], folder / f'whole{i}', folder / f'resumed{i}') for i, name in enumerate(ON_TWO)
    }


@pytest.mark.parametrize('name', ON_TWO)
def test_two_processes_each_with_its_own_random_numbers(name, on_two_processes):
    last = ON_TWO[name][1]
    whole, resumed, whole_folder, resumed_folder = on_two_processes[name]
    for rank in range(2):
        # Those before are rank 0's in the checkpoint.
        behind = int(last[5]) - 4
        assert resumed[rank]['losses'][-behind:].tolist() == whole[rank]['losses'][-behind:].tolist()
        for key, value in whole[rank]['state'].items():
            assert torch.equal(resumed[rank]['state'][key], value), key
    assert whole[0]['losses'].tolist() != whole[1]['losses'].tolist()
    assert_same_training(resumed_folder / last, whole_folder / last)
    checkpoint = torch.load(whole_folder / last, weights_only=False)
    states = checkpoint[KEY]['rng']
    assert len(states) == 2 and not torch.equal(states[0]['torch'], states[1]['torch'])
    assert ('ema_state_dict' in checkpoint) == ('EMA' in name)


# A checkpoint every second iteration; each writes and renames two files, itself and `last_checkpoint`, and removes one.
MOMENTS = [
    ('fsync', 3, False),  # iter_2 is written, and half of iter_4
    ('fsync', 1, False),  # half of iter_4
    ('replace', 1, False),  # all of it, under a temporary name
    ('replace', 1, True),  # iter_4 is there, and last_checkpoint names iter_2
    ('fsync', 2, False),  # half of a new last_checkpoint
    ('replace', 2, False),
    ('replace', 2, True),  # last_checkpoint names iter_4, and iter_2 is still there
    ('remove', 2, False),  # iter_2 was removed on resuming, iter_4 is about to be
    ('remove', 2, True),  # it was
]


def test_killed_at_any_moment_training_ends_as_if_it_had_not_been(tmp_path):
    context = multiprocessing.get_context('forkserver')  # imports take longer than training: once is enough
    context.set_forkserver_preload(['scenarios.resumption'])
    checkpoint = dict(interval=2, max_keep_ckpts=1)
    options = dict(num_blocks=4, data_root=DATA, default_hooks=dict(checkpoint=checkpoint))
    options['train_cfg'] = dict(max_iters=16)

    def start(folder, moment=None):
        cfg = random_run_cfg(work_dir=folder, **options).to_dict()
        process = context.Process(target=train_until_killed, args=(cfg, folder.exists(), moment))
        process.start()
        return process

    def latest(folder):
        return Path((folder / 'last_checkpoint').read_text())

    process = start(tmp_path / 'whole')
    process.join()
    assert process.exitcode == 0

    folder, steps = tmp_path / 'killed', []
    for moment in [*MOMENTS, 10, 12]:
        if isinstance(moment, tuple):
            process = start(folder, moment)
        else:  # somewhere behind this iteration
            process = start(folder)
            while process.is_alive() and latest(folder).name != f'iter_{moment}.pth':
                time.sleep(0.01)
            process.kill()
        process.join()
        # One that is killed from outside, on a machine that is slow to do so, may have come to its end.
        assert process.exitcode == -signal.SIGKILL or not isinstance(moment, tuple)
        steps.append(torch.load(latest(folder), weights_only=False)['meta']['iter'])
        assert latest(folder).name == f'iter_{steps[-1]}.pth'
    assert steps[:9] == [2, 2, 2, 2, 2, 2, 4, 6, 8] and steps[9] >= 10 and steps[10] >= 12

    process = start(folder)
    process.join()
    assert process.exitcode == 0
    assert_same_training(folder / 'iter_16.pth', tmp_path / 'whole' / 'iter_16.pth')
    left = {path.name for path in folder.iterdir() if path.is_file()}
    assert {name for name in left if 'iter_' in name or 'part' in name} == {'iter_16.pth'}
