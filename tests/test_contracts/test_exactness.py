"""Contract 2: K = 1 is the plain toolbox bit for bit; stepping blocks at once is one step of all at the end."""

import copy

import pytest
import torch
from scenarios.contracts import StepAtTheEnd
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.testing import tiny_batch, tiny_retinanet

SGD = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
FROZEN = dict(frozen_stages=1, norm_eval=True)
BATCHES = [tiny_batch(seed) for seed in range(5)]


@pytest.mark.parametrize('optimizer', [SGD, ADAMW], ids=['SGD', 'AdamW'])
@pytest.mark.parametrize('backbone', [{}, FROZEN], ids=['nothing frozen', 'stage 1 frozen'])
@pytest.mark.parametrize(
    'cfg',
    [
        {},
        dict(clip_grad=dict(max_norm=0.5)),
        dict(accumulative_counts=3),
        dict(paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={'backbone': dict(lr_mult=0.1)})),
    ],
    ids=['plain', 'clip_grad', 'accumulative_counts', 'paramwise_cfg'],
)
def test_one_block_equals_the_plain_toolbox_bit_for_bit(optimizer, backbone, cfg):
    plain, local = (build_model(tiny_retinanet(k, backbone)) for k in (None, 1))
    assert_same_state(local, plain)
    wrappers = [
        optim_wrapper_for(model, local=model is local, optimizer=optimizer, **copy.deepcopy(cfg))
        for model in (plain, local)
    ]
    for model, wrapper in zip((plain, local), wrappers, strict=True):
        wrapper.initialize_count_status(model, 0, len(BATCHES))
    logs = [train(model, wrapper, BATCHES) for model, wrapper in zip((plain, local), wrappers, strict=True)]

    assert_same_state(local, plain)
    assert logs[0] == logs[1]
    assert wrappers[0].get_lr() == wrappers[1].get_lr()


@pytest.mark.parametrize('optimizer', [SGD, ADAMW], ids=['SGD', 'AdamW'])
@pytest.mark.parametrize('backbone', [{}, FROZEN], ids=['nothing frozen', 'stage 1 frozen'])
def test_stepping_each_block_at_once_equals_one_step_of_all_at_the_end(optimizer, backbone):
    at_once, at_end = (build_model(tiny_retinanet(4, backbone)) for _ in range(2))
    train(at_once, optim_wrapper_for(at_once, optimizer=optimizer), BATCHES)
    train(at_end, StepAtTheEnd(**dict(optim_wrapper_for(at_end, optimizer=optimizer).items())), BATCHES)
    assert_same_state(at_once, at_end)


def test_the_model_learns():
    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model, optimizer=ADAMW)
    local, main = [], []
    for _ in range(15):
        main.append(train(model, optim_wrapper, [tiny_batch()])[0]['loss'].item())
        local.append([optim_wrapper.local_log_vars[f'local{i}.loss'].item() for i in (1, 2, 3)])
    assert main[-1] < 0.9 * main[0]
    assert all(last < 0.9 * first for first, last in zip(local[0], local[-1], strict=True))


def test_activation_checkpointing_inside_the_blocks_changes_rounding_only():
    # norm_eval: mmdet's checkpointing runs BatchNorm's statistics twice, with or without local learning.
    options = dict(norm_eval=True)
    models = [build_model(tiny_retinanet(4, dict(options, with_cp=with_cp))) for with_cp in (False, True)]
    for model in models:
        train(model, optim_wrapper_for(model), BATCHES[:3])
    torch.testing.assert_close(models[1].state_dict(), models[0].state_dict())
