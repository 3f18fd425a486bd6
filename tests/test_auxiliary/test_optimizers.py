"""A step with every optimizer that the toolboxes register: none stumbles over the scale s, or over the EMA."""

import mmpretrain.engine  # noqa: F401 (registers Lamb, LARS, Adan)
import pytest
import torch
from mmengine.registry import OPTIMIZERS
from scenarios.contracts import auxiliaries, move_ema_away
from scenarios.training import build_model, optim_wrapper_for, train

from mmman.testing import tiny_classifier, tiny_cls_batch

NOT_TRIED = {
    'Optimizer': 'the base class',
    'LBFGS': 'its step needs a closure, which mmengine does not hand to it',
    'SparseAdam': 'takes sparse gradients only',
    'Muon': 'takes matrices only, no convolutions',
    'ZeroRedundancyOptimizer': 'needs several processes',
}


def registered(registry=OPTIMIZERS):
    yield from ((f'{registry.scope}.{name}', kind) for name, kind in registry.module_dict.items())
    for child in registry.children.values():
        yield from registered(child)


NAMES = sorted(name for name, _ in registered() if name.split('.')[1] not in NOT_TRIED)


def test_the_usual_ones_are_tried():
    assert {'mmengine.SGD', 'mmengine.AdamW', 'mmpretrain.Lamb', 'mmpretrain.LARS', 'mmpretrain.Adan'} <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_step_moves_s_and_all_that_learns(name):
    model = build_model(tiny_classifier('resnet', 2))
    move_ema_away(model)  # while LB and EMA are equal, s has no gradient
    ((auxiliary, _),) = auxiliaries(model)
    before = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
    assert auxiliary.scale.shape == (1,)
    optim_wrapper = optim_wrapper_for(model, optimizer=dict(type=name, lr=0.01))
    train(model, optim_wrapper, [tiny_cls_batch()])
    assert optim_wrapper.local_log_vars['local1.scale'].shape == ()
    for key, old in before.items():
        now = model.get_parameter(key)
        assert torch.isfinite(now).all(), key
        # All that is zero grows by a rate of its own size in some (Lamb, LARS).
        assert not torch.equal(now, old) or not old.any(), key
    averaged = set(auxiliary.averaged_parameters())
    assert averaged == set(auxiliary.ema.parameters())
    assert not averaged & {p for w in optim_wrapper.values() for g in w.optimizer.param_groups for p in g['params']}
