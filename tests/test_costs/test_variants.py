import pytest
from mmengine.config import Config
from scenarios.lazy_configs import lazy
from scenarios.runner import tiny_run_cfg

from mmman.costs import variants
from mmman.testing import CASES


@pytest.fixture
def cfg(tmp_path, bccd):
    return tiny_run_cfg(4, tmp_path, *bccd)


def test_end_to_end_has_nothing_of_local_learning(cfg):
    plain = variants.end_to_end(cfg)
    assert plain.model.backbone.type == 'ResNet'
    assert 'mmman' not in plain.dump()
    assert cfg.model.backbone.type == 'mmman.LocalBackbone'  # the config itself stays


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
    assert cfg.model.bbox_head.loss_cls.type == 'FocalLoss'


def test_nothing_is_recomputed(cfg):
    cfg.model.backbone.with_cp = [1]
    cfg.custom_hooks.append(dict(type='mmman.RecomputeHook', parts=['neck']))
    found = variants.nothing_recomputed(cfg)
    assert found.model.backbone.with_cp is False
    assert [hook.type for hook in found.custom_hooks] == ['mmman.LocalLossHook']


@pytest.mark.parametrize('variant', ['end_to_end', 'with_cp', 'recompute_all', 'lean_losses'])
def test_a_lazy_config_has_the_same_variants(variant, cfg):
    classes, strings = getattr(variants, variant)(lazy(cfg)), getattr(variants, variant)(cfg)
    assert lazy(Config({**classes.to_dict(), 'default_scope': 'mmdet'})).to_dict() == lazy(strings).to_dict()
