import pytest
from mmengine.config import Config
from scenarios.lazy_configs import lazy
from scenarios.runner import tiny_run_cfg

from mmman.costs import variants
from mmman.testing import CASES
from mmman.toolboxes import type_name


@pytest.fixture(params=['strings', 'classes'])
def cfg(request, tmp_path, bccd):
    found = tiny_run_cfg(4, tmp_path, *bccd)
    return found if request.param == 'strings' else lazy(found)


def test_end_to_end_has_nothing_of_local_learning(cfg):
    plain = variants.end_to_end(cfg)
    assert type_name(plain.model.backbone.type) == 'ResNet'
    assert 'mmman' not in plain.dump()
    assert type_name(cfg.model.backbone.type) == 'LocalBackbone'  # the config itself stays


def test_end_to_end_has_the_optimizer_constructor_that_the_config_named(cfg):
    own = 'LearningRateDecayOptimizerConstructor'
    cfg.optim_wrapper.base_constructor = own
    wrapper = variants.end_to_end(cfg).optim_wrapper
    assert wrapper.constructor == own and 'base_constructor' not in wrapper
    # A config for LocalRunner names its own constructor: the runner puts ours around it.
    cfg.runner_type = 'mmman.LocalRunner'
    cfg.optim_wrapper.pop('base_constructor')
    cfg.optim_wrapper.constructor = own
    plain = variants.end_to_end(cfg)
    assert plain.optim_wrapper.constructor == own and 'runner_type' not in plain


def test_end_to_end_of_end_to_end_is_refused(cfg):
    with pytest.raises(ValueError, match='the backbone is a ResNet, not a mmman.LocalBackbone'):
        variants.end_to_end(variants.end_to_end(cfg))


def test_with_cp_is_the_backbones_own_where_it_has_one(cfg):
    assert variants.with_cp(cfg).model.backbone.with_cp is True
    vit = Config(dict(default_scope='mmpretrain', model=CASES['vit-greedy'].model(2), optim_wrapper={}))
    assert variants.with_cp(vit) is None


def test_all_is_recomputed(cfg):
    found = variants.recompute_all(cfg)
    assert found.model.backbone.with_cp is True and found.model.backbone.partition == dict(num_blocks=1)
    assert found.custom_hooks == [dict(type='mmman.RecomputeHook', parts=['neck', 'bbox_head.forward_single'])]
    assert found.model.bbox_head.loss_cls.type == 'mmman.LeanFocalLoss'


def test_lean_losses_are_in_local_heads_too(cfg):
    lean = variants.lean_losses(cfg)
    assert lean.model.backbone.local_head.head.loss_cls.type == 'mmman.LeanFocalLoss'
    assert type_name(cfg.model.bbox_head.loss_cls.type) == 'FocalLoss'


def test_nothing_is_recomputed(cfg):
    cfg.model.backbone.with_cp = [1]
    cfg.custom_hooks.append(dict(type='mmman.RecomputeHook', parts=['neck']))
    found = variants.nothing_recomputed(cfg)
    assert found.model.backbone.with_cp is False
    assert [type_name(hook.type) for hook in found.custom_hooks] == ['LocalLossHook']
