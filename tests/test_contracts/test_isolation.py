"""Contract 1: no loss reaches outside its block, and every loss reaches all of its block."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from scenarios.contracts import gradients_of_each_loss
from scenarios.training import build_model, optim_wrapper_for, train

from mmman.models import find_local_backbone
from mmman.testing import tiny_batch, tiny_retinanet

FROZEN = dict(frozen_stages=1, norm_eval=True)


@pytest.mark.parametrize('num_blocks', [2, 3, 4])
@pytest.mark.parametrize('backbone', [{}, FROZEN], ids=['nothing frozen', 'stage 1 frozen'])
def test_a_loss_reaches_exactly_its_own_block(num_blocks, backbone):
    model = build_model(tiny_retinanet(num_blocks, backbone))
    local_backbone = find_local_backbone(model)
    owners = local_backbone.block_of_parameters()
    num_blocks = len(local_backbone.blocks)
    reached, _ = gradients_of_each_loss(model, tiny_batch())

    assert set(reached) == set(range(1, num_blocks + 1))
    for index, names in reached.items():
        own = {name for name, p in model.named_parameters() if p.requires_grad and owners.get(p, num_blocks) == index}
        assert names <= own
        # A predictor's bias in a level without a match may have no gradient; and s has none as long as LB = EMA.
        silent = {name for name in own - names if not name.endswith(('bias', 'scale'))}
        assert not silent, silent


def test_features_of_all_blocks_but_the_last_are_detached():
    _, features = gradients_of_each_loss(build_model(tiny_retinanet(4)), tiny_batch())
    assert [feature.requires_grad for feature in features] == [False, False, False, True]


def test_ema_weights_get_no_gradient_but_pass_it_on():
    model = build_model(tiny_retinanet(4, auxiliary=dict(type='mmman.MomentumAuxiliary', learnable_bias=False)))
    reached, _ = gradients_of_each_loss(model, tiny_batch())
    for index in (1, 2, 3):
        assert not any('.ema.' in name for name in reached[index])
        # With EMA as the only branch, what the block's first layer gets has come through it.
        first = {1: 'backbone.conv1.weight', 2: 'backbone.layer2.0.conv1.weight', 3: 'backbone.layer3.0.conv1.weight'}
        assert first[index] in reached[index]


def test_training_steps_give_ema_weights_no_gradient_and_no_optimizer_state():
    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model)
    train(model, optim_wrapper, [tiny_batch()])
    ema = {p for name, p in model.named_parameters() if '.ema.' in name}
    assert ema and not any(p.requires_grad or p.grad is not None for p in ema)
    for wrapper in optim_wrapper.values():
        assert isinstance(wrapper, OptimWrapper)
        assert not any(p in ema for group in wrapper.optimizer.param_groups for p in group['params'])


def test_every_trainable_parameter_has_exactly_one_optimizer():
    model = build_model(tiny_retinanet(4))
    seen = [p for w in optim_wrapper_for(model).values() for group in w.optimizer.param_groups for p in group['params']]
    assert len(seen) == len(set(seen))
    assert set(seen) == {p for p in model.parameters() if p.requires_grad}


def test_evaluation_runs_the_plain_backbone():
    model = build_model(tiny_retinanet(4)).eval()
    x = torch.rand(2, 3, 64, 64)
    backbone = find_local_backbone(model)
    plain = type(backbone).__mro__[2]
    for a, b in zip(backbone(x), plain.forward(backbone, x), strict=True):
        assert torch.equal(a, b) and a.requires_grad
