"""Contract 5: what the toolboxes' runners, hooks and options do without local learning, they do with it."""

from pathlib import Path

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from scenarios.runner import run, tiny_run_cfg
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.optim import LocalOptimWrapper
from mmman.testing import tiny_batch, tiny_retinanet

DATA = Path(__file__).parents[2] / 'demo' / 'data' / 'bccd_coco'
CLASSES = ('WBC', 'RBC', 'Platelets')

AMP = dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale='dynamic'))  # what `tools/train.py --amp` writes
ACCUMULATION = dict(optim_wrapper=dict(accumulative_counts=3))  # 7 iterations: the last window is a partial one
CLIPPING = dict(optim_wrapper=dict(clip_grad=dict(max_norm=0.1)))
PARAMWISE = dict(
    optim_wrapper=dict(paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(layer2=dict(lr_mult=0.1))))
)
EMA = dict(custom_hooks=[dict(type='EMAHook', momentum=0.1)])
SCHEDULERS = dict(
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
        dict(type='MultiStepLR', by_epoch=False, begin=4, end=7, milestones=[1]),
    ]
)
OPTIONS = dict(
    amp=AMP, accumulation=ACCUMULATION, clipping=CLIPPING, paramwise=PARAMWISE, ema=EMA, schedulers=SCHEDULERS
)


def trained(num_blocks, work_dir, **options):
    return run(tiny_run_cfg(num_blocks, work_dir, DATA, classes=CLASSES, **options))


def scalars(runner, name):
    return runner.message_hub.get_scalar(f'train/{name}')._log_history.tolist()


def checkpoint(runner):
    return torch.load(Path(runner.work_dir) / 'iter_7.pth', weights_only=False)


@pytest.mark.parametrize('option', OPTIONS)
def test_one_block_trains_as_the_plain_toolbox(option, tmp_path):
    plain_option = OPTIONS[option]
    if option == 'amp':
        # mmengine's own refuses to be built without a GPU; by the same class the plain model trains on CPU.
        plain_option = dict(optim_wrapper=dict(type='mmman.CPUAmpOptimWrapper'))
    plain = trained(None, tmp_path / 'plain', **plain_option)
    local = trained(1, tmp_path / 'local', **OPTIONS[option])

    for name in ('loss', 'loss_cls', 'loss_bbox', 'lr') + (('grad_norm',) if option == 'clipping' else ()):
        assert scalars(local, name) == scalars(plain, name), name
    expected, got = checkpoint(plain), checkpoint(local)
    parts = ['state_dict'] + (['ema_state_dict'] if option == 'ema' else [])
    for part in parts:
        assert list(got[part]) == list(expected[part])
        assert all(torch.equal(got[part][key], value) for key, value in expected[part].items())


def test_four_blocks_train_with_all_options_at_once(tmp_path):
    options = dict(
        optim_wrapper={k: v for o in (AMP, ACCUMULATION, CLIPPING, PARAMWISE) for k, v in o['optim_wrapper'].items()},
        custom_hooks=[dict(type='mmman.LocalLossHook'), *EMA['custom_hooks']],
        **SCHEDULERS,
    )
    runner = trained(4, tmp_path, **options)
    assert isinstance(runner.optim_wrapper, LocalOptimWrapper) and len(runner.optim_wrapper) == 4

    # Every block follows the schedule: the warm-up's end, then a tenth.
    assert scalars(runner, 'lr') == pytest.approx([0.001, 0.004, 0.007, 0.01, 0.01, 0.001, 0.001])
    for name, wrapper in runner.optim_wrapper.items():
        # lr_mult of layer2, which is block 2's; block 1's auxiliary network copies its first unit
        slow = 0.0001 if name in ('block1', 'block2') else 0.001
        assert min(group['lr'] for group in wrapper.optimizer.param_groups) == pytest.approx(slow)
        assert wrapper.inner_count == 7
    for i in (1, 2, 3):
        assert len(scalars(runner, f'local{i}.loss')) == 7
        assert len(scalars(runner, f'local{i}.scale')) == 7
        assert len(scalars(runner, f'local{i}.grad_norm')) == 3  # clipped once per window: 3 + 3 + 1 iterations
    assert len(scalars(runner, 'grad_norm')) == 3
    saved = checkpoint(runner)
    assert set(saved['optimizer']) == {'block1', 'block2', 'block3', 'block4'}
    assert {key.removeprefix('module.') for key in saved['ema_state_dict']} >= set(saved['state_dict'])


def test_accumulating_a_batch_twice_equals_one_step_on_it():
    models = [build_model(tiny_retinanet(4, dict(norm_eval=True))) for _ in range(2)]
    batch = tiny_batch()
    train(models[0], optim_wrapper_for(models[0]), [batch])
    train(models[1], optim_wrapper_for(models[1], accumulative_counts=2), [batch] * 2)
    torch.testing.assert_close(models[1].state_dict(), models[0].state_dict())


def test_the_last_partial_window_is_stepped(tmp_path):
    runner = trained(4, tmp_path, **ACCUMULATION)  # 3 + 3 + 1 iterations
    assert not any(p.grad is not None for p in runner.model.parameters())


@pytest.mark.parametrize('accumulative_counts', [1, 2])
def test_one_process_of_the_pytorch_launcher_trains_as_none(accumulative_counts, tmp_path):
    batches = [tiny_batch(seed) for seed in range(4)]
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        models = [build_model(tiny_retinanet(4)) for _ in range(2)]
        wrapped = MMDistributedDataParallel(models[1])
        for model in (models[0], wrapped):
            optim_wrapper = optim_wrapper_for(model, accumulative_counts=accumulative_counts)
            train(model, optim_wrapper, batches)
    finally:
        torch.distributed.destroy_process_group()
    assert_same_state(models[1], models[0])


def test_sync_bn_is_reverted_on_one_process_and_what_is_run_is_what_was_reverted(tmp_path):
    cfg = tiny_run_cfg(4, tmp_path, DATA, classes=CLASSES)
    cfg.model.backbone.backbone.norm_cfg = dict(type='SyncBN', requires_grad=True)
    runner = run(cfg)  # SyncBN cannot train on CPU: a stale layer would raise
    norms = [m for m in runner.model.backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and not any(isinstance(m, torch.nn.SyncBatchNorm) for m in norms)
    assert runner.model.backbone.norm1.num_batches_tracked == 7


def test_grad_norms_are_logged_on_request(tmp_path):
    runner = trained(4, tmp_path, custom_hooks=[dict(type='mmman.LocalLossHook', grad_norm=True)])
    for name in ('local1.grad_norm', 'local2.grad_norm', 'local3.grad_norm', 'grad_norm'):
        values = scalars(runner, name)
        assert len(values) == 7 and all(value > 0 for value in values)


def test_the_loss_hook_without_local_learning_says_what_to_write(tmp_path):
    with pytest.raises(TypeError, match='optim_wrapper is a OptimWrapper: set optim_wrapper = dict\\(constructor='):
        trained(None, tmp_path, custom_hooks=[dict(type='mmman.LocalLossHook')])
