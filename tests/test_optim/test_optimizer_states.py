"""Optimizer states go back to the blocks that they came from, and to no others."""

import copy

import pytest
import torch
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.testing import tiny_classifier, tiny_cls_batch

ADVICE = 'resume with the same partition and frozen stages, or use load_from to start a new run from the weights'
OPTIMIZERS_TO_TRY = {
    'SGD': dict(type='SGD', lr=0.01, momentum=0.9),
    'AdamW': dict(type='AdamW', lr=0.001),
    'Adafactor': dict(type=getattr(torch.optim, 'Adafactor', None), lr=0.001),  # moments of rows and columns
    'RMSprop': dict(type='RMSprop', lr=0.001, momentum=0.9),
}


def after_a_step(optimizer=None, **partition):
    model = build_model(tiny_classifier(partition=partition or dict(num_blocks=4, by='unit')))
    wrapper = optim_wrapper_for(model, optimizer=optimizer)
    train(model, wrapper, [tiny_cls_batch(0)])
    return model, wrapper


def old(states):
    """As version 0.1 saved them."""
    return {name: {k: v for k, v in state.items() if k != 'segments'} for name, state in states.items()}


@pytest.mark.parametrize('version', [lambda states: states, old], ids=['now', '0.1'])
@pytest.mark.parametrize('optimizer', OPTIMIZERS_TO_TRY)
def test_states_of_the_same_blocks_are_loaded(optimizer, version):
    if OPTIMIZERS_TO_TRY[optimizer]['type'] is None:
        pytest.skip('torch has Adafactor from version 2.5 on')
    (model, wrapper), (other, other_wrapper) = (after_a_step(OPTIMIZERS_TO_TRY[optimizer]) for _ in range(2))
    train(model, wrapper, [tiny_cls_batch(1)])
    states = copy.deepcopy(wrapper.state_dict())
    assert states['block2']['segments'] == 'block 2 (layer1.2 to layer2.1)'
    other.load_state_dict(model.state_dict())
    other_wrapper.load_state_dict(version(states))
    for each, its_wrapper in ((model, wrapper), (other, other_wrapper)):
        train(each, its_wrapper, [tiny_cls_batch(2)])
    assert_same_state(other, model)


def test_scales_of_version_0_1_lead_to_the_tool_that_upgrades_them():
    _, wrapper = after_a_step(OPTIMIZERS_TO_TRY['AdamW'])
    _, other = after_a_step(OPTIMIZERS_TO_TRY['AdamW'])
    states = copy.deepcopy(old(wrapper.state_dict()))
    (scale,) = [values for values in states['block1']['state'].values() if values['exp_avg'].shape == (1,)]
    scale.update(exp_avg=scale['exp_avg'].squeeze(), exp_avg_sq=scale['exp_avg_sq'].squeeze())
    with pytest.raises(ValueError, match='of a scale s has no dimension, .*tools/model_converters/upgrade_checkpoint'):
        other.load_state_dict(states)


@pytest.mark.parametrize(
    ('partition', 'message'),
    [
        (dict(num_blocks=3), r"belongs to \['block1', 'block2', 'block3', 'block4'\], but this model has the blocks"),
        # Every stage has three alike units: numbers and shapes of the parameters are the same.
        (
            dict(ends=['layer1.1', 'layer2.1', 'layer3.1']),
            r'is that of block 1 \(stem to layer1.1\), not of block 1 \(stem to layer1.2\)',
        ),
    ],
    ids=['another number', 'other ends'],
)
def test_states_of_other_blocks_are_refused(partition, message):
    _, wrapper = after_a_step()
    if 'ends' in partition:
        partition, other = dict(ends=['layer1.2', 'layer2.2', 'layer3.1']), partition
        _, wrapper = after_a_step(**other)
    _, other = after_a_step(**partition)
    before = copy.deepcopy(old(other.state_dict()))
    with pytest.raises(ValueError, match=message) as raised:
        other.load_state_dict(wrapper.state_dict())
    assert str(raised.value).endswith(ADVICE) and '\n' not in str(raised.value)
    torch.testing.assert_close(old(other.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('saved', 'here', 'message'),
    [
        (
            ['layer1.1', 'layer2.1'],
            ['layer1.2', 'layer2.1'],
            r'fit block 1 \(stem to layer1.2\): it has .* in 2',
        ),
        # As many parameters, but wider ones.
        (
            ['layer2.1', 'layer3.1'],
            ['layer2.1', 'layer3.1'],
            r'momentum_buffer has the shape \(8,.*\) for a',
        ),
    ],
    ids=['numbers', 'shapes'],
)
def test_old_states_are_compared_by_numbers_and_shapes(saved, here, message):
    cfgs = [tiny_classifier(partition=dict(ends=ends)) for ends in (saved, here)]
    if saved == here:
        for key in ('stem_channels', 'base_channels'):
            cfgs[1].backbone.backbone[key] = 16
        cfgs[1].head.in_channels = 64
    models = [build_model(cfg) for cfg in cfgs]
    wrappers = [optim_wrapper_for(model) for model in models]
    train(models[0], wrappers[0], [tiny_cls_batch(0)])
    with pytest.raises(ValueError, match=message) as raised:
        wrappers[1].load_state_dict(old(wrappers[0].state_dict()))
    assert str(raised.value).endswith(ADVICE) and '\n' not in str(raised.value)
